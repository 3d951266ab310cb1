//! From settings to a running process, and from a signal to its orderly end.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::config::{CoreError, Settings};
use crate::control::notify::ServiceManager;
use crate::control::relay::{RelayControl, RelayReporter};
use crate::control::report::Report;
use crate::control::{Event, Signals};
use crate::error::Remedy;
use crate::logging::{LogControl, RateLimited};
use crate::net::files::raise_file_limit;
use crate::process::{Process, ProcessError};
use crate::reload::reload;
use crate::telemetry::Snapshot;
use crate::worker::StartError;

/// Why ringtide could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Workers cannot be spread over cores.
    #[error("cannot place the workers")]
    Cores(#[from] CoreError),
    /// Something that the process is made of could not be had.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Signals cannot be received.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
}

impl RunError {
    /// Whether what is wrong is a file that the configuration names.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Process(ProcessError::Access(_) | ProcessError::KeyFile(_)))
    }
}

impl Remedy for RunError {
    fn remedy(&self) -> Option<String> {
        match self {
            Self::Cores(error) => error.remedy(),
            Self::Process(ProcessError::Start(StartError::Ring(_))) => {
                Some("or go without io_uring: engine = \"auto\" or \"epoll\" (--engine)".to_owned())
            }
            Self::Process(_) | Self::Signals(_) => None,
        }
    }
}

/// Runs everything that `settings` ask for until a signal stops it.
/// `log` changes what is logged when a reload asks for it.
pub fn run(mut settings: Settings, log: &LogControl) -> Result<(), RunError> {
    // First of all: threads inherit the signal mask.
    let mut signals = Signals::block().map_err(RunError::Signals)?;
    log_panics();
    allow_many_files();
    let usable: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    let cores = settings.worker_cores(&usable)?;
    for line in settings.summary() {
        info!("{line}");
    }
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    if usable.len() < cores.len() {
        warn!("{} workers share {} cores", cores.len(), usable.len());
    }
    let started = Instant::now();
    let mut process = Process::start_confined(&settings, &cores)?;
    log_serving(&settings, &process, cores.len());
    let manager = ServiceManager::ready();
    watch(&mut settings, &mut process, &mut signals, log, manager)?;
    ServiceManager::stopping();
    info!("stopping; a second signal stops at once");
    signals.release().map_err(RunError::Signals)?;
    process.stop();
    if let Some(relay) = process.relay() {
        relay.figures().log_totals();
    }
    Report {
        elapsed: started.elapsed(),
        counted: process.counted(),
        kernel_drops: process.kernel_drops(),
        holdings: process.holdings(),
    }
    .log_totals();
    Ok(())
}

fn log_serving(settings: &Settings, process: &Process, workers: usize) {
    let engine = process.engine().name();
    if settings.tracker.is_none() {
        return info!(workers, engine, "serving");
    }
    let addresses: Vec<_> = process.addresses().map(|address| address.to_string()).collect();
    let steering = steering_state(settings, workers, process.is_steered());
    info!(listen = %addresses.join(", "), workers, engine, steering, "serving");
}

fn steering_state(settings: &Settings, workers: usize, steered: bool) -> &'static str {
    let wanted = settings.tracker.as_ref().is_some_and(|tracker| tracker.steering);
    match (workers, wanted, steered) {
        (1, _, _) => "not needed",
        (_, false, _) => "off",
        (_, true, true) => "on",
        (_, true, false) => "refused",
    }
}

/// Reports, reloads and follows interfaces until it is time to stop.
fn watch(
    settings: &mut Settings,
    process: &mut Process,
    signals: &mut Signals,
    log: &LogControl,
    mut manager: ServiceManager,
) -> Result<(), RunError> {
    let mut reporter = Reporter::default();
    loop {
        let due = settings.report_interval.map(|interval| interval.saturating_sub(reporter.age()));
        let retry = process.relay().map(|_| RELAY_RETRY_INTERVAL);
        let wait = due.into_iter().chain(retry).chain(manager.due()).min();
        let links = process.relay().map(AsFd::as_fd);
        let event = signals.wait(wait, links).map_err(RunError::Signals)?;
        let followed = match event {
            Event::Stop => return Ok(()),
            Event::Reload => {
                let _told = ServiceManager::reloading();
                reload(settings, process, log);
                Ok(())
            }
            Event::News => process.relay_mut().map_or(Ok(()), RelayControl::follow_links),
            Event::Timeout => process.relay_mut().map_or(Ok(()), RelayControl::retry),
        };
        if let Err(error) = followed {
            error!("the relay could not follow a change: {error}");
        }
        if let Some(how) = process.relay_mut().and_then(RelayControl::broker_ended) {
            error!(
                "the socket broker ended ({how}): rules that are open go on, but interfaces that \
                 come back and new rules get no sockets before a restart of ringtide"
            );
        }
        manager.watch(process.heartbeats());
        if settings.report_interval.is_some_and(|interval| reporter.age() >= interval) {
            reporter.report(settings, process);
        }
    }
}

/// Remembers the last report, so that the next one tells what happened since.
struct Reporter {
    at: Instant,
    counted: Snapshot,
    kernel_drops: u64,
    relay: RelayReporter,
}

impl Default for Reporter {
    fn default() -> Self {
        Self {
            at: Instant::now(),
            counted: Snapshot::default(),
            kernel_drops: 0,
            relay: RelayReporter::default(),
        }
    }
}

impl Reporter {
    fn age(&self) -> Duration {
        self.at.elapsed()
    }

    fn report(&mut self, settings: &Settings, process: &Process) {
        let elapsed = self.age();
        let (counted, kernel_drops) = (process.counted(), process.kernel_drops());
        if let Some(relay) = process.relay() {
            self.relay.report(relay.figures(), elapsed);
        }
        let report = Report {
            elapsed,
            counted: counted.since(&self.counted),
            kernel_drops: kernel_drops.saturating_sub(self.kernel_drops),
            holdings: process.holdings(),
        };
        if settings.tracker.is_some() {
            report.log_rates();
        }
        (self.at, self.counted, self.kernel_drops) = (Instant::now(), counted, kernel_drops);
    }
}

/// Takes all descriptors that the system permits: each worker has a socket for each address and
/// output, and as many registered files must be allowed as its ring may hold.
fn allow_many_files() {
    if let Err(error) = raise_file_limit() {
        warn!(%error, "the limit on open files stays as it is");
    }
}

/// Sends panics to the log, with a backtrace; the worker that panicked is restarted.
fn log_panics() {
    let clock = Clock::start();
    // Whatever makes a worker panic may come again with every packet.
    let limit = Mutex::new(RateLimited::new(PANICS_LOGGED_MAX, PANICS_INTERVAL));
    std::panic::set_hook(Box::new(move |panic| {
        let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(admitted) = limit.admit(clock.now()) else { return };
        let backtrace = std::backtrace::Backtrace::force_capture();
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed").to_owned();
        error!(thread = name, %backtrace, "{panic}{admitted}");
    }));
}

/// Panics with a backtrace in the log, in each interval.
const PANICS_LOGGED_MAX: u32 = 5;
const PANICS_INTERVAL: Duration = Duration::from_secs(60);

/// How often the relay tries again what could not be opened.
const RELAY_RETRY_INTERVAL: Duration = Duration::from_secs(1);
