//! The flags that the commands share, and what can be wrong with flags.

use std::net::SocketAddr;

use clap::Args;

use crate::io::{EngineChoice, RingFeature, RingFeatures};
use crate::server::config::{
    self, ConfigError, ConfigProblem, ControlSocket, Settings, WorkerCount, limits,
};
use crate::values::limit::{Seconds, in_limit};
use crate::values::listen::parse_listen;
use crate::values::suggest::did_you_mean;

/// What every way of serving takes, with a file or without.
#[derive(Args, Debug)]
pub(super) struct EngineArgs {
    /// What drives the loops: auto, io_uring or epoll; auto is io_uring where it is available
    /// [default: from the file, or auto]
    #[arg(long, value_name = "ENGINE", value_parser = engine)]
    engine: Option<EngineChoice>,

    /// What of io_uring the loops do without, such as defer_taskrun,send_to
    /// [default: from the file, or nothing]
    #[arg(long, value_name = "LIST", value_parser = ring_features)]
    io_uring_without: Option<RingFeatures>,
}

/// What every way of serving from flags takes.
#[derive(Args, Debug)]
pub(super) struct ProcessArgs {
    #[command(flatten)]
    engine: EngineArgs,

    /// Number of workers; 0 is one per core [default: 0]
    #[arg(long, value_name = "N", value_parser = |text: &str| limits::WORKERS.parse(text))]
    workers: Option<usize>,

    /// Cores to pin workers to, such as 0,2,4-7 [default: all this process may use]
    #[arg(long, value_name = "LIST", value_parser = core_list)]
    cores: Option<CoreList>,

    /// How often a line of figures is logged; 0s is never [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = in_limit(limits::REPORT_INTERVAL))]
    report_interval: Option<Seconds>,

    /// Where the control socket is, or off [default: /run/ringtide/control.sock, where possible]
    #[arg(long, value_name = "PATH|off", value_parser = ControlSocket::parse)]
    control_socket: Option<ControlSocket>,

    /// Serve metrics, health and a dashboard over HTTP here [default: nowhere]
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    http_listen: Option<SocketAddr>,
}

impl EngineArgs {
    pub(super) fn apply(self, settings: &mut Settings) {
        if let Some(engine) = self.engine {
            settings.engine = engine;
            settings.overridden.push("engine");
        }
        if let Some(features) = self.io_uring_without {
            settings.io_uring_without = features;
            settings.overridden.push("io_uring_without");
        }
    }
}

impl ProcessArgs {
    pub(super) fn apply(self, settings: &mut Settings, problems: &mut FlagProblems) {
        self.engine.apply(settings);
        settings.workers = self.workers.map_or(settings.workers, WorkerCount::from);
        settings.cores = self.cores.map(|CoreList(cores)| cores).unwrap_or_default();
        if let Err(message) = config::check_cores(settings.workers, &settings.cores) {
            problems.add("--cores", message);
        }
        if let Some(interval) = self.report_interval {
            settings.report_interval = config::zero_is_never(interval);
        }
        settings.control.socket = self.control_socket.unwrap_or_default();
        settings.http = self.http_listen;
    }
}

/// What is wrong with the flags of a command.
pub(super) struct FlagProblems {
    command: &'static str,
    problems: Vec<ConfigProblem>,
}

impl FlagProblems {
    pub(super) fn new(command: &'static str) -> Self {
        Self { command, problems: Vec::new() }
    }

    pub(super) fn add(&mut self, flag: &str, message: String) {
        self.problems.push(ConfigProblem { place: flag.to_owned(), message });
    }

    /// The settings, if there is no problem.
    pub(super) fn or(self, settings: Settings) -> Result<Settings, ConfigError> {
        let Self { command, problems } = self;
        match problems.is_empty() {
            true => Ok(settings),
            false => Err(ConfigError::Flags { command, problems }),
        }
    }
}

/// A list of cores as one value: clap would take a plain vector for a flag that repeats.
#[derive(Clone, Debug)]
struct CoreList(Vec<usize>);

fn core_list(text: &str) -> Result<CoreList, String> {
    config::parse_core_list(text).map(CoreList)
}

fn engine(text: &str) -> Result<EngineChoice, String> {
    choice(text, &EngineChoice::NAMES)
}

fn ring_features(text: &str) -> Result<RingFeatures, String> {
    text.split(',').map(|name| name.trim().parse::<RingFeature>()).collect()
}

pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
    found.ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let tip = did_you_mean(text, names.iter().copied());
        format!("allowed is one of {}{tip}", names.join(", "))
    })
}
