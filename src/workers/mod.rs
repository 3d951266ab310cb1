//! Worker threads: pinned, each with a loop of its own, restarted when they panic.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::epoll;
use crate::error::one_line;
use crate::io::Dispatch;
use crate::io::clock::Clock;
use crate::io::{Engine, EngineChoice, LoopSizes, RingFeature, RingFeatures};
pub use crate::io::{WorkerControl, WorkerPlan};
use crate::telemetry::Counter;
use crate::telemetry::log::RateLimited;
use crate::uring::{self, Ring, RingError};

/// Why the workers could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ring cannot be built here.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The ring cannot be used any more.
    #[error("the io_uring loop broke")]
    RingBroke(#[source] io::Error),
    /// The epoll cannot be built here.
    #[error("no epoll loop could be built; for too many open files raise the limit (`ulimit -n`)")]
    Epoll(#[source] io::Error),
    /// The epoll cannot be used any more.
    #[error("the epoll loop broke")]
    EpollBroke(#[source] io::Error),
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

/// The engine to run on. By itself it takes io_uring where a loop of these sizes can be built with
/// no more than `features`, and otherwise epoll, and logs why.
pub fn choose_engine(choice: EngineChoice, sizes: LoopSizes, features: RingFeatures) -> Engine {
    match choice {
        EngineChoice::Only(engine) => engine,
        EngineChoice::Auto => match uring::probe(sizes, features) {
            Ok(()) => Engine::IoUring,
            Err(error) => {
                tell_of_epoll(&error);
                Engine::Epoll
            }
        },
    }
}

fn tell_of_epoll(error: &RingError) {
    tracing::warn!("running on epoll, because {}", one_line(error));
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    controls: Vec<Arc<WorkerControl>>,
    engine: Engine,
    features: RingFeatures,
}

impl Workers {
    /// Starts one thread per plan and returns once every loop is receiving.
    ///
    /// With [`EngineChoice::Auto`] it takes io_uring if every worker can have its ring, and
    /// otherwise epoll, and logs why: now, and when a worker that is restarted gets no ring any
    /// more.
    ///
    /// `make_handler` is called on the worker's thread with its index, and again after a panic.
    pub fn start<H: Dispatch>(
        choice: EngineChoice,
        plans: Vec<WorkerPlan>,
        clock: Clock,
        make_handler: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let make_handler = Arc::new(make_handler);
        let engine = plans
            .first()
            .map_or(Engine::Epoll, |plan| choose_engine(choice, plan.sizes, plan.features));
        let may_fall_back = choice == EngineChoice::Auto;
        match Self::start_on(engine, plans.clone(), clock, &make_handler, may_fall_back) {
            // One ring could be had, but not one for each worker.
            Err(StartError::Ring(error)) if may_fall_back => {
                tell_of_epoll(&error);
                plans.iter().for_each(|plan| plan.control.start_over());
                Self::start_on(Engine::Epoll, plans, clock, &make_handler, may_fall_back)
            }
            started => started,
        }
    }

    fn start_on<H: Dispatch>(
        engine: Engine,
        plans: Vec<WorkerPlan>,
        clock: Clock,
        make_handler: &Arc<impl Fn(usize) -> H + Send + Sync + 'static>,
        may_fall_back: bool,
    ) -> Result<Self, StartError> {
        let features = RingFeatures::NONE;
        let mut workers = Self { threads: Vec::new(), controls: Vec::new(), engine, features };
        let mut ready = Vec::new();
        for plan in plans {
            let (sender, receiver) = mpsc::channel();
            let (index, control) = (plan.index, Arc::clone(&plan.control));
            let make_handler = Arc::clone(make_handler);
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || work(engine, &plan, clock, &sender, &*make_handler, may_fall_back));
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
            match answer {
                Ok(features) => workers.features = features,
                Err(error) => {
                    workers.stop();
                    return Err(error);
                }
            }
        }
        Ok(workers)
    }

    /// What drives their loops.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// What of io_uring they go without; nothing on epoll.
    pub fn missing(&self) -> RingFeatures {
        match self.engine {
            Engine::Epoll => RingFeatures::NONE,
            // Of the two, one replaces the other.
            Engine::IoUring if self.features.has(RingFeature::DeferTaskrun) => {
                RingFeatures::ALL.but(self.features).without(RingFeature::CoopTaskrun)
            }
            Engine::IoUring => RingFeatures::ALL.but(self.features),
        }
    }

    /// What of io_uring they use; nothing on epoll.
    pub fn features(&self) -> RingFeatures {
        self.features
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

/// A worker's life: loops until it is asked to stop, across panics and broken loops. The first loop
/// runs on `engine`; later ones run on epoll where they may and the ring cannot be built any more.
fn work<H: Dispatch>(
    mut engine: Engine,
    plan: &WorkerPlan,
    clock: Clock,
    started: &mpsc::Sender<Result<RingFeatures, StartError>>,
    make_handler: &(impl Fn(usize) -> H + Send + Sync),
    may_fall_back: bool,
) {
    if let Some(core) = plan.core
        && !core_affinity::set_for_current(core_affinity::CoreId { id: core })
    {
        tracing::warn!(worker = plan.index, core, "the worker cannot be pinned to its core");
    }
    let started = StartNotice { to: started, made: Cell::new(false) };
    let mut failures = 0;
    let mut told = RateLimited::new(RESTARTS_LOGGED_MAX, RESTARTS_INTERVAL);
    loop {
        let began = Instant::now();
        // Nothing is left half-done behind a panic: the loop drains itself when it unwinds, and
        // shared shards are checked by whoever locks them next.
        let turn = catch_unwind(AssertUnwindSafe(|| {
            serve(engine, plan, clock, |features| {
                let handler = make_handler(plan.index);
                started.make(Ok(features));
                handler
            })
        }));
        match turn {
            Ok(Ok(())) => return,
            Ok(Err(error)) if !started.made.get() => return started.make(Err(error)),
            Ok(Err(error @ StartError::Ring(_))) if may_fall_back => {
                tracing::warn!(
                    worker = plan.index,
                    "going on on epoll, because {}",
                    one_line(&error)
                );
                engine = Engine::Epoll;
            }
            Ok(Err(error)) => {
                if let Some(admitted) = told.admit(clock.now().since_epoch()) {
                    let (worker, error) = (plan.index, one_line(&error));
                    tracing::error!(worker, error, "restarting the worker's loop{admitted}");
                }
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
fn serve<H: Dispatch>(
    engine: Engine,
    plan: &WorkerPlan,
    clock: Clock,
    begin: impl FnOnce(RingFeatures) -> H,
) -> Result<(), StartError> {
    match engine {
        Engine::IoUring => {
            let mut ring = Ring::open(plan)?;
            let mut event_loop = uring::RingLoop::new(&mut ring, plan.clone(), clock)?;
            let features = event_loop.features();
            event_loop.run(&mut begin(features)).map_err(StartError::RingBroke)
        }
        Engine::Epoll => {
            let event_loop = epoll::EpollLoop::new(plan.clone(), clock);
            let mut event_loop = event_loop.map_err(StartError::Epoll)?;
            event_loop.run(&mut begin(RingFeatures::NONE)).map_err(StartError::EpollBroke)
        }
    }
}

/// The one word a worker says when it has started, or cannot.
struct StartNotice<'a> {
    to: &'a mpsc::Sender<Result<RingFeatures, StartError>>,
    made: Cell<bool>,
}

impl StartNotice<'_> {
    fn make(&self, result: Result<RingFeatures, StartError>) {
        if !self.made.replace(true) {
            // Nobody listens any more when another worker failed first.
            let _ = self.to.send(result);
        }
    }
}

/// Waits before a restart, longer each time up to a second, but not past a stop.
fn rest(control: &WorkerControl, failures: u32) {
    control.wait_for_stop(RESTART_WAIT_MIN.saturating_mul(failures).min(RESTART_WAIT_MAX));
}

/// A worker that ran for this long starts again as soon as one that never failed.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
const RESTART_WAIT_MIN: Duration = Duration::from_millis(10);
const RESTART_WAIT_MAX: Duration = Duration::from_secs(1);

/// Broken loops in the log, of each worker, in each interval.
const RESTARTS_LOGGED_MAX: u32 = 5;
const RESTARTS_INTERVAL: Duration = Duration::from_secs(60);
