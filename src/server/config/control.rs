//! How a running process is asked and changed, and where its control socket is.

use std::path::{Path, PathBuf};

/// How a running process is asked and changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlConfig {
    /// Where the control socket is.
    pub socket: ControlSocket,
    /// The group that may use it; `None` leaves it the group of the process.
    pub group: Option<String>,
}

/// Where the control socket is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlSocket {
    /// Where nobody said anything: at the usual path if that works, else nowhere.
    #[default]
    Usual,
    /// At this path; ringtide does not start without it.
    At(PathBuf),
    /// Nowhere.
    Off,
}

impl ControlSocket {
    /// Reads a path, or "off".
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("must name a file, or be \"off\"".to_owned()),
            OFF => Ok(Self::Off),
            path => Ok(Self::At(PathBuf::from(path))),
        }
    }

    /// The usual path: what the environment variable says, or [`SOCKET_USUAL`]. `None` when the
    /// variable says "off".
    pub fn usual() -> Option<PathBuf> {
        match std::env::var_os(SOCKET_VARIABLE).filter(|value| !value.is_empty()) {
            Some(value) if value == OFF => None,
            Some(value) => Some(PathBuf::from(value)),
            None => Some(Path::new(SOCKET_USUAL).to_owned()),
        }
    }
}

/// Where the control socket is unless somebody says otherwise.
pub const SOCKET_USUAL: &str = "/run/ringtide/control.sock";

/// The environment variable that names another usual path, for the process and for `ctl`.
pub const SOCKET_VARIABLE: &str = "RINGTIDE_CONTROL_SOCKET";

pub(super) const OFF: &str = "off";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::{Settings, parse};

    fn parsed(text: &str) -> Settings {
        parse(text, Path::new("/etc/r.toml")).unwrap()
    }

    #[test]
    fn the_socket_is_a_path_or_off() {
        assert_eq!(parsed("").control.socket, ControlSocket::Usual);
        let at = |path: &str| ControlSocket::At(PathBuf::from(path));
        assert_eq!(parsed("[control]\nsocket = \"c.sock\"").control.socket, at("/etc/c.sock"));
        assert_eq!(parsed("[control]\nsocket = \"/c.sock\"").control.socket, at("/c.sock"));
        assert_eq!(parsed("[control]\nsocket = \"off\"").control.socket, ControlSocket::Off);
        assert!(parse("[control]\nsocket = \"\"", Path::new("r")).is_err());
        assert_eq!(ControlSocket::parse("a/b"), Ok(at("a/b")));
        assert_eq!(ControlSocket::parse("off"), Ok(ControlSocket::Off));
        assert!(ControlSocket::parse("").is_err());
    }

    #[test]
    fn the_group_has_a_name() {
        let settings = parsed("[control]\ngroup = \"adm\"");
        assert_eq!(settings.control.group.as_deref(), Some("adm"));
        assert!(parse("[control]\ngroup = \"\"", Path::new("r")).is_err());
    }

    #[test]
    fn http_listens_nowhere_unless_asked_and_warns_beyond_loopback() {
        assert_eq!(parsed("").http, None);
        let local = parsed("[http]\nlisten = \"127.0.0.1:9100\"");
        assert_eq!(local.http, "127.0.0.1:9100".parse().ok());
        assert_eq!(local.warnings, Vec::<String>::new());
        let open = parsed("[http]\nlisten = \"0.0.0.0:9100\"");
        assert!(open.warnings[0].starts_with("http.listen is 0.0.0.0:9100"));
    }
}
