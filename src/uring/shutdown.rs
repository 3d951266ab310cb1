//! Ending a loop: stop receiving, finish what is in flight, cancel, drain, and only then free.

use std::io;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use super::event_loop::RingLoop;
use crate::io::{Discard, EventLoop, TICK_INTERVAL};
use crate::io::{Dispatch, Now};
use crate::telemetry::{Counter, DropReason};

impl RingLoop<'_> {
    pub(super) fn iterate_until_idle(
        &mut self,
        services: &mut impl Dispatch,
        deadline: Now,
    ) -> io::Result<()> {
        // Frames that were received wait in the frame queue after the last receive, too.
        while (self.outstanding() > 0 || !self.pools.waiting.is_empty()) && self.now() < deadline {
            if self.queues.cancels_pending == 0 {
                // What is still there was not found, or its cancellation failed.
                self.cancel_receives();
            }
            let wake = self.now().after(TICK_INTERVAL).min(deadline);
            self.iterate(services, wake)?;
        }
        Ok(())
    }

    /// Takes everything back from the kernel, without the services. True when nothing is left.
    fn drain(&mut self) -> bool {
        if self.outstanding() == 0 {
            return true;
        }
        self.stopping = true;
        self.cancel_all();
        let deadline = self.now().after(DRAIN_TIMEOUT);
        let counters = Arc::clone(&self.plan.counters);
        let mut discard = Discard(&counters);
        self.iterate_until_idle(&mut discard, deadline).is_ok() && self.outstanding() == 0
    }
}

impl Drop for RingLoop<'_> {
    fn drop(&mut self) {
        if self.handling {
            self.plan.counters.dropped(DropReason::Panic);
            self.handling = false;
        }
        if self.handling_frame {
            self.plan.counters.count(Counter::FramesLostToPanic);
            self.handling_frame = false;
        }
        // Their buffers return to the free list here. What arrives from now on is counted by
        // `Discard`.
        let held_back = self.pools.waiting.forget_all() as u64;
        self.plan.counters.add(Counter::FramesLostToShutdown, held_back);
        if self.drain() {
            // SAFETY: nothing is outstanding: no operation of this ring refers to the pools any
            // more, and this is the only place that drops them.
            unsafe { ManuallyDrop::drop(&mut self.pools) };
            // A closed ring lets go of its files some time later: without this the ports would
            // still be taken when the process has ended. It fails only when nothing is registered.
            let _ = self.queues.submitter.unregister_files();
        } else {
            tracing::error!("the kernel still holds buffers of this worker; leaking them");
        }
    }
}

/// Cancelled operations end within microseconds; this only bounds a kernel that misbehaves.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
