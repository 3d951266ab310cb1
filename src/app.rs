//! From settings to a running process, and from a signal to its orderly end.

use std::io;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::config::{CoreError, Settings};
use crate::control::report::Report;
use crate::control::{Event, Signals};
use crate::error::Remedy;
use crate::process::{Process, ProcessError};
use crate::telemetry::Snapshot;

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
            Self::Process(_) | Self::Signals(_) => None,
        }
    }
}

/// Runs everything that `settings` ask for until a signal stops it.
pub fn run(settings: Settings) -> Result<(), RunError> {
    // First of all: threads inherit the signal mask.
    let mut signals = Signals::block().map_err(RunError::Signals)?;
    log_panics();
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
    let mut process = Process::start(&settings, &cores)?;
    let addresses: Vec<_> = process.addresses().map(|address| address.to_string()).collect();
    info!(
        listen = %addresses.join(", "),
        workers = cores.len(),
        steering = steering_state(&settings, cores.len(), process.is_steered()),
        "serving"
    );
    watch(&settings, &process, &mut signals)?;
    info!("stopping; a second signal stops at once");
    signals.release().map_err(RunError::Signals)?;
    process.stop();
    Report {
        elapsed: started.elapsed(),
        counted: process.counted(),
        kernel_drops: process.kernel_drops(),
        holdings: process.holdings(),
    }
    .log_totals();
    Ok(())
}

fn steering_state(settings: &Settings, workers: usize, steered: bool) -> &'static str {
    match (workers, settings.tracker.steering, steered) {
        (1, _, _) => "not needed",
        (_, false, _) => "off",
        (_, true, true) => "on",
        (_, true, false) => "refused",
    }
}

/// Reports and reloads until it is time to stop.
fn watch(settings: &Settings, process: &Process, signals: &mut Signals) -> Result<(), RunError> {
    let mut reporter = Reporter::default();
    loop {
        let wait = settings.report_interval.map(|interval| interval.saturating_sub(reporter.age()));
        match signals.wait(wait).map_err(RunError::Signals)? {
            Event::Stop => return Ok(()),
            Event::Reload => reload(settings, process),
            Event::Timeout => {}
        }
        if settings.report_interval.is_some_and(|interval| reporter.age() >= interval) {
            reporter.report(process);
        }
    }
}

fn reload(settings: &Settings, process: &Process) {
    if settings.tracker.access.is_none() {
        return info!("nothing to reload: SIGHUP reads the access list again, and none is set");
    }
    match process.reload(settings) {
        Ok(hashes) => info!(hashes, "access list reloaded"),
        Err(error) => error!("reload failed, the list in force stays: {error}"),
    }
}

/// Remembers the last report, so that the next one tells what happened since.
struct Reporter {
    at: Instant,
    counted: Snapshot,
    kernel_drops: u64,
}

impl Default for Reporter {
    fn default() -> Self {
        Self { at: Instant::now(), counted: Snapshot::default(), kernel_drops: 0 }
    }
}

impl Reporter {
    fn age(&self) -> Duration {
        self.at.elapsed()
    }

    fn report(&mut self, process: &Process) {
        let (counted, kernel_drops) = (process.counted(), process.kernel_drops());
        Report {
            elapsed: self.age(),
            counted: counted.since(&self.counted),
            kernel_drops: kernel_drops.saturating_sub(self.kernel_drops),
            holdings: process.holdings(),
        }
        .log_rates();
        *self = Self { at: Instant::now(), counted, kernel_drops };
    }
}

/// Sends panics to the log, with a backtrace; the worker that panicked is restarted.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::force_capture();
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed").to_owned();
        error!(thread = name, %backtrace, "{panic}");
    }));
}
