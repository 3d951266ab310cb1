//! Worker threads: pinned, each with a loop of its own, restarted when they panic.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::Clock;
pub use crate::engine::{WorkerControl, WorkerPlan};
use crate::handler::Handler;
use crate::telemetry::Counter;
use crate::uring::{EventLoop, Ring, RingError};

/// Why the workers could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ring cannot be built here.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The system gives no more threads.
    #[error(
        "worker {index} got no thread; raise the limits on processes and memory (`ulimit -u`, \
         `ulimit -v`, TasksMax=), or set fewer `workers`"
    )]
    Thread {
        /// Which worker.
        index: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    controls: Vec<Arc<WorkerControl>>,
}

impl Workers {
    /// Starts one thread per plan and returns once every loop is receiving.
    ///
    /// `make_handler` is called on the worker's thread with its index, and again after a panic.
    pub fn start<H: Handler>(
        plans: Vec<WorkerPlan>,
        clock: Clock,
        make_handler: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let make_handler = Arc::new(make_handler);
        let mut workers = Self { threads: Vec::new(), controls: Vec::new() };
        let mut ready = Vec::new();
        for plan in plans {
            let (sender, receiver) = mpsc::channel();
            let (index, control) = (plan.index, Arc::clone(&plan.control));
            let make_handler = Arc::clone(&make_handler);
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || work(&plan, clock, &sender, &*make_handler));
            match thread {
                Ok(thread) => workers.threads.push(thread),
                Err(source) => {
                    workers.stop();
                    return Err(StartError::Thread { index, source });
                }
            }
            workers.controls.push(control);
            ready.push(receiver);
        }
        for receiver in ready {
            // A worker that dies before it answers has logged its panic.
            let answer = receiver.recv().unwrap_or_else(|_| {
                Err(RingError::Other(io::Error::other("the worker died while it started")))
            });
            if let Err(error) = answer {
                workers.stop();
                return Err(error.into());
            }
        }
        Ok(workers)
    }

    /// Stops every worker and waits for all of them: each finishes what is in flight within its
    /// shutdown timeout.
    pub fn stop(self) {
        self.controls.iter().for_each(|control| control.stop());
        for thread in self.threads {
            // A panic was logged where it happened.
            let _ = thread.join();
        }
    }
}

/// A worker's life: loops until it is asked to stop, across panics and broken rings.
fn work<H: Handler>(
    plan: &WorkerPlan,
    clock: Clock,
    started: &mpsc::Sender<Result<(), RingError>>,
    make_handler: &(impl Fn(usize) -> H + Send + Sync),
) {
    if let Some(core) = plan.core
        && !core_affinity::set_for_current(core_affinity::CoreId { id: core })
    {
        tracing::warn!(worker = plan.index, core, "the worker cannot be pinned to its core");
    }
    let started = Announcement { to: started, made: Cell::new(false) };
    let mut failures = 0;
    loop {
        let began = Instant::now();
        // Nothing is left half-done behind a panic: the loop drains itself when it unwinds, and
        // shared shards are checked by whoever locks them next.
        let turn = catch_unwind(AssertUnwindSafe(|| {
            let mut ring = Ring::open(plan)?;
            let mut event_loop = EventLoop::new(&mut ring, plan.clone(), clock)?;
            let mut handler = make_handler(plan.index);
            started.make(Ok(()));
            event_loop.run(&mut handler).map_err(RingError::Other)
        }));
        match turn {
            Ok(Ok(())) => return,
            Ok(Err(error)) if !started.made.get() => return started.make(Err(error)),
            Ok(Err(error)) => {
                tracing::error!(worker = plan.index, %error, "restarting the worker's loop");
            }
            Err(_) if !started.made.get() => {
                let died = io::Error::other("the worker panicked while it started");
                return started.make(Err(RingError::Other(died)));
            }
            Err(_) => tracing::error!(worker = plan.index, "restarting the worker after a panic"),
        }
        plan.counters.count(Counter::WorkerRestarts);
        if plan.control.should_stop() {
            return;
        }
        failures = if began.elapsed() > HEALTHY_AFTER { 1 } else { failures + 1 };
        rest(&plan.control, failures);
    }
}

/// The one word a worker says when it has started, or cannot.
struct Announcement<'a> {
    to: &'a mpsc::Sender<Result<(), RingError>>,
    made: Cell<bool>,
}

impl Announcement<'_> {
    fn make(&self, result: Result<(), RingError>) {
        if !self.made.replace(true) {
            // Nobody listens any more when another worker failed first.
            let _ = self.to.send(result);
        }
    }
}

/// Waits before a restart, longer each time up to a second, but not past a stop.
fn rest(control: &WorkerControl, failures: u32) {
    let wait = RESTART_WAIT_MIN.saturating_mul(failures).min(RESTART_WAIT_MAX);
    let mut waited = Duration::ZERO;
    while waited < wait && !control.should_stop() {
        std::thread::sleep(RESTART_WAIT_MIN);
        waited += RESTART_WAIT_MIN;
    }
}

/// A worker that ran for this long starts again as soon as one that never failed.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
const RESTART_WAIT_MIN: Duration = Duration::from_millis(10);
const RESTART_WAIT_MAX: Duration = Duration::from_secs(1);
