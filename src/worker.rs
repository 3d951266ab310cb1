//! Worker threads: pinned, each with a loop of its own, restarted when they panic.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::engine::{Engine, EngineChoice, LoopSizes};
pub use crate::engine::{WorkerControl, WorkerPlan};
use crate::epoll;
use crate::error::causes;
use crate::handler::Handler;
use crate::telemetry::Counter;
use crate::uring::{self, Ring, RingError};

/// Why the workers could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ring cannot be built here, or broke.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The epoll cannot be built here, or broke.
    #[error("the epoll loop could not be built")]
    Epoll(#[source] io::Error),
    /// A panic, which is in the log.
    #[error("worker {index} died while it started")]
    Died {
        /// Which worker.
        index: usize,
    },
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

/// The engine to run on. By itself it takes io_uring where a loop of these sizes can be built,
/// and otherwise epoll, and logs why.
pub fn choose_engine(choice: EngineChoice, sizes: LoopSizes) -> Engine {
    match choice {
        EngineChoice::Only(engine) => engine,
        EngineChoice::Auto => match uring::probe(sizes) {
            Ok(()) => Engine::IoUring,
            Err(error) => {
                tracing::warn!("running on epoll, because {}", one_line(&error));
                Engine::Epoll
            }
        },
    }
}

/// An error with what is behind it.
fn one_line(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<String> = causes(Some(error)).map(ToString::to_string).collect();
    causes.join(": ")
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
            ready.push((index, receiver));
        }
        for (index, receiver) in ready {
            // A worker that dies before it answers has logged its panic.
            let answer = receiver.recv().unwrap_or(Err(StartError::Died { index }));
            if let Err(error) = answer {
                workers.stop();
                return Err(error);
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

/// A worker's life: loops until it is asked to stop, across panics and broken loops.
fn work<H: Handler>(
    plan: &WorkerPlan,
    clock: Clock,
    started: &mpsc::Sender<Result<(), StartError>>,
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
            serve(plan, clock, || {
                let handler = make_handler(plan.index);
                started.make(Ok(()));
                handler
            })
        }));
        match turn {
            Ok(Ok(())) => return,
            Ok(Err(error)) if !started.made.get() => return started.make(Err(error)),
            Ok(Err(error)) => {
                tracing::error!(worker = plan.index, %error, "restarting the worker's loop");
            }
            Err(_) if !started.made.get() => {
                return started.make(Err(StartError::Died { index: plan.index }));
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

/// Builds a loop, then has `begin` make its handler, and serves until the end.
fn serve<H: Handler>(
    plan: &WorkerPlan,
    clock: Clock,
    begin: impl FnOnce() -> H,
) -> Result<(), StartError> {
    match plan.engine {
        Engine::IoUring => {
            let mut ring = Ring::open(plan)?;
            let mut event_loop = uring::EventLoop::new(&mut ring, plan.clone(), clock)?;
            Ok(event_loop.run(&mut begin()).map_err(RingError::Other)?)
        }
        Engine::Epoll => {
            let event_loop = epoll::EventLoop::new(plan.clone(), clock);
            let mut event_loop = event_loop.map_err(StartError::Epoll)?;
            event_loop.run(&mut begin()).map_err(StartError::Epoll)
        }
    }
}

/// The one word a worker says when it has started, or cannot.
struct Announcement<'a> {
    to: &'a mpsc::Sender<Result<(), StartError>>,
    made: Cell<bool>,
}

impl Announcement<'_> {
    fn make(&self, result: Result<(), StartError>) {
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
