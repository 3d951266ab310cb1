//! Resources that the whole process uses, from procfs (proc(5)) and getrusage(2).

use std::fs;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

use crate::server::api::view::View;
use crate::server::broker::BrokerHealth;
use crate::server::sandbox::{BrokerState, Confinement};

/// The process as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStats {
    /// The version of ringtide.
    pub version: String,
    /// The engine of the workers' loops: "io_uring" or "epoll".
    pub engine: String,
    /// The io_uring features in use, named as in `io_uring_without`; empty on epoll.
    #[serde(default)]
    pub io_uring_features: Vec<String>,
    /// Its process ID.
    pub pid: u32,
    /// Seconds since it started to serve.
    pub uptime_s: u64,
    /// Whether it is about to stop.
    pub draining: bool,
    /// The privileges it has dropped and those it still has.
    pub privileges: Confinement,
    /// CPU time of all threads so far, user and system, in seconds.
    pub cpu_s: f64,
    /// Resident memory in bytes; 0 when procfs does not say.
    pub rss_bytes: u64,
    /// Open file descriptors; 0 when procfs does not say.
    pub open_files: u64,
}

impl ProcessStats {
    /// The figures as they are now.
    pub(super) fn collect(view: &View) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            engine: view.engine.name().to_owned(),
            io_uring_features: view.features.iter().map(|one| one.name().to_owned()).collect(),
            pid: std::process::id(),
            uptime_s: view.started.elapsed().as_secs(),
            draining: view.is_draining(),
            privileges: Confinement {
                broker: view.broker.as_ref().map_or(BrokerState::None, BrokerHealth::state),
                ..view.privileges.clone()
            },
            cpu_s: cpu_s(),
            rss_bytes: rss_bytes(),
            open_files: fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
        }
    }
}

fn cpu_s() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        let time = usage.user_time() + usage.system_time();
        time.num_microseconds() as f64 / 1e6
    })
}

fn rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    kibibytes.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_what_this_process_uses() {
        assert!(rss_bytes() > 1 << 20);
        assert!(cpu_s() >= 0.0);
    }
}
