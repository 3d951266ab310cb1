//! The generator: flows take turns, each turn is one `sendmmsg`.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, recv, sendmmsg, setsockopt, sockopt,
};
use nix::time::{ClockId, clock_gettime};

use super::args::SendArgs;
use super::error::TrafficError;
use super::payload::{Pool, Stamp, Stream};
use super::schedule::Schedule;
use super::summary::{SendSummary, rates};
use super::watch::Shared;
use crate::sys::egress::{EgressOptions, EgressSocket};
use crate::sys::interface::Interface;

/// A generator that is ready to send.
#[derive(Debug)]
pub(super) struct Sender {
    args: SendArgs,
    flows: Vec<Flow>,
    batch: Batch,
    pool: Pool,
    run: u64,
    counted: SendSummary,
}

#[derive(Debug)]
struct Flow {
    socket: EgressSocket,
    sequence: u64,
}

/// What one turn of a flow may send.
#[derive(Clone, Copy, Debug)]
struct Batch {
    /// Datagrams in one message: more than one make a super-packet.
    segments: usize,
    /// Messages in one `sendmmsg`.
    messages_max: usize,
}

impl Batch {
    fn new(args: &SendArgs) -> Self {
        if args.segments() {
            let segments = (SUPER_PACKET_BYTES_MAX / args.size.max(1)).clamp(1, SEGMENTS_MAX);
            // A burst of a fixed rate is one super-packet.
            let messages_max = if args.rate.is_some() { 1 } else { SUPER_PACKETS_MAX };
            return Self { segments, messages_max };
        }
        // Many flows interleave, as they do in practice.
        let messages_max = (MESSAGES_MAX / usize::from(args.flows)).max(1);
        Self { segments: 1, messages_max }
    }

    fn datagrams_max(self) -> usize {
        self.segments * self.messages_max
    }
}

impl Sender {
    /// Opens a socket for each flow.
    ///
    /// # Errors
    /// What stands in the way.
    pub(super) fn open(args: &SendArgs, interface: &Interface) -> Result<Self, TrafficError> {
        let options = EgressOptions {
            to: args.group,
            source: None,
            ttl: args.ttl,
            dscp: 0,
            send_buffer_bytes: SEND_BUFFER_BYTES,
        };
        let flows: Vec<Flow> = (0..args.flows)
            .map(|_| {
                let socket = EgressSocket::open(interface, &options)?;
                socket.connect().map_err(|error| fatal(args, error))?;
                report_drops(&socket).map_err(|error| fatal(args, error))?;
                Ok(Flow { socket, sequence: 0 })
            })
            .collect::<Result<_, TrafficError>>()?;
        let bytes_max = flows.first().map_or(0, |flow| flow.socket.segment_bytes_max());
        if args.segments() && args.size > bytes_max {
            let (size, interface) = (args.size, args.interface.clone());
            return Err(TrafficError::SegmentTooLarge { size, interface, bytes_max });
        }
        let batch = Batch::new(args);
        Ok(Self {
            args: args.clone(),
            flows,
            batch,
            pool: Pool::new(batch.datagrams_max(), args.size),
            run: fastrand::u64(1..),
            counted: SendSummary::default(),
        })
    }

    /// Sends until everything is sent, the time is over, or a signal asks to stop.
    ///
    /// # Errors
    /// A send that fails for good.
    pub(super) fn run(mut self, shared: &Shared) -> Result<SendSummary, TrafficError> {
        let schedule = self.args.rate.map(Schedule::new);
        self.counted.behind_us_max = schedule.map(|_| 0);
        let end = self.args.duration.unwrap_or(Duration::MAX);
        let started = Instant::now();
        // Not for another thread: they point to their own parts.
        let control = self.args.segments().then(|| nix::cmsg_space!(u16));
        let mut headers = Headers::preallocate(self.batch.messages_max, control);
        let mut turn = 0;
        loop {
            let elapsed = started.elapsed();
            let left = self.args.count.unwrap_or(u64::MAX) - self.counted.packets;
            if shared.is_stopped() || left == 0 || elapsed >= end {
                break;
            }
            let allowed = match schedule {
                None => left,
                Some(schedule) => match self.due(schedule, elapsed) {
                    0 => {
                        let next = Duration::from_nanos(schedule.due_at_ns(self.counted.packets));
                        pause(next.min(end).saturating_sub(elapsed));
                        continue;
                    }
                    due => due.min(left),
                },
            };
            let datagrams = allowed.min(self.batch.datagrams_max() as u64) as usize;
            self.send_batch(&mut headers, turn, datagrams, shared)?;
            turn = (turn + 1) % self.flows.len();
            self.counted.seconds = started.elapsed().as_secs_f64();
            shared.report(self.counted.packets, self.counted.bytes);
            shared.tell_trouble(self.counted.retries);
        }
        let SendSummary { packets, bytes, seconds, .. } = self.counted;
        let (packets_per_second, mbit_per_second) = rates(packets, bytes, seconds);
        Ok(SendSummary { packets_per_second, mbit_per_second, ..self.counted })
    }

    /// How many datagrams may be sent now. A super-packet goes as a whole once its first datagram
    /// is due.
    fn due(&mut self, schedule: Schedule, elapsed: Duration) -> u64 {
        let elapsed_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let sent = self.counted.packets;
        let due = schedule.due(elapsed_ns).saturating_sub(sent);
        if due == 0 {
            return 0;
        }
        let behind_us = elapsed_ns.saturating_sub(schedule.due_at_ns(sent)) / 1000;
        self.counted.behind_us_max = self.counted.behind_us_max.max(Some(behind_us));
        due.max(self.batch.segments as u64)
    }

    /// Sends `datagrams` of one flow, however often the kernel has to be asked.
    fn send_batch(
        &mut self,
        headers: &mut Headers,
        turn: usize,
        datagrams: usize,
        shared: &Shared,
    ) -> Result<(), TrafficError> {
        let mut done = 0;
        let mut refusals = 0;
        self.stamp(turn, 0, datagrams);
        while done < datagrams && !shared.is_stopped() {
            self.counted.sends += 1;
            match self.send(headers, turn, done..datagrams) {
                Ok(sent) => {
                    self.count_sent(turn, sent);
                    done += sent;
                    refusals = 0;
                    continue;
                }
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => {
                    self.counted.waits += 1;
                    wait_for_room(&self.flows[turn].socket);
                }
                Err(Errno::ENOBUFS) => {
                    self.counted.retries += 1;
                    thread::sleep(RETRY_PAUSE);
                }
                Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH) if refusals < REFUSALS_MAX => {
                    // The answer to an earlier datagram; this one was not sent.
                    refusals += 1;
                    self.counted.refusals += 1;
                    drop_reports(&self.flows[turn].socket);
                }
                Err(error) => return Err(fatal(&self.args, error.into())),
            }
            // Waiting is no latency: what is left gets the present time.
            self.stamp(turn, done, datagrams);
        }
        Ok(())
    }

    fn count_sent(&mut self, turn: usize, sent: usize) {
        self.flows[turn].sequence += sent as u64;
        self.counted.packets += sent as u64;
        self.counted.bytes += (sent * self.args.size) as u64;
    }

    /// Stamps the datagrams from `done` on; the flow's sequence number is that of `done`.
    fn stamp(&mut self, turn: usize, done: usize, datagrams: usize) {
        let sent_ns = realtime_ns();
        let stream = Stream { run: self.run, flow: turn as u16 };
        let first = self.flows[turn].sequence;
        for (index, sequence) in (done..datagrams).zip(first..) {
            self.pool.stamp(index, Stamp { stream, sequence, sent_ns });
        }
    }

    /// One `sendmmsg` of a range of datagrams. Returns how many of them were sent.
    fn send(
        &self,
        headers: &mut Headers,
        turn: usize,
        datagrams: Range<usize>,
    ) -> Result<usize, Errno> {
        let segments = self.batch.segments;
        let mut messages = [[IoSlice::new(&[])]; MESSAGES_MAX];
        let starts = datagrams.clone().step_by(segments);
        let count = starts.len();
        for (message, start) in messages.iter_mut().zip(starts) {
            let datagrams = segments.min(datagrams.end - start);
            *message = [IoSlice::new(self.pool.datagrams(start, datagrams))];
        }
        // A segment fits an MTU, and so 16 bits.
        let segment_bytes = self.args.size as u16;
        let control = [ControlMessage::UdpGsoSegments(&segment_bytes)];
        let control = if self.args.segments() { &control[..] } else { &[] };
        let socket = self.flows[turn].socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let (messages, unnamed) = (&messages[..count], &UNNAMED[..count]);
        let sent = sendmmsg(socket, headers, messages, unnamed, control, flags)?;
        Ok((sent.count() * segments).min(datagrams.len()))
    }
}

/// Message headers of a connected socket.
type Headers = MultiHeaders<()>;

/// Without this, a full queue below the socket drops silently (ip(7), `IP_RECVERR`).
fn report_drops(socket: &EgressSocket) -> io::Result<()> {
    if socket.peer().is_ipv6() {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
    }
    Ok(())
}

/// Drops what the network reported of earlier datagrams, which would keep the socket from waiting.
fn drop_reports(socket: &EgressSocket) {
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    for _ in 0..REPORTS_MAX {
        if recv(socket.as_raw_fd(), &mut [0; 64], flags).is_err() {
            return;
        }
    }
}

/// Waits until the socket takes more, but looks up now and then whether to stop.
fn wait_for_room(socket: &EgressSocket) {
    let mut descriptors = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    // The next send reports any error here.
    let _ = poll(&mut descriptors, PollTimeout::from(STOP_CHECK_MS));
    let errors = PollFlags::POLLERR;
    if descriptors[0].revents().is_some_and(|events| events.intersects(errors)) {
        drop_reports(socket);
    }
}

/// Lets time pass: sleeps while there is much of it, spins for the rest.
fn pause(gap: Duration) {
    match gap.checked_sub(SPIN) {
        Some(sleep) if !sleep.is_zero() => {
            thread::sleep(sleep.min(Duration::from_millis(STOP_CHECK_MS.into())));
        }
        _ => std::hint::spin_loop(),
    }
}

/// Nanoseconds of `CLOCK_REALTIME`; 0 if there were no such clock.
pub(super) fn realtime_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_REALTIME)
        .map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

fn fatal(args: &SendArgs, source: io::Error) -> TrafficError {
    let (to, interface) = (args.group, args.interface.clone());
    match source.raw_os_error() {
        Some(libc::EINVAL | libc::EIO | libc::EOPNOTSUPP | libc::EMSGSIZE) if args.segments() => {
            TrafficError::SegmentRefused { to, interface, source }
        }
        _ => TrafficError::Send { to, interface, source },
    }
}

/// The most datagrams of one super-packet that every kernel takes (`UDP_MAX_SEGMENTS`).
const SEGMENTS_MAX: usize = 64;
/// The most payload of one super-packet: with its headers it must stay below 64 KiB.
const SUPER_PACKET_BYTES_MAX: usize = 65_000;
/// Super-packets in one `sendmmsg`: enough to make the system call cheap, few enough that they
/// stay in a core's cache.
const SUPER_PACKETS_MAX: usize = 4;
/// Single datagrams in one `sendmmsg`, over all flows: the longest burst.
const MESSAGES_MAX: usize = 64;
/// Connected sockets need no address.
const UNNAMED: [Option<()>; MESSAGES_MAX] = [None; MESSAGES_MAX];
const SEND_BUFFER_BYTES: usize = 4 << 20;
const STOP_CHECK_MS: u8 = 100;
/// Sleeping shorter than this oversleeps: the kernel's timers are late by about half of it.
const SPIN: Duration = Duration::from_micros(120);
/// A queue of a device drains in about this time.
const RETRY_PAUSE: Duration = Duration::from_micros(50);
/// Refusals in a row that are a state and not an answer.
const REFUSALS_MAX: u32 = 1000;
const REPORTS_MAX: usize = 1000;
