//! The thread `main`: takes the process through its stages, and waits for what there is to do
//! while it serves.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::admin::Administrator;
use super::api::commands::{AdminOps, CommandQueue, command_channel};
use super::api::{Api, Listeners, Server, ServerError};
use super::config::{CoreError, Settings};
use super::confine::start_broker;
use super::error::StartupError;
use super::hand_over::{AfterHandOver, Ended};
use super::open::Opened;
use super::report::{Report, Reporter};
use super::sandbox::FutureUser;
use super::serve::Serving;
use super::service_manager::ServiceManager;
use crate::error::{Remedy, one_line};
use crate::io::clock::Clock;
use crate::relay::control::{RelayControl, RelayError};
use crate::sys::files::raise_file_limit;
use crate::sys::signals::{Event, Signals};
use crate::telemetry::log::{LogControl, LogOnChange, RateLimited};
use crate::workers::StartError;

/// Why ringtide could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Workers cannot be spread over cores.
    #[error("cannot place the workers")]
    Cores(#[from] CoreError),
    /// Something cannot be opened or started.
    #[error(transparent)]
    Startup(StartupError),
    /// The thread `api` cannot be started.
    #[error("cannot be controlled")]
    Server(#[from] ServerError),
    /// There is no eventfd for the queue of commands.
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
            Self::Startup(
                StartupError::Access(_) | StartupError::KeyFile(_) | StartupError::State(_)
            )
        )
    }
}

impl Remedy for RunError {
    fn remedy(&self) -> Option<String> {
        match self {
            Self::Cores(error) => error.remedy(),
            Self::Server(error) | Self::Startup(StartupError::Server(error)) => error.remedy(),
            Self::Startup(StartupError::Start(StartError::Ring(_))) => {
                Some("or go without io_uring: engine = \"auto\" or \"epoll\" (--engine)".to_owned())
            }
            Self::Startup(_) | Self::Signals(_) | Self::Control(_) => None,
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
    let (serving, listeners) = start(&settings, &cores).map_err(RunError::Startup)?;
    let (sender, commands) = command_channel().map_err(RunError::Control)?;
    let api = Api::new(Arc::clone(serving.view()), sender);
    let server = listeners.map(|listeners| Server::start(listeners, api)).transpose()?;
    log_serving(&serving);
    let mut manager = ServiceManager::ready();
    let mut admin = Administrator::new(settings, serving, log);
    let end = loop {
        match wait_for_end(&mut admin, &mut signals, &commands, &mut manager)? {
            End::Stop => break AfterHandOver::Serving(admin.serving),
            // A stop that comes meanwhile is still pending when the next wait begins.
            End::HandOver => match admin.serving.hand_over() {
                AfterHandOver::Serving(serving) => admin.serving = serving,
                ended => break ended,
            },
        }
    };
    ServiceManager::stopping();
    end.view().draining.store(true, Ordering::Relaxed);
    info!("stopping; a second signal stops at once");
    signals.release().map_err(RunError::Signals)?;
    drop((commands, server));
    let ended = match end {
        AfterHandOver::Serving(serving) => serving.stop(),
        AfterHandOver::Ended(ended) => ended,
    };
    log_totals(&ended, started.elapsed());
    Ok(())
}

/// From the settings to the workers that serve, and what the thread `api` is to serve on.
fn start(
    settings: &Settings,
    cores: &[usize],
) -> Result<(Serving, Option<Listeners>), StartupError> {
    let user = FutureUser::find(&settings.privileges)?;
    // Opened first: a process that runs is taken over from only once all of this is there.
    let mut listeners = Listeners::open(settings, user.owner())?;
    let broker = start_broker(settings)?;
    let opened = Opened::open(settings, cores, broker, &user)?;
    listeners.iter_mut().for_each(Listeners::publish);
    let confined = opened.confine(settings, &user)?;
    let serving = confined.serve(settings)?;
    Ok((serving, listeners))
}

fn log_serving(serving: &Serving) {
    let view = serving.view();
    let workers = view.workers.len();
    let engine = view.engine.name();
    let Some(tracker) = &view.tracker else {
        return info!(workers, engine, "serving");
    };
    let addresses: Vec<_> = view.addresses().map(|address| address.to_string()).collect();
    let steering = tracker.steering;
    info!(listen = %addresses.join(", "), workers, engine, steering, "serving");
}

fn log_totals(ended: &Ended, elapsed: Duration) {
    let view = ended.view();
    if let Some(relay) = &view.relay {
        relay.load().figures().log_totals();
    }
    Report::of(view, elapsed).log_totals();
}

/// Why this process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was asked to stop.
    Stop,
    /// Another process asked to take over; if it goes away, this one serves on.
    HandOver,
}

impl End {
    /// A stop overrides: it ends the process even if the other one has gone. If that is still
    /// there, it gets the sockets all the same.
    fn of(asked_to_stop: bool, asked_to_hand_over: bool) -> Option<Self> {
        match (asked_to_stop, asked_to_hand_over) {
            (true, _) => Some(Self::Stop),
            (false, true) => Some(Self::HandOver),
            (false, false) => None,
        }
    }
}

/// Reports, reloads, follows interfaces and carries out commands until it is time to stop or to
/// hand over.
fn wait_for_end(
    admin: &mut Administrator,
    signals: &mut Signals,
    commands: &CommandQueue,
    manager: &mut ServiceManager,
) -> Result<End, RunError> {
    let mut reporter = Reporter::default();
    let mut retries = Retries::default();
    loop {
        let interval = admin.settings.report_interval;
        let report = interval.map(|interval| interval.saturating_sub(reporter.age()));
        let retry = admin.serving.relay().map(|_| retries.due());
        let dues = [report, retry, admin.stops_in(), manager.due()];
        let wait = dues.into_iter().flatten().min();
        let mut others = vec![commands.as_fd()];
        others.extend(admin.serving.relay().map(AsFd::as_fd));
        others.extend(admin.serving.relay().and_then(RelayControl::broker_end));
        others.extend(admin.serving.offer());
        let event = signals.wait(wait, &others).map_err(RunError::Signals)?;
        let followed = match event {
            Event::Stop => return Ok(End::Stop),
            Event::Reload => {
                let _until_reloaded = ServiceManager::reloading();
                // What is wrong has been logged.
                let _ = admin.reload();
                Ok(())
            }
            Event::News => {
                while let Some(command) = commands.next() {
                    command(admin);
                }
                admin.serving.relay_mut().map_or(Ok(()), RelayControl::follow_links)
            }
            Event::Timeout => Ok(()),
        };
        retries.follow(admin.serving.relay_mut(), followed);
        let is_over = admin.stops_in().is_some_and(|wait| wait.is_zero());
        if let Some(end) = End::of(is_over, admin.serving.is_asked_to_hand_over()) {
            return Ok(end);
        }
        if let Some(how) = admin.serving.relay_mut().and_then(RelayControl::broker_ended) {
            error!(
                "the socket broker ended ({how}): rules that are open go on, but interfaces that \
                 come back and new rules get no sockets before a restart of ringtide"
            );
        }
        let view = admin.serving.view();
        manager.watch(view.heartbeats());
        if interval.is_some_and(|interval| reporter.age() >= interval) {
            reporter.report(view);
        }
    }
}

/// Has the relay try again what could not be opened, on time however much else there is to do.
struct Retries {
    last: Instant,
    /// Why the relay could not follow a change, as it was logged.
    failure: LogOnChange,
}

impl Default for Retries {
    fn default() -> Self {
        Self { last: Instant::now(), failure: LogOnChange::default() }
    }
}

impl Retries {
    /// How long until the next try.
    fn due(&self) -> Duration {
        RELAY_RETRY_INTERVAL.saturating_sub(self.last.elapsed())
    }

    /// Tries again if it is time to, and logs what keeps the relay from following a change.
    fn follow(&mut self, relay: Option<&mut RelayControl>, followed: Result<(), RelayError>) {
        let Some(relay) = relay else { return };
        if let Err(error) = followed {
            self.log(&error);
        }
        if self.due().is_zero() {
            match relay.retry() {
                Ok(()) => drop(self.failure.is_over()),
                Err(error) => self.log(&error),
            }
            self.last = Instant::now();
        }
    }

    fn log(&mut self, error: &RelayError) {
        let reason = one_line(error);
        if self.failure.is_news(&reason) {
            error!("the relay could not follow a change: {reason}");
        }
    }
}

/// Raises the limit on open files to what the system permits: each worker has a socket for each
/// address and output, and as many registered files must be allowed as its ring may hold.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_overrides_a_hand_over() {
        assert_eq!(End::of(true, true), Some(End::Stop));
        assert_eq!(End::of(true, false), Some(End::Stop));
        assert_eq!(End::of(false, true), Some(End::HandOver));
        assert_eq!(End::of(false, false), None);
    }
}
