//! From settings to a running process, and from a signal to its orderly end.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::admin::Running;
use super::admin::commands::{AdminOps, CommandQueue, command_channel};
use super::api::{Api, Server, ServerError};
use super::config::{CoreError, Settings};
use super::process::{Process, ProcessError};
use super::report::Report;
use super::service_manager::ServiceManager;
use crate::error::{Remedy, one_line};
use crate::io::clock::Clock;
use crate::relay::control::{RelayControl, RelayError, RelayReporter};
use crate::sys::files::raise_file_limit;
use crate::sys::signals::{Event, Signals};
use crate::telemetry::Snapshot;
use crate::telemetry::log::{LogControl, LogOnChange, RateLimited};
use crate::workers::StartError;

/// Why ringtide could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Workers cannot be spread over cores.
    #[error("cannot place the workers")]
    Cores(#[from] CoreError),
    /// Something that the process is made of could not be had.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The control thread cannot be started.
    #[error("cannot be controlled")]
    Server(#[from] ServerError),
    /// No eventfd for what others ask.
    #[error("cannot take commands")]
    Control(#[source] io::Error),
    /// Signals cannot be received.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
}

impl RunError {
    /// Whether what is wrong is a file that the configuration names.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Process(
                ProcessError::Access(_) | ProcessError::KeyFile(_) | ProcessError::State(_)
            )
        )
    }
}

impl Remedy for RunError {
    fn remedy(&self) -> Option<String> {
        match self {
            Self::Cores(error) => error.remedy(),
            Self::Server(error) | Self::Process(ProcessError::Server(error)) => error.remedy(),
            Self::Process(ProcessError::Start(StartError::Ring(_))) => {
                Some("or go without io_uring: engine = \"auto\" or \"epoll\" (--engine)".to_owned())
            }
            Self::Process(_) | Self::Signals(_) | Self::Control(_) => None,
        }
    }
}

/// Runs everything that `settings` ask for until a signal stops it.
/// `log` changes what is logged when somebody asks for it.
pub fn run(settings: Settings, log: LogControl) -> Result<(), RunError> {
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
    let (process, listeners) = Process::start_confined(&settings, &cores)?;
    let (sender, commands) = command_channel().map_err(RunError::Control)?;
    let api = Api::new(process.view(), sender);
    let server = listeners.map(|listeners| Server::start(listeners, api)).transpose()?;
    log_serving(&settings, &process, cores.len());
    let mut manager = ServiceManager::ready();
    let mut running = Running::new(settings, process, log);
    loop {
        watch(&mut running, &mut signals, &commands, &mut manager)?;
        if !running.process.hand_over() {
            break;
        }
    }
    ServiceManager::stopping();
    running.process.view().draining.store(true, Ordering::Relaxed);
    info!("stopping; a second signal stops at once");
    signals.release().map_err(RunError::Signals)?;
    drop((commands, server));
    running.process.stop();
    if let Some(relay) = running.process.relay() {
        relay.figures().log_totals();
    }
    Report {
        elapsed: started.elapsed(),
        counted: running.process.counted(),
        kernel_drops: running.process.kernel_drops(),
        holdings: running.process.holdings(),
    }
    .log_totals();
    Ok(())
}

fn log_serving(settings: &Settings, process: &Process, workers: usize) {
    let engine = process.engine().name();
    let view = process.view();
    let Some(tracker) = view.tracker.as_ref().filter(|_| settings.tracker.is_some()) else {
        return info!(workers, engine, "serving");
    };
    let addresses: Vec<_> = process.addresses().map(|address| address.to_string()).collect();
    let steering = tracker.steering;
    info!(listen = %addresses.join(", "), workers, engine, steering, "serving");
}

/// Reports, reloads, follows interfaces and carries out commands until it is time to stop.
fn watch(
    running: &mut Running,
    signals: &mut Signals,
    commands: &CommandQueue,
    manager: &mut ServiceManager,
) -> Result<(), RunError> {
    let mut reporter = Reporter::default();
    let mut retries = Retries::default();
    loop {
        let interval = running.settings.report_interval;
        let due = interval.map(|interval| interval.saturating_sub(reporter.age()));
        let retry = running.process.relay().map(|_| retries.due());
        let dues = [due, retry, running.stops_in(), manager.due()];
        let wait = dues.into_iter().flatten().min();
        let mut others = vec![commands.as_fd()];
        others.extend(running.process.relay().map(AsFd::as_fd));
        let event = signals.wait(wait, &others).map_err(RunError::Signals)?;
        let followed = match event {
            Event::Stop => return Ok(()),
            Event::Reload => {
                let _told = ServiceManager::reloading();
                // What is wrong has been logged.
                let _ = running.reload();
                Ok(())
            }
            Event::News => {
                while let Some(command) = commands.next() {
                    command(running);
                }
                running.process.relay_mut().map_or(Ok(()), RelayControl::follow_links)
            }
            Event::Timeout => Ok(()),
        };
        retries.follow(running.process.relay_mut(), followed);
        if running.stops_in().is_some_and(|wait| wait.is_zero()) {
            return Ok(());
        }
        if let Some(how) = running.process.relay_mut().and_then(RelayControl::broker_ended) {
            error!(
                "the socket broker ended ({how}): rules that are open go on, but interfaces that \
                 come back and new rules get no sockets before a restart of ringtide"
            );
        }
        let Running { settings, process, .. } = &*running;
        manager.watch(process.heartbeats());
        if settings.report_interval.is_some_and(|interval| reporter.age() >= interval) {
            reporter.report(settings, process);
        }
    }
}

/// Has the relay try again what could not be opened, in time however much else there is to do.
struct Retries {
    last: Instant,
    unfollowed: LogOnChange,
}

impl Default for Retries {
    fn default() -> Self {
        Self { last: Instant::now(), unfollowed: LogOnChange::default() }
    }
}

impl Retries {
    /// How long until the next try.
    fn due(&self) -> Duration {
        RELAY_RETRY_INTERVAL.saturating_sub(self.last.elapsed())
    }

    /// Tries again if it is time to, and says what keeps the relay from following a change.
    fn follow(&mut self, relay: Option<&mut RelayControl>, followed: Result<(), RelayError>) {
        let Some(relay) = relay else { return };
        if let Err(error) = followed {
            self.tell(&error);
        }
        if self.due().is_zero() {
            match relay.retry() {
                Ok(()) => drop(self.unfollowed.is_over()),
                Err(error) => self.tell(&error),
            }
            self.last = Instant::now();
        }
    }

    fn tell(&mut self, error: &RelayError) {
        let reason = one_line(error);
        if self.unfollowed.is_news(&reason) {
            error!("the relay could not follow a change: {reason}");
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
        let Some(admitted) = limit.admit(clock.now().since_epoch()) else { return };
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
