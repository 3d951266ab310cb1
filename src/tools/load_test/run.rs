//! A run from its flags to its figures: sockets, workers, waiting, and the sum.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::args::LoadTestArgs;
use super::error::LoadError;
use super::handler::{Finished, Load, Progress, interval};
use super::plan::Plan;
use super::progress::Meter;
use super::stats::Stats;
use super::summary::{Summary, Surroundings};
use super::target::{probe, resolve, source};
use super::usage::{Sample, memory};
use crate::io::clock::Clock;
use crate::io::socket_table::{LoopSocket, SocketTable};
use crate::io::{EngineChoice, LoopSizes, RingFeatures, ServiceId, WorkerControl, WorkerPlan};
use crate::sys::files::raise_file_limit;
use crate::sys::signals::{Event, Signals};
use crate::sys::socket::{BoundSocket, SocketOptions, bind_group};
use crate::telemetry::{Counter, Counters, DropReason, Snapshot};
use crate::workers::{Workers, choose_engine};

/// Runs the test and returns the summary.
pub(super) fn run(args: &LoadTestArgs) -> Result<Summary, LoadError> {
    args.check()?;
    if let Some(pid) = args.pid {
        memory(pid).map_err(|source| LoadError::NoProcess { pid, source })?;
    }
    // Before any thread starts, which inherits the signal mask.
    let mut signals = Some(Signals::block().map_err(LoadError::System)?);
    let (plan, probed) = reach(args)?;
    let plan = Arc::new(plan);
    check_file_limit(args.concurrency)?;
    let fleet = Fleet::start(&plan, args)?;
    let shares = fleet.watch(&plan, args.pid, &mut signals)?;
    let tracker = args.pid.and_then(|pid| memory(pid).ok().map(|(now, most)| (pid, now, most)));
    let (results, counted, kernel_drops) = fleet.end()?;
    let sending = results.iter().map(|finished| finished.sending).max().unwrap_or_default();
    let mut results = results.into_iter().map(|finished| finished.stats);
    let mut stats = results.next().unwrap_or_else(|| Stats::new(1));
    results.for_each(|more| stats.add(&more));
    stats.add(&probed);
    let around = Surroundings {
        workers: args.workers,
        sending,
        interval: interval(plan.duration),
        shares,
        refused: counted.dropped(DropReason::SocketFull) + counted.dropped(DropReason::SendError),
        kernel_drops,
        tracker,
    };
    Ok(Summary::new(&plan, &stats, &around))
}

/// Finds the first address of the target that answers.
fn reach(args: &LoadTestArgs) -> Result<(Plan, Stats), LoadError> {
    let mut failed = None;
    for target in resolve(&args.target)? {
        let mut stats = Stats::new(1);
        let from = source(target, args.source_range, 0);
        match probe(target, from, args.timeout, &mut stats) {
            Ok(()) => return Ok((args.plan(target), stats)),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| LoadError::NoTarget { text: args.target.clone() }))
}

/// As many descriptors as the system permits, if that is enough.
fn check_file_limit(clients: usize) -> Result<(), LoadError> {
    let limit = raise_file_limit().map_err(LoadError::System)?;
    let needed = clients as u64 + FILES_BESIDE_CLIENTS;
    if needed > limit { Err(LoadError::TooManySockets { clients, needed, limit }) } else { Ok(()) }
}

/// The running workers and everything they own.
struct Fleet {
    workers: Workers,
    progress: Vec<Arc<Progress>>,
    counters: Vec<Arc<Counters>>,
    sockets: Vec<Arc<BoundSocket>>,
    stop: Arc<AtomicBool>,
}

impl Fleet {
    fn start(plan: &Arc<Plan>, args: &LoadTestArgs) -> Result<Self, LoadError> {
        let count = args.workers;
        let progress: Vec<_> = (0..count).map(|_| Arc::new(Progress::default())).collect();
        let counters: Vec<_> = (0..count).map(|_| Arc::new(Counters::default())).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let mut sockets = Vec::with_capacity(plan.clients);
        let mut plans = Vec::with_capacity(count);
        let engine = choose_engine(args.engine, sizes(plan.clients), RingFeatures::ALL);
        for (index, counters) in counters.iter().enumerate() {
            let clients = plan.clients_of(index, count);
            let mine = clients.map(|client| bind(plan, args, client));
            let mine = mine.collect::<Result<Vec<_>, LoadError>>()?;
            let control = WorkerControl::new(SHUTDOWN_TIMEOUT).map_err(LoadError::System)?;
            plans.push(WorkerPlan {
                index,
                core: None,
                table: Arc::new(SocketTable::new(
                    ServiceId::LoadTest,
                    mine.iter().map(|socket| Arc::clone(socket) as Arc<dyn LoopSocket>),
                )),
                counters: Arc::clone(counters),
                control: Arc::new(control),
                features: RingFeatures::ALL,
                sizes: sizes(mine.len()),
            });
            sockets.extend(mine);
        }
        let make_load = {
            let (plan, progress, stop) = (Arc::clone(plan), progress.clone(), Arc::clone(&stop));
            move |worker: usize| {
                let progress = Arc::clone(&progress[worker]);
                // Waits end when they should, not up to 50 us later; where that is refused, late
                // sends are counted.
                let _ = nix::sys::prctl::set_timerslack(1);
                Load::new(&plan, (worker, count), progress, Arc::clone(&stop))
            }
        };
        let workers = Workers::start(EngineChoice::Only(engine), plans, Clock::start(), make_load)?;
        Ok(Self { workers, progress, counters, sockets, stop })
    }

    /// Waits until every worker has left its result; returns the processor time used while
    /// requests were sent.
    fn watch(
        &self,
        plan: &Plan,
        pid: Option<u32>,
        signals: &mut Option<Signals>,
    ) -> Result<crate::tools::load_test::usage::Shares, LoadError> {
        let mut meter = Meter::new(plan.duration);
        let first = Sample::take(self.progress.len(), pid);
        let mut last = first.clone();
        while !self.progress.iter().all(|progress| progress.is_done()) {
            match signals {
                Some(waiting) => {
                    let event = waiting.wait(Some(LOOK_INTERVAL), &[]);
                    if event.map_err(LoadError::System)? == Event::Stop {
                        self.stop.store(true, Ordering::Release);
                        // Unblocked, the next signal has its default action.
                        let _ = signals.take().map(Signals::release);
                    }
                }
                None => std::thread::sleep(LOOK_INTERVAL),
            }
            if !self.progress.iter().any(|progress| progress.sent_all.load(Ordering::Acquire)) {
                last = Sample::take(self.progress.len(), pid);
            }
            let sum = |of: fn(&Progress) -> u64| self.progress.iter().map(|p| of(p)).sum();
            let succeeded = sum(|progress| progress.succeeded.load(Ordering::Relaxed));
            meter.show(succeeded, sum(|progress| progress.failed.load(Ordering::Relaxed)));
            self.check_restarts()?;
        }
        meter.end();
        Ok(last.since(&first))
    }

    fn check_restarts(&self) -> Result<(), LoadError> {
        let restarted = self
            .counters
            .iter()
            .any(|counters| counters.snapshot().get(Counter::WorkerRestarts) > 0);
        if restarted { Err(LoadError::Restarted) } else { Ok(()) }
    }

    /// Stops the workers. Returns what they measured, what their loops counted, and the answers
    /// that the kernel dropped because receive buffers were full.
    fn end(self) -> Result<(Vec<Finished>, Snapshot, u64), LoadError> {
        self.workers.stop();
        let counted = Snapshot::total(self.counters.iter().map(|counters| &**counters));
        let kernel_drops = self.sockets.iter().map(|socket| socket.kernel_drops()).sum();
        let results: Option<Vec<_>> =
            self.progress.iter().map(|progress| progress.take()).collect();
        Ok((results.ok_or(LoadError::Restarted)?, counted, kernel_drops))
    }
}

/// A client's socket.
fn bind(plan: &Plan, args: &LoadTestArgs, client: usize) -> Result<Arc<BoundSocket>, LoadError> {
    let address = (source(plan.target, args.source_range, client), 0).into();
    let options = SocketOptions {
        receive_buffer_bytes: CLIENT_BUFFER_BYTES,
        send_buffer_bytes: CLIENT_BUFFER_BYTES,
    };
    let group = bind_group(address, 1, options, None)?;
    let [socket] = <[BoundSocket; 1]>::try_from(group.sockets)
        .map_err(|_| LoadError::System(std::io::ErrorKind::NotFound.into()))?;
    Ok(Arc::new(socket))
}

/// Pools for as many clients; answers are taken in large batches.
fn sizes(clients: usize) -> LoopSizes {
    LoopSizes {
        // The plan keeps clients of a worker below this type's bound.
        sockets: clients as u16,
        operations: clients as u32 + CANCELLATIONS,
        receive_buffers: 4096,
        segments: true,
        ..LoopSizes::TRACKER
    }
}

/// Sockets are cancelled at the end only, some at a time.
const CANCELLATIONS: u32 = 64;

/// Descriptors for rings, events, files and libraries.
const FILES_BESIDE_CLIENTS: u64 = 64;

/// Room for a full window of the largest answers.
const CLIENT_BUFFER_BYTES: usize = 256 << 10;

const LOOK_INTERVAL: Duration = Duration::from_millis(50);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
