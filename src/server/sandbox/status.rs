//! The active restrictions, for the log and the API.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a process has dropped, as the kernel reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The effective user's number.
    pub uid: u32,
    /// The effective group's number.
    pub gid: u32,
    /// The remaining capabilities, by name.
    pub capabilities: Vec<String>,
    /// Whether new privileges are ruled out.
    pub no_new_privileges: bool,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// Whether files are restricted.
    pub landlock: Landlock,
    /// The process that opens sockets, if one was started.
    pub broker_pid: Option<u32>,
    /// The state of that process.
    #[serde(default)]
    pub broker: BrokerState,
}

/// The state of the process that opens sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BrokerState {
    /// There never was one.
    #[default]
    None,
    /// It answers, or was not asked since it did.
    Up,
    /// It has not answered its last request.
    Silent,
    /// It ended, and is not restarted.
    Ended,
}

/// How far files are restricted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Landlock {
    /// Switched off.
    #[default]
    Off,
    /// The kernel does not support it.
    Unsupported,
    /// The kernel supports a part of it.
    Partial,
    /// Everything that was asked for.
    Full,
}

impl Confinement {
    /// What the kernel reports of this thread; it does not report Landlock.
    pub fn of_this_thread() -> Self {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let permitted = caps::read(None, caps::CapSet::Permitted).unwrap_or_default();
        let mut capabilities: Vec<_> = permitted.iter().map(ToString::to_string).collect();
        capabilities.sort_unstable();
        Self {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            capabilities,
            no_new_privileges: nix::sys::prctl::get_no_new_privs().unwrap_or(false),
            seccomp: field(&status, "Seccomp:") == Some(FILTERED),
            landlock: Landlock::Off,
            broker_pid: None,
            broker: BrokerState::None,
        }
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switch = |on| if on { "on" } else { "off" };
        let capabilities = match &self.capabilities[..] {
            [] => "none".to_owned(),
            all if all.len() > NAMED_MAX => all.len().to_string(),
            some => some.join("+"),
        };
        write!(
            f,
            "user {}, group {}, capabilities {capabilities}, no_new_privs {}, seccomp {}, \
             landlock {}, broker ",
            self.uid,
            self.gid,
            switch(self.no_new_privileges),
            switch(self.seccomp),
            match self.landlock {
                Landlock::Off => "off",
                Landlock::Unsupported => "unsupported",
                Landlock::Partial => "partial",
                Landlock::Full => "on",
            },
        )?;
        let Some(pid) = self.broker_pid else { return f.write_str("none") };
        let how = match self.broker {
            BrokerState::None | BrokerState::Up => "",
            BrokerState::Silent => " (does not answer)",
            BrokerState::Ended => " (ended)",
        };
        write!(f, "{pid}{how}")
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The most that are named; more are counted.
const NAMED_MAX: usize = 4;

/// `SECCOMP_MODE_FILTER` (proc_pid_status(5)).
const FILTERED: &str = "2";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_has_everything() {
        let given_up = Confinement {
            uid: 65_534,
            gid: 65_534,
            no_new_privileges: true,
            seccomp: true,
            landlock: Landlock::Full,
            broker_pid: Some(17),
            ..Confinement::default()
        };
        assert_eq!(
            given_up.to_string(),
            "user 65534, group 65534, capabilities none, no_new_privs on, seccomp on, \
             landlock on, broker 17"
        );
        let ended = Confinement { broker: BrokerState::Ended, ..given_up.clone() };
        assert!(ended.to_string().ends_with("broker 17 (ended)"));
        let silent = Confinement { broker: BrokerState::Silent, ..given_up };
        assert!(silent.to_string().ends_with("broker 17 (does not answer)"));
        assert_eq!(
            Confinement::default().to_string(),
            "user 0, group 0, capabilities none, no_new_privs off, seccomp off, landlock off, \
             broker none"
        );
    }
}
