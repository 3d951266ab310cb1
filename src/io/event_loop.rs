//! The life of a loop, turn by turn.

use std::io;

use super::{Handler, Now};
use super::{TICK_INTERVAL, WorkerPlan};
use crate::telemetry::{Counter, LoopGauges};

/// A loop, for [`run`].
pub(crate) trait EventLoop {
    /// What it serves.
    fn plan(&self) -> &WorkerPlan;

    /// The time now.
    fn now(&self) -> Now;

    /// One turn: wait for packets until `deadline`, handle all there is, flush, send. Returns the
    /// time that handlers were told.
    fn iterate(&mut self, handler: &mut impl Handler, deadline: Now) -> io::Result<Now>;

    /// What the pools have left.
    fn gauges(&self) -> LoopGauges;

    /// Housekeeping, its own and the handler's.
    fn tick(&mut self, handler: &mut impl Handler, now: Now) -> io::Result<()>;

    /// Ends the loop in good order: what was received is still answered, until `deadline`.
    fn shut_down(&mut self, handler: &mut impl Handler, deadline: Now) -> io::Result<()>;
}

/// Packets and frames taken so far.
fn taken(plan: &WorkerPlan) -> u64 {
    plan.counters.get(Counter::PacketsReceived) + plan.counters.get(Counter::FramesReceived)
}

/// Runs a loop until its control asks to stop, then shuts it down.
pub(crate) fn run(turns: &mut impl EventLoop, handler: &mut impl Handler) -> io::Result<()> {
    let mut next_tick = turns.now().after(TICK_INTERVAL);
    turns.plan().control.beat(next_tick);
    while !turns.plan().control.should_stop() {
        let before = taken(turns.plan());
        let due = handler.next_deadline().map_or(next_tick, |due| due.min(next_tick));
        let now = turns.iterate(handler, due)?;
        let packets = taken(turns.plan()) - before;
        if packets > 0 {
            let busy = turns.now().since_epoch().saturating_sub(now.since_epoch());
            let stats = turns.plan().counters.loop_stats();
            stats.iteration(packets, busy);
            stats.set_gauges(turns.gauges());
        }
        if now >= next_tick {
            turns.plan().control.beat(now);
            turns.tick(handler, now)?;
            next_tick = now.after(TICK_INTERVAL);
        }
    }
    let deadline = turns.now().after(turns.plan().control.shutdown_timeout());
    turns.shut_down(handler, deadline)
}
