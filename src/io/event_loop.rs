//! The life of a loop, iteration by iteration.

use std::io;

use super::{Dispatch, Now};
use super::{TICK_INTERVAL, WorkerPlan};
use crate::telemetry::{Counter, LoopGauges};

/// A loop, for [`run`].
pub(crate) trait EventLoop {
    /// What it serves.
    fn plan(&self) -> &WorkerPlan;

    /// The time now.
    fn now(&self) -> Now;

    /// One iteration: wait for packets until `deadline`, handle all there is, flush, send. Returns
    /// the time that services were given.
    fn iterate(&mut self, services: &mut impl Dispatch, deadline: Now) -> io::Result<Now>;

    /// What the pools have left.
    fn gauges(&self) -> LoopGauges;

    /// Housekeeping, its own and the handler's.
    fn tick(&mut self, services: &mut impl Dispatch, now: Now) -> io::Result<()>;

    /// Ends the loop in good order: what was received is still answered, until `deadline`.
    fn shut_down(&mut self, services: &mut impl Dispatch, deadline: Now) -> io::Result<()>;
}

/// Packets and frames taken so far.
fn taken(plan: &WorkerPlan) -> u64 {
    plan.counters.get(Counter::PacketsReceived) + plan.counters.get(Counter::FramesReceived)
}

/// Runs a loop until its control asks to stop, then ends what is in flight.
pub(crate) fn run(event_loop: &mut impl EventLoop, services: &mut impl Dispatch) -> io::Result<()> {
    let mut next_tick = event_loop.now().after(TICK_INTERVAL);
    event_loop.plan().control.beat(next_tick);
    while !event_loop.plan().control.should_stop() {
        let before = taken(event_loop.plan());
        let due = services.wakeup().at.map_or(next_tick, |due| due.min(next_tick));
        let now = event_loop.iterate(services, due)?;
        let packets = taken(event_loop.plan()) - before;
        if packets > 0 {
            let busy = event_loop.now().since_epoch().saturating_sub(now.since_epoch());
            let stats = event_loop.plan().counters.loop_stats();
            stats.iteration(packets, busy);
            stats.set_gauges(event_loop.gauges());
        }
        if now >= next_tick {
            event_loop.plan().control.beat(now);
            event_loop.tick(services, now)?;
            next_tick = now.after(TICK_INTERVAL);
        }
    }
    let deadline = event_loop.now().after(event_loop.plan().control.shutdown_timeout());
    event_loop.shut_down(services, deadline)
}
