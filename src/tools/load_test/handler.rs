//! The clients of one worker on the project's own loop.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::client::{ANNOUNCE_BYTES, Client, Outgoing};
use super::plan::Plan;
use super::popularity::Picker;
use super::schedule::Schedule;
use super::stats::{Operation, Stats};
use super::transaction::WINDOW_MAX;
use super::verify::Stray;
use crate::io::{DatagramService, Now, Packet, ReplyPath, SocketId, Transmit, Wakeup};

/// What a worker publishes while it runs, and its result.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) succeeded: AtomicU64,
    pub(super) failed: AtomicU64,
    /// The time for new requests is over.
    pub(super) sent_all: AtomicBool,
    pub(super) result: Mutex<Option<Finished>>,
}

/// What a worker leaves behind.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) stats: Stats,
    /// How long requests were sent.
    pub(super) sending: Duration,
}

impl Progress {
    /// What the worker left behind; `None` while it is at work.
    pub(super) fn take(&self) -> Option<Finished> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the worker has left its result.
    pub(super) fn is_done(&self) -> bool {
        self.result.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Where a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Sending,
    /// Answers are still awaited.
    Draining,
    Done,
}

/// A client, and where it stands with the loop.
#[derive(Debug)]
struct Seat {
    client: Client,
    /// On the list of those that send at the next flush.
    ready: bool,
    /// When it was put on the list of those that wait for more answers; 0 when it is on none.
    lingers_since_ns: u64,
    /// Slots of the schedule that came due, and those that were used.
    turns_due: u64,
    turns_taken: u64,
}

/// The clients of one worker.
#[derive(Debug)]
pub(super) struct Load {
    plan: Arc<Plan>,
    seats: Vec<Seat>,
    stats: Stats,
    progress: Arc<Progress>,
    /// Set when the run ends early.
    stop: Arc<AtomicBool>,
    phase: Phase,
    schedule: Option<Schedule>,
    started_ns: u64,
    now_ns: u64,
    interval_ns: u64,
    /// Clients that send at the next flush.
    ready: Vec<u16>,
    /// Clients that have room but wait for more of it, and since when; oldest first.
    lingering: VecDeque<(u16, u64)>,
    under_way: usize,
    sent_until_ns: u64,
}

impl Load {
    /// The clients of worker `worker` of `workers`.
    pub(super) fn new(
        plan: &Arc<Plan>,
        (worker, workers): (usize, usize),
        progress: Arc<Progress>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let picker = Picker::new(plan.torrents, plan.popularity);
        let seats: Vec<Seat> = plan
            .clients_of(worker, workers)
            .map(|index| Seat {
                client: Client::new(plan, index, &picker),
                ready: false,
                lingers_since_ns: 0,
                turns_due: 0,
                turns_taken: 0,
            })
            .collect();
        let interval = interval(plan.duration);
        let intervals = (plan.duration + plan.timeout).div_duration_f64(interval).ceil() as usize;
        Self {
            plan: Arc::clone(plan),
            stats: Stats::new(intervals),
            progress,
            stop,
            phase: Phase::Starting,
            schedule: None,
            started_ns: 0,
            now_ns: 0,
            interval_ns: interval.as_nanos() as u64,
            ready: Vec::with_capacity(seats.len()),
            lingering: VecDeque::with_capacity(seats.len()),
            under_way: 0,
            sent_until_ns: 0,
            seats,
        }
    }

    fn start(&mut self) {
        self.started_ns = self.now_ns;
        self.phase = Phase::Sending;
        let clients = self.seats.len();
        self.schedule = self.plan.rate.map(|rate| Schedule::new(self.started_ns, clients, rate));
        for index in 0..clients {
            self.make_ready(index);
        }
    }

    fn make_ready(&mut self, index: usize) {
        let seat = &mut self.seats[index];
        if !seat.ready {
            seat.ready = true;
            self.ready.push(index as u16);
        }
    }

    /// Takes the time and what follows from it.
    fn advance(&mut self, now: Now) {
        let now_ns = now_ns(now);
        if now_ns == self.now_ns {
            return;
        }
        self.now_ns = now_ns;
        if self.phase != Phase::Starting {
            let interval = (now_ns - self.started_ns) / self.interval_ns;
            self.stats.enter_interval(interval as usize);
        }
    }

    /// What a client does that has just got room.
    fn has_room(&mut self, index: usize) {
        let seat = &mut self.seats[index];
        if self.phase != Phase::Sending || seat.ready {
            return;
        }
        if self.plan.rate.is_some() {
            if seat.turns_taken < seat.turns_due {
                self.make_ready(index);
            }
            return;
        }
        // Several requests in one send cost little more than one.
        if seat.client.free() >= self.plan.in_flight.div_ceil(2) {
            self.make_ready(index);
        } else if seat.lingers_since_ns == 0 {
            seat.lingers_since_ns = self.now_ns;
            self.lingering.push_back((index as u16, self.now_ns));
        }
    }

    /// Clients that have waited long enough for more answers send with what room they have.
    fn end_lingering(&mut self) {
        while let Some(&(index, since_ns)) = self.lingering.front()
            && since_ns + LINGER_NS <= self.now_ns
        {
            self.lingering.pop_front();
            // Otherwise it has sent in the meantime.
            if self.seats[usize::from(index)].lingers_since_ns == since_ns {
                self.make_ready(usize::from(index));
            }
        }
    }

    /// Starts the requests that the schedule has due; those beyond one iteration's share stay due.
    fn follow_schedule(&mut self, until_ns: u64) {
        for _ in 0..TURNS_PER_FLUSH_MAX {
            let Some(schedule) = &mut self.schedule else { return };
            let Some(index) = schedule.take(until_ns) else { return };
            self.seats[index].turns_due += 1;
            self.make_ready(index);
        }
    }

    /// Lets every client on the list send. Those that found no slot stay on it.
    fn send_ready<T: Transmit>(&mut self, tx: &mut T) {
        let mut kept = 0;
        for place in 0..self.ready.len() {
            let index = self.ready[place];
            if self.send(usize::from(index), tx) {
                let seat = &mut self.seats[usize::from(index)];
                (seat.ready, seat.lingers_since_ns) = (false, 0);
            } else {
                self.ready[kept] = index;
                kept += 1;
            }
        }
        self.ready.truncate(kept);
    }

    /// Sends all that one client may. False when a slot was missing.
    fn send<T: Transmit>(&mut self, index: usize, tx: &mut T) -> bool {
        let path = ReplyPath::new(SocketId(index as u16), self.plan.target, None);
        let mut batch = Batch::new(path);
        let mut complete = true;
        while complete {
            let wanted_ns = self.wanted_ns(index);
            let seat = &mut self.seats[index];
            let Some(outgoing) = seat.client.next(&self.plan, self.now_ns, wanted_ns) else {
                break;
            };
            self.under_way += 1;
            if outgoing.fresh && self.schedule.is_some() {
                seat.turns_taken += 1;
                let late_ns = self.now_ns - wanted_ns.unwrap_or(self.now_ns);
                // Late although it was the only one that waited: the generator was not there.
                let alone = seat.turns_taken == seat.turns_due;
                self.stats.sent_late += u64::from(alone && late_ns > LATE_NS);
            }
            if self.plan.coalesce && outgoing.operation() == Operation::Announce {
                batch.push(outgoing);
            } else {
                complete = self.send_one(path, index, &outgoing, tx);
            }
        }
        self.send_batch(index, &batch, tx) && complete
    }

    /// When the next new request of a client is wanted; `None` when none is.
    fn wanted_ns(&self, index: usize) -> Option<u64> {
        if self.phase != Phase::Sending {
            return None;
        }
        let seat = &self.seats[index];
        match &self.schedule {
            None => Some(self.now_ns),
            Some(schedule) if seat.turns_taken < seat.turns_due => {
                Some(schedule.due_ns(index, seat.turns_taken))
            }
            Some(_) => None,
        }
    }

    fn send_one<T: Transmit>(
        &mut self,
        path: ReplyPath,
        index: usize,
        outgoing: &Outgoing,
        tx: &mut T,
    ) -> bool {
        let client = &mut self.seats[index].client;
        Client::sent(outgoing, &mut self.stats);
        let sent = tx.reply(path, |out| client.write(&self.plan, outgoing, out)).is_ok();
        if !sent {
            client.not_sent(outgoing, &mut self.stats);
            self.under_way -= 1;
        }
        sent
    }

    fn send_batch<T: Transmit>(&mut self, index: usize, batch: &Batch, tx: &mut T) -> bool {
        let requests = batch.requests();
        if let [Some(single)] = requests {
            return self.send_one(batch.path, index, single, tx);
        }
        let requests = requests.iter().flatten();
        if batch.count == 0 {
            return true;
        }
        let client = &mut self.seats[index].client;
        requests.clone().for_each(|outgoing| Client::sent(outgoing, &mut self.stats));
        let write = |out: &mut [u8]| {
            requests
                .clone()
                .fold(0, |end, outgoing| end + client.write(&self.plan, outgoing, &mut out[end..]))
        };
        let sent = tx.send_segments(batch.path, ANNOUNCE_BYTES as u16, write).is_ok();
        if !sent {
            requests.for_each(|outgoing| client.not_sent(outgoing, &mut self.stats));
            self.under_way -= batch.count;
        }
        sent
    }

    /// Gives up what has waited too long, and ends the phases whose time has come.
    fn housekeeping(&mut self) {
        let again = self.phase == Phase::Sending;
        for index in 0..self.seats.len() {
            let client = &mut self.seats[index].client;
            let before = client.under_way();
            if client.expire(&self.plan, self.now_ns, again, &mut self.stats) {
                self.under_way -= before - client.under_way();
                if again {
                    self.make_ready(index);
                }
            }
        }
        let drained_ns = self.sent_until_ns + self.plan.timeout.as_nanos() as u64;
        if self.phase == Phase::Draining && (self.under_way == 0 || self.now_ns >= drained_ns) {
            self.finish();
        }
    }

    fn stop_sending(&mut self) {
        self.phase = Phase::Draining;
        self.sent_until_ns = self.now_ns;
        self.ready.clear();
        self.lingering.clear();
        let unsent = self.seats.iter().map(|seat| seat.turns_due - seat.turns_taken);
        self.stats.unsent += unsent.sum::<u64>();
        self.progress.sent_all.store(true, Ordering::Release);
    }

    /// Requests still in flight have timed out.
    fn finish(&mut self) {
        self.phase = Phase::Done;
        for seat in &mut self.seats {
            seat.client.expire(&self.plan, u64::MAX, false, &mut self.stats);
        }
        let stats = std::mem::replace(&mut self.stats, Stats::new(1));
        let sending = Duration::from_nanos(self.sent_until_ns - self.started_ns);
        let mut result = self.progress.result.lock().unwrap_or_else(PoisonError::into_inner);
        *result = Some(Finished { stats, sending });
    }

    fn report(&self) {
        let total = |of: fn(&crate::tools::load_test::stats::OperationStats) -> u64| {
            Operation::ALL.iter().map(|operation| of(self.stats.of(*operation))).sum()
        };
        let succeeded = total(|stats| stats.succeeded);
        let failed = total(crate::tools::load_test::stats::OperationStats::failed);
        self.progress.succeeded.store(succeeded, Ordering::Relaxed);
        self.progress.failed.store(failed, Ordering::Relaxed);
    }
}

impl DatagramService for Load {
    fn on_datagram<T: Transmit>(&mut self, now: Now, packet: &Packet<'_>, _: &mut T) {
        self.advance(now);
        if self.phase == Phase::Done {
            return;
        }
        let index = usize::from(packet.path.socket().0);
        if !is_same(packet.path.client(), self.plan.target) {
            return self.stats.stray(Stray::WrongSource);
        }
        let client = &mut self.seats[index].client;
        let before = client.under_way();
        client.receive(&self.plan, self.now_ns, packet.payload, &mut self.stats);
        self.under_way -= before - client.under_way();
        self.has_room(index);
    }

    fn on_tick<T: Transmit>(&mut self, now: Now, _: &mut T) {
        self.advance(now);
        if self.phase == Phase::Done {
            return;
        }
        if self.phase == Phase::Sending && self.stop.load(Ordering::Acquire) {
            self.stop_sending();
        }
        self.housekeeping();
        if self.phase != Phase::Done {
            self.report();
        }
    }

    fn on_flush<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        self.advance(now);
        if self.phase == Phase::Starting {
            self.start();
        }
        if self.phase != Phase::Sending {
            return;
        }
        let end_ns = self.started_ns + self.plan.duration.as_nanos() as u64;
        self.follow_schedule(self.now_ns.min(end_ns - 1));
        // What the schedule wanted before the end still leaves.
        if self.now_ns < end_ns || self.schedule.is_some() {
            self.end_lingering();
            self.send_ready(tx);
        }
        if self.now_ns >= end_ns {
            self.stop_sending();
        }
    }

    fn wakeup(&self) -> Wakeup {
        Wakeup { at: self.next_deadline(), packets: self.packets_wanted() }
    }
}

impl Load {
    /// When it has something to send, or gives up gathering answers.
    fn next_deadline(&self) -> Option<Now> {
        if self.phase != Phase::Sending {
            return None;
        }
        let end_ns = self.started_ns + self.plan.duration.as_nanos() as u64;
        let scheduled = self.schedule.as_ref().map(|schedule| schedule.next_ns().min(end_ns));
        let lingering = self.lingering.front().map(|(_, since_ns)| since_ns + LINGER_NS);
        let gathering = (self.packets_wanted() > 1).then_some(self.now_ns + GATHER_NS);
        // Sends that found no slot are tried again when some have completed, which is at once.
        let blocked = (!self.ready.is_empty()).then_some(self.now_ns);
        let due = [scheduled, lingering, gathering, blocked].into_iter().flatten().min()?;
        Some(Now::from_unix(Duration::from_nanos(due)))
    }

    /// In a closed loop under load one answer is not worth an iteration of its own.
    fn packets_wanted(&self) -> usize {
        match self.schedule {
            None if self.phase == Phase::Sending => {
                (self.under_way / GATHER_DIVISOR).clamp(1, GATHER_PACKETS_MAX)
            }
            _ => 1,
        }
    }
}

/// Requests of one client that leave in one send.
struct Batch {
    path: ReplyPath,
    requests: [Option<Outgoing>; WINDOW_MAX],
    count: usize,
}

impl Batch {
    fn new(path: ReplyPath) -> Self {
        Self { path, requests: [None; WINDOW_MAX], count: 0 }
    }

    /// The window bounds a client's requests in flight.
    fn push(&mut self, outgoing: Outgoing) {
        self.requests[self.count] = Some(outgoing);
        self.count += 1;
    }

    fn requests(&self) -> &[Option<Outgoing>] {
        &self.requests[..self.count]
    }
}

/// Whether two addresses are the same, flow label and scope aside.
fn is_same(from: SocketAddr, target: SocketAddr) -> bool {
    from.ip() == target.ip() && from.port() == target.port()
}

fn now_ns(now: Now) -> u64 {
    now.since_epoch().as_nanos() as u64
}

/// The stretches that the report shows: about sixty, and each long enough to hold something.
pub(super) fn interval(duration: Duration) -> Duration {
    (duration / 60).max(Duration::from_millis(100))
}

/// A client in a closed loop sends when half of its window is free, or after this time.
const LINGER_NS: u64 = 200_000;

/// How long a closed loop waits for a batch of answers: a quarter of the requests in flight.
const GATHER_NS: u64 = 100_000;
const GATHER_DIVISOR: usize = 4;
const GATHER_PACKETS_MAX: usize = 64;

/// From when on a scheduled request counts as sent late.
const LATE_NS: u64 = 1_000_000;

/// Schedule slots that one flush uses at most.
const TURNS_PER_FLUSH_MAX: usize = 4096;

#[cfg(test)]
mod tests;
