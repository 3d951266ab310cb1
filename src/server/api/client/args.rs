//! The arguments of `ringtide ctl`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::server::config::{ControlSocket, SOCKET_USUAL};
use crate::tracker::core::InfoHash;
use crate::values::units;

/// The arguments of `ringtide ctl`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP, subcommand_required = true)]
pub struct CtlArgs {
    /// The control socket [default: from RINGTIDE_CONTROL_SOCKET, or /run/ringtide/control.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Print JSON, as the control socket answers it
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) command: CtlCommand,
}

impl CtlArgs {
    /// The path of the control socket.
    pub(super) fn socket(&self) -> PathBuf {
        let usual = || ControlSocket::usual().unwrap_or_else(|| PathBuf::from(SOCKET_USUAL));
        self.socket.clone().unwrap_or_else(usual)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum CtlCommand {
    /// Show the versions of the running ringtide and of its interface
    Version,
    /// Show whether all workers are alive; if not, the exit code is 1
    Health,
    /// Show figures of the process, its workers, the tracker and the relay
    Stats {
        /// Show them repeatedly, with rates [default interval: 1s]
        #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "1s")]
        #[arg(value_parser = watch_interval)]
        watch: Option<Duration>,
    },
    /// Show or change the relay's rules
    #[command(subcommand, arg_required_else_help = true)]
    Rules(RulesCommand),
    /// Show or change the access list
    #[command(subcommand, arg_required_else_help = true)]
    Access(AccessCommand),
    /// Show, check, reload or save the configuration
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigCommand),
    /// Show the torrents with the most peers
    Top {
        /// How many, 1 to 1000
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Show one torrent
    Swarm {
        /// Its info hash, 40 or 64 hex digits
        hash: InfoHash,
    },
    /// Show or change the log filter
    LogLevel {
        /// A level, or directives such as info,ringtide::tracker=debug
        filter: Option<String>,
    },
    /// Stop cleanly, and wait until it has stopped
    Drain {
        /// How long to report unhealthy and serve only known clients before stopping, up to 1h,
        /// such as 10s
        #[arg(long, value_name = "DURATION")]
        wait: Option<String>,
        /// Return at once instead of waiting
        #[arg(long)]
        detach: bool,
    },
}

/// Commands for rules.
#[derive(Debug, Subcommand)]
pub(super) enum RulesCommand {
    /// Show the active rules
    List,
    /// Add a rule from flags, or all rules of a file
    Add(RuleArgs),
    /// Replace the rules of the same name by a rule from flags, or by all rules of a file
    Replace(RuleArgs),
    /// Replace all rules by those of a file
    Set {
        /// A configuration file; only its rules are used
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Remove rules
    Remove {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// A rule from flags, or rules from a file.
#[derive(Args, Debug)]
pub(super) struct RuleArgs {
    /// A configuration file; only its rules are used
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input", "name", "source", "output"])]
    #[arg(required_unless_present = "input")]
    pub(super) file: Option<PathBuf>,

    /// The rule's name
    #[arg(long)]
    pub(super) name: Option<String>,

    /// Group or host, port and interface to receive from: 239.1.1.1:5001@eth0
    #[arg(long, value_name = "ENDPOINT")]
    pub(super) input: Option<String>,

    /// Accept only datagrams from this address; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub(super) source: Vec<String>,

    /// Group or host, port and interface to send to; may be repeated
    #[arg(long, value_name = "ENDPOINT")]
    pub(super) output: Vec<String>,

    /// TTL or hop limit of all outputs: 1 to 255, or keep
    #[arg(long, value_name = "N|keep", conflicts_with = "file")]
    pub(super) ttl: Option<String>,

    /// Code point of all outputs: 0 to 63, or keep
    #[arg(long, value_name = "N|keep", conflicts_with = "file")]
    pub(super) dscp: Option<String>,
}

/// Commands for the access list.
#[derive(Debug, Subcommand)]
pub(super) enum AccessCommand {
    /// Show the list's mode and size
    Show,
    /// Add torrents until the next reload or restart; `config save` makes it last
    Add {
        /// Info hashes, 40 or 64 hex digits each
        #[arg(required = true, value_name = "HASH")]
        hashes: Vec<String>,
    },
    /// Remove torrents until the next reload or restart; `config save` makes it last
    Remove {
        /// Info hashes, 40 or 64 hex digits each
        #[arg(required = true, value_name = "HASH")]
        hashes: Vec<String>,
    },
    /// Read the list's file again
    Reload,
}

/// Commands for the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show the current configuration, as a file
    Show,
    /// Let the running ringtide check whether a configuration is valid
    Check {
        /// The file to check [default: the one it was started with]
        file: Option<PathBuf>,
    },
    /// Read the configuration file again and apply what can change at runtime
    Reload,
    /// Write changed rules, access list and log level back to their files
    Save,
}

fn watch_interval(text: &str) -> Result<Duration, String> {
    let interval = units::parse_duration(text).map_err(|error| error.to_string())?;
    match (WATCH_MIN..=WATCH_MAX).contains(&interval) {
        true => Ok(interval),
        false => Err("must be 100ms to 1h".to_owned()),
    }
}

const WATCH_MIN: Duration = Duration::from_millis(100);
const WATCH_MAX: Duration = Duration::from_secs(3600);

const AFTER_HELP: &str = "\
Examples:
  ringtide ctl stats --watch
  ringtide ctl stats --json | jq .tracker.holdings
  ringtide ctl rules add --name a --input 239.1.1.1:5001@eth0 --output 239.2.2.2:5002@eth1
  ringtide ctl rules remove a b
  ringtide ctl access add 0123456789abcdef0123456789abcdef01234567
  ringtide ctl config reload
  ringtide ctl drain --wait 30s
  ringtide ctl log-level info,ringtide::tracker=debug
  curl --unix-socket /run/ringtide/control.sock http://localhost/api/v1/stats

Changes last until the next reload or restart; `ringtide ctl config save` makes them last. Several
rules in one command are changed together or not at all.

Exit codes:
  0  done
  1  the running ringtide refused or failed, `health` found it unhealthy, or `drain` timed out
  2  wrong arguments
  3  nothing answers at the control socket, or this user may not use it";
