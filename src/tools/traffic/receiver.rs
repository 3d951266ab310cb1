//! The receiver: takes super-packets whole, and looks at every datagram in them.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, recvmmsg};

use super::args::ReceiveArgs;
use super::error::TrafficError;
use super::flows::{Flows, Received};
use super::sender::realtime_ns;
use super::summary::{Ended, ReceiveSummary};
use super::watch::{Shared, warn};
use crate::sys::interface::Interface;
use crate::sys::udp_receiver::UdpReceiver;

/// A receiver that has joined.
#[derive(Debug)]
pub(super) struct Receiver {
    args: ReceiveArgs,
    socket: UdpReceiver,
    buffers: Vec<u8>,
    flows: Flows,
}

impl Receiver {
    /// Opens the socket and joins the group.
    ///
    /// # Errors
    /// What stands in the way.
    pub(super) fn open(args: &ReceiveArgs, interface: &Interface) -> Result<Self, TrafficError> {
        let socket = UdpReceiver::open(interface, args.group, args.source, RECEIVE_BUFFER_BYTES)?;
        if let Some(granted) = socket.receive_buffer_short() {
            warn(&format!(
                "the receive buffer has {granted} bytes instead of {RECEIVE_BUFFER_BYTES}, bursts \
                 may be lost: run as root, or `sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}`"
            ));
        }
        Ok(Self {
            args: args.clone(),
            socket,
            buffers: vec![0; MESSAGES * MESSAGE_BYTES],
            flows: Flows::default(),
        })
    }

    /// Receives until there is a reason to stop.
    ///
    /// # Errors
    /// A receive that fails for good.
    pub(super) fn run(mut self, shared: &Shared) -> Result<ReceiveSummary, TrafficError> {
        let started = Instant::now();
        let mut look_at_drops_ns = 0;
        let ended = loop {
            let now_ns = elapsed_ns(started);
            if let Some(ended) = self.ended(now_ns, shared) {
                break ended;
            }
            let messages = self.receive(started)?;
            // Silence is what was heard of nothing, not what was not listened to: a receiver that
            // did not get to run finds datagrams.
            if messages == 0 && self.idle_left(now_ns) == Some(0) {
                break Ended::Idle;
            }
            shared.report(self.flows.packets, self.flows.bytes);
            if now_ns >= look_at_drops_ns {
                shared.tell_trouble(self.socket.kernel_drops());
                look_at_drops_ns = now_ns + LOOK_AT_DROPS_NS;
            }
            if messages == 0 {
                self.wait(now_ns);
            }
        };
        self.take_what_is_there(started)?;
        let kernel_drops = self.socket.kernel_drops();
        Ok(self.flows.summary(self.args.expect, kernel_drops, ended))
    }

    /// The reason to stop, if there is one beside silence.
    fn ended(&self, now_ns: u64, shared: &Shared) -> Option<Ended> {
        if self.args.expect.is_some_and(|expected| self.flows.distinct >= expected) {
            Some(Ended::Expected)
        } else if shared.is_stopped() {
            Some(Ended::Signal)
        } else if self.time_left(now_ns) == Some(0) {
            Some(Ended::Time)
        } else {
            None
        }
    }

    fn time_left(&self, now_ns: u64) -> Option<u64> {
        self.args.time.map(|time| nanos(time).saturating_sub(now_ns))
    }

    fn idle_left(&self, now_ns: u64) -> Option<u64> {
        let last_ns = self.flows.last_ns()?;
        self.args.idle().map(|idle| last_ns.saturating_add(nanos(idle)).saturating_sub(now_ns))
    }

    /// One `recvmmsg`. Returns how many messages there were.
    fn receive(&mut self, started: Instant) -> Result<usize, TrafficError> {
        // The kernel shortens a header's room for control messages to what it used, so that
        // headers serve once.
        let control = nix::cmsg_space!(libc::c_int);
        let mut headers = MultiHeaders::<()>::preallocate(MESSAGES, Some(control));
        let mut vectors: Vec<[IoSliceMut<'_>; 1]> = self
            .buffers
            .chunks_exact_mut(MESSAGE_BYTES)
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let socket = self.socket.as_raw_fd();
        let messages = match recvmmsg(socket, &mut headers, &mut vectors, flags, None) {
            Ok(messages) => messages,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(error) => return Err(TrafficError::Receive(error.into())),
        };
        let received = Received { at_ns: elapsed_ns(started), realtime_ns: realtime_ns() };
        let mut count = 0;
        for message in messages {
            let bytes = message.iovs().next().unwrap_or_default();
            match segment_bytes(&message) {
                Some(size) => {
                    bytes.chunks(size).for_each(|datagram| self.flows.take(datagram, received));
                }
                None => self.flows.take(bytes, received),
            }
            count += 1;
        }
        Ok(count)
    }

    /// What arrived by the end counts, even if nobody has looked at it yet: duplicates of what was
    /// expected, or what came while this process did not get to run.
    fn take_what_is_there(&mut self, started: Instant) -> Result<(), TrafficError> {
        for _ in 0..LAST_RECEIVES_MAX {
            if self.receive(started)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Waits for datagrams, but no longer than until there is a reason to stop.
    fn wait(&self, now_ns: u64) {
        let left = self.time_left(now_ns).into_iter().chain(self.idle_left(now_ns)).min();
        let left_ms = left.map_or(STOP_CHECK_MS, |ns| ns.div_ceil(1_000_000)).min(STOP_CHECK_MS);
        let mut descriptors = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        // The next receive reports any error here.
        let _ = poll(&mut descriptors, PollTimeout::from(left_ms as u16));
    }
}

/// The size of the datagrams in a super-packet, all but the last.
fn segment_bytes(message: &RecvMsg<'_, '_, ()>) -> Option<usize> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok().filter(|s| *s > 0),
        _ => None,
    })
}

fn elapsed_ns(started: Instant) -> u64 {
    nanos(started.elapsed())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Room for the longest message: a super-packet.
const MESSAGE_BYTES: usize = 1 << 16;
/// Messages in one `recvmmsg`.
const MESSAGES: usize = 32;
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;
const STOP_CHECK_MS: u64 = 100;
/// What is taken at the end: all that a receive buffer holds.
const LAST_RECEIVES_MAX: usize = 1024;
/// How often the kernel is asked what it dropped: as often as anybody may look.
const LOOK_AT_DROPS_NS: u64 = 500_000_000;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use socket2::SockRef;

    use super::*;

    /// A receiver on a port of the loopback interface where `datagrams` already wait.
    fn receiver(datagrams: usize, change: impl FnOnce(&mut ReceiveArgs)) -> Receiver {
        let mut args = ReceiveArgs {
            group: "127.0.0.1:0".parse().unwrap(),
            interface: "lo".to_owned(),
            expect: None,
            time: None,
            idle: None,
            source: None,
            json: false,
        };
        change(&mut args);
        let receiver = Receiver::open(&args, &Interface::find("lo").unwrap().unwrap()).unwrap();
        let address = SockRef::from(&receiver.socket).local_addr().unwrap();
        let address = address.as_socket().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        (0..datagrams).for_each(|_| assert_eq!(sender.send_to(b"early", address).unwrap(), 5));
        receiver
    }

    /// A receiver that did not get to run finds its end and datagrams at the same time.
    #[test]
    fn what_waits_counts_whatever_ends_the_receiver() {
        const WAITING: usize = 3 * MESSAGES;
        let at_once = Some(Duration::from_nanos(1));
        let stopped = || {
            let shared = Shared::default();
            shared.stop();
            shared
        };
        for (receiver, shared, expected) in [
            (receiver(WAITING, |_| {}), stopped(), Ended::Signal),
            (receiver(WAITING, |args| args.time = at_once), Shared::default(), Ended::Time),
            (receiver(WAITING, |args| args.idle = at_once), Shared::default(), Ended::Idle),
        ] {
            let summary = receiver.run(&shared).unwrap();
            assert_eq!((summary.packets, summary.ended), (WAITING as u64, expected));
        }
    }
}
