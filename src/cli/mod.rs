//! The command line: arguments to settings, and errors to exit codes.

mod pages;
mod relay;
mod shared_args;
mod tracker;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use self::relay::RelayArgs;
use self::shared_args::{EngineArgs, choice};
use self::tracker::TrackerArgs;
use crate::error::{Remedy, describe};
use crate::server::api::client::{self, CtlArgs, CtlError};
use crate::server::broker;
use crate::server::config::{self, ConfigError, Settings};
use crate::telemetry::log::{self, LogControl, LogFilter, LogFormat};
use crate::tools::load_test::{self, LoadTestArgs};
use crate::tools::traffic::{self, TrafficCommand};

/// A BitTorrent UDP tracker and multicast relay on io_uring, or on epoll where that is forbidden.
#[derive(Debug, Parser)]
#[command(name = "ringtide", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// What to log: error, warn, info, debug, trace, off, or a filter such as
    /// info,ringtide::tracker=debug [default: from RINGTIDE_LOG, the file, or info]
    #[arg(long, global = true, help_heading = LOGGING)]
    #[arg(value_name = "FILTER", value_parser = LogFilter::parse)]
    log_level: Option<LogFilter>,

    /// How log lines look: text or json [default: from the file, or text]
    #[arg(long, global = true, help_heading = LOGGING)]
    #[arg(value_name = "FORMAT", value_parser = log_format)]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything the configuration file asks for; without one, a tracker on port 6969
    Run {
        /// The configuration file (TOML)
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,

        #[command(flatten)]
        engine: EngineArgs,
    },
    /// Run a tracker from flags alone
    Tracker(TrackerArgs),
    /// Run relay rules from flags alone
    Relay(RelayArgs),
    /// Ask or change a running ringtide
    #[command(arg_required_else_help = true)]
    Ctl(CtlArgs),
    /// Load a BitTorrent UDP tracker, check its answers and measure it
    LoadTest(LoadTestArgs),
    /// Send or receive test traffic
    #[command(subcommand, arg_required_else_help = true)]
    Traffic(TrafficCommand),
    /// Print or check configuration
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigCommand),
    /// Print a script that completes commands and flags in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write a man page for each command
    Man {
        /// The directory to write them to
        directory: PathBuf,
    },
    /// Open sockets for a relay that has given its privileges up; it is started by that relay
    #[command(name = broker::COMMAND, hide = true)]
    SocketBroker {
        /// The relay's own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the default configuration file, with every key explained
    Default,
    /// Say whether a configuration file is valid, what it will run, or what is wrong where
    Check {
        /// The configuration file (TOML)
        file: PathBuf,
    },
}

/// Parses the arguments, runs the command, and reports what goes wrong.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return answer(&error),
    };
    match cli.command {
        Command::Run { config, engine } => {
            let settings =
                config.map_or_else(|| Ok(Settings::default()), |file| config::load(&file));
            let settings = settings.map(|mut settings| {
                engine.apply(&mut settings);
                settings
            });
            run(settings, cli.log_level, cli.log_format)
        }
        Command::Tracker(args) => run(args.into_settings(), cli.log_level, cli.log_format),
        Command::Relay(args) => run(args.into_settings(), cli.log_level, cli.log_format),
        Command::Ctl(args) => run_ctl(&args),
        Command::LoadTest(args) => run_load_test(&args),
        Command::Traffic(command) => run_traffic(&command),
        Command::Completions { shell } => print(&pages::completions(shell, Cli::command())),
        Command::Man { directory } => match pages::man(&directory, Cli::command()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, EXIT_FAILURE),
        },
        Command::SocketBroker { arguments } => run_broker(arguments),
        Command::Config(ConfigCommand::Default) => print(&config::default_text()),
        Command::Config(ConfigCommand::Check { file }) => match config::load(&file) {
            Ok(settings) => print(&check_report(&file.display().to_string(), &settings)),
            Err(error) => fail(&error, EXIT_USAGE),
        },
    }
}

/// Runs the socket broker, for the command that `arguments` are.
fn run_broker(arguments: Vec<OsString>) -> ExitCode {
    let program = OsString::from("ringtide");
    let cli = match Cli::try_parse_from(std::iter::once(program).chain(arguments)) {
        Ok(cli) => cli,
        Err(error) => return answer(&error),
    };
    let settings = match cli.command {
        Command::Run { config: Some(file), .. } => config::load(&file),
        Command::Relay(args) => args.into_settings(),
        _ => Ok(Settings::default()),
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return fail(&error, EXIT_USAGE),
    };
    if let Err(code) = start_log(&settings, cli.log_level, cli.log_format) {
        return code;
    }
    match broker::serve(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, EXIT_FAILURE),
    }
}

fn run(
    settings: Result<Settings, ConfigError>,
    filter: Option<LogFilter>,
    format: Option<LogFormat>,
) -> ExitCode {
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return fail(&error, EXIT_USAGE),
    };
    let log = match start_log(&settings, filter, format) {
        Ok(log) => log,
        Err(code) => return code,
    };
    match crate::server::run::run(settings, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_configuration() => fail(&error, EXIT_USAGE),
        Err(error) => fail(&error, EXIT_FAILURE),
    }
}

fn run_ctl(args: &CtlArgs) -> ExitCode {
    match client::run(args, &mut |text| print_now(text)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILURE),
        Err(CtlError::Output(reason)) => unwritten(reason),
        Err(error) if error.is_unreachable() => fail(&error, EXIT_UNREACHABLE),
        Err(error) if error.is_usage() => fail(&error, EXIT_USAGE),
        Err(error) => fail(&error, EXIT_FAILURE),
    }
}

fn run_load_test(args: &LoadTestArgs) -> ExitCode {
    match load_test::run(args) {
        Ok(outcome) => match print(&outcome.text) {
            ExitCode::SUCCESS if !outcome.success => ExitCode::from(EXIT_FAILURE),
            printed => printed,
        },
        Err(error) if error.is_usage() => fail(&error, EXIT_USAGE),
        Err(error) => fail(&error, EXIT_FAILURE),
    }
}

/// Starts the log that the file asks for, unless flags or the environment go before it.
fn start_log(
    settings: &Settings,
    filter: Option<LogFilter>,
    format: Option<LogFormat>,
) -> Result<LogControl, ExitCode> {
    // The settings keep what the file says, for reloads to compare with.
    let mut log = settings.log.clone();
    // A variable that is not even text fails as a filter.
    let variable = std::env::var_os(log::FILTER_VARIABLE);
    let variable = variable.as_ref().map(|value| value.to_string_lossy());
    let overridden_by = log
        .override_filter(filter, variable.as_deref())
        .map_err(|error| fail(&error, EXIT_USAGE))?;
    log.format = format.unwrap_or(log.format);
    log::start(&log, overridden_by).map_err(|error| fail(&error, EXIT_FAILURE))
}

fn run_traffic(command: &TrafficCommand) -> ExitCode {
    match traffic::run(command) {
        Ok(outcome) => match print(&outcome.text) {
            ExitCode::SUCCESS if !outcome.intact => ExitCode::from(EXIT_FAILURE),
            printed => printed,
        },
        Err(error) if error.is_usage() => fail(&error, EXIT_USAGE),
        Err(error) => fail(&error, EXIT_FAILURE),
    }
}

/// What `config check` says about a valid file.
fn check_report(file: &str, settings: &Settings) -> String {
    let mut report = format!("{file} is valid\n");
    for line in settings.summary() {
        report.push_str(&format!("  {line}\n"));
    }
    let files = settings.tracker.iter().flat_map(|tracker| {
        let access_file = tracker.access.as_ref().map(|access| &access.file);
        access_file.into_iter().chain(&tracker.connection_key_file)
    });
    let files = files.filter(|path| !path.exists());
    let missing = files.map(|path| format!("there is no file {}", path.display()));
    let missing = missing.chain(missing_interfaces(settings));
    for warning in settings.warnings.iter().cloned().chain(missing) {
        report.push_str(&format!("  warning: {warning}\n"));
    }
    report
}

/// Interfaces may appear later; until then their rules wait.
fn missing_interfaces(settings: &Settings) -> impl Iterator<Item = String> {
    let rules = settings.relay.iter().flat_map(|relay| &relay.rules);
    let endpoints = rules.flat_map(|rule| {
        let outputs = rule.outputs.iter().map(|output| &output.endpoint);
        std::iter::once(&rule.input.endpoint).chain(outputs)
    });
    let names: BTreeSet<&str> = endpoints.map(|endpoint| endpoint.interface.as_str()).collect();
    names
        .into_iter()
        .filter(|name| nix::net::if_::if_nametoindex(*name).is_err())
        .map(|name| format!("there is no interface {name} yet; what needs it waits for it"))
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    choice(text, &LogFormat::NAMES)
}

/// Prints what clap has to say: help and version, or what is wrong with the arguments.
fn answer(error: &clap::Error) -> ExitCode {
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if error.use_stderr() && !is_help {
        let _ = write!(io::stderr(), "ringtide: ");
    }
    match error.print() {
        Err(reason) if !error.use_stderr() => unwritten(reason),
        _ if error.use_stderr() => ExitCode::from(EXIT_USAGE),
        _ => ExitCode::SUCCESS,
    }
}

fn print_now(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
}

fn print(text: &str) -> ExitCode {
    match print_now(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => unwritten(reason),
    }
}

/// A reader that has seen enough (`ringtide config default | head`) is no failure.
fn unwritten(reason: io::Error) -> ExitCode {
    if reason.kind() == io::ErrorKind::BrokenPipe {
        return ExitCode::SUCCESS;
    }
    fail(&OutputError(reason), EXIT_FAILURE)
}

/// Standard output did not take what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
struct OutputError(#[source] io::Error);

impl Remedy for OutputError {
    fn remedy(&self) -> Option<String> {
        None
    }
}

fn fail(error: &impl Remedy, code: u8) -> ExitCode {
    // Without standard error only the exit code is left to tell.
    let _ = writeln!(io::stderr(), "{}", describe(error));
    ExitCode::from(code)
}

/// Something that worked until it ran: a port is taken, a ring cannot be built.
const EXIT_FAILURE: u8 = 1;

/// Wrong arguments or a wrong configuration; nothing was started.
const EXIT_USAGE: u8 = 2;

/// `ringtide ctl` reached no process.
const EXIT_UNREACHABLE: u8 = 3;

const LOGGING: &str = "Logging";

const AFTER_HELP: &str = "\
Examples:
  ringtide run                                     a tracker on udp://HOST:6969, IPv4 and IPv6
  ringtide config default > ringtide.toml          a configuration file to start from
  ringtide config check ringtide.toml
  ringtide run -c ringtide.toml --log-level debug
  ringtide tracker --listen 192.0.2.1:6969 --workers 2
  ringtide tracker --access-mode allow --access-file torrents.txt
  ringtide relay --input 239.1.1.1:5001@eth0 --output 239.2.2.2:5002@eth1
  ringtide ctl stats --watch
  ringtide load-test --target 192.0.2.1:6969 --duration 30s --html report.html
  ringtide traffic send --group 239.1.1.1:5001 --interface eth0 --rate 10000 --duration 10s

Exit codes:
  0  success, or stopped by a signal after an orderly shutdown
  1  failure at run time: an address cannot be bound, a ring asked for by name cannot be built
  2  wrong arguments or a wrong configuration, a file that it names included; nothing was started
  3  ringtide ctl: nothing answers at the control socket, or this user may not use it
  A second signal while stopping ends the process at once, by that signal (130, 143 in a shell).

Environment:
  RINGTIDE_LOG  what to log, as --log-level; the flag goes before it, it goes before the file
  RINGTIDE_CONTROL_SOCKET
                where the control socket is, or off, unless a flag or the file says otherwise
  NO_COLOR      if set, no colours on a terminal";
