//! The broker process: it serves requests until the serving process has ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use tracing::debug;

use super::denials::Denials;
use super::message::{OutputRequest, PacketRequest, Reply, Request};
use super::policy::{Objection, Policy};
use super::rule_file::RuleFile;
use crate::error::Remedy;
use crate::server::config::Settings;
use crate::server::sandbox::{Files, PrivilegeError, Role, confine};
use crate::sys::egress::{EgressStep, open_ready};
use crate::sys::errno;
use crate::sys::fd_passing::Channel;
use crate::sys::interface::Interface;
use crate::sys::packet_socket::{PacketStep, open_silent};
use crate::values::path::directory_of;

/// Why the broker ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It was started by hand.
    #[error("this command is for ringtide itself, which starts it with a socket as its input")]
    NoChannel(#[source] io::Error),
    /// It could not drop what it does not need.
    #[error("the socket broker cannot give up privileges")]
    Privileges(#[from] PrivilegeError),
    /// Signals cannot be blocked.
    #[error("the socket broker cannot block signals")]
    Signals(#[source] io::Error),
    /// Requests cannot be received or answered.
    #[error("the socket broker cannot go on")]
    Channel(#[source] io::Error),
}

impl Remedy for ServeError {
    fn remedy(&self) -> Option<String> {
        None
    }
}

/// Serves requests on standard input until its other end is closed.
///
/// # Errors
/// When it cannot start. A bad request is answered.
pub fn serve(settings: &Settings) -> Result<(), ServeError> {
    block_signals().map_err(ServeError::Signals)?;
    // It would be named after its file, /proc/self/exe. The name is for ps(1) only.
    let _ = nix::sys::prctl::set_name(NAME);
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(ServeError::NoChannel)?;
    let channel = Channel::adopt(input).map_err(ServeError::NoChannel)?;
    let directory = settings.file.as_deref().map(directory_of);
    let file = RuleFile::new(settings.file.as_deref());
    let files = Files { readable: directory.into_iter().collect(), writable: Vec::new() };
    let confinement = confine(&settings.privileges, Role::Broker, &files)?;
    debug!("socket broker: {confinement}");
    let policy = Policy::of(settings);
    let mut broker = Server { policy, file, denials: Denials::default() };
    answer(&channel, &Reply::Ready, &[]).map_err(ServeError::Channel)?;
    while let Some(message) = channel.receive().map_err(ServeError::Channel)? {
        // No request comes with descriptors.
        drop(message.descriptors);
        let (reply, sockets) = broker.handle(&message.bytes);
        send(&channel, reply, &sockets).map_err(ServeError::Channel)?;
    }
    Ok(())
}

/// Signals that end the serving process do not end this one: it ends when its channel closes.
fn block_signals() -> io::Result<()> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    Ok(set.thread_block()?)
}

#[derive(Default)]
struct Server {
    policy: Policy,
    file: RuleFile,
    denials: Denials,
}

impl Server {
    fn handle(&mut self, request: &[u8]) -> (Reply, Vec<OwnedFd>) {
        let opened = match serde_json::from_slice(request) {
            Ok(Request::Packets(request)) => self.packets(&request),
            Ok(Request::Output(request)) => self.output(&request).map(|socket| vec![socket]),
            Err(error) => Err(Reply::denied(format!("the request is no request: {error}"))),
        };
        match opened {
            Ok(sockets) => (Reply::Opened { left: 0 }, sockets),
            Err(reply) => {
                if let Reply::Denied { reason } = &reply {
                    self.denials.report(reason);
                }
                (reply, Vec::new())
            }
        }
    }

    fn packets(&mut self, request: &PacketRequest) -> Result<Vec<OwnedFd>, Reply> {
        self.check(|policy| policy.objection_to_packets(request))?;
        let failed = |(step, error): (PacketStep, io::Error)| Reply::Packets {
            step,
            errno: errno::number(&error),
        };
        let interface = interface(&request.interface, request.index)?;
        open_silent(&interface, request.count, request.receive_buffer_bytes).map_err(failed)
    }

    fn output(&mut self, request: &OutputRequest) -> Result<OwnedFd, Reply> {
        self.check(|policy| policy.objection_to_output(request))?;
        let failed = |(step, error): (EgressStep, io::Error)| Reply::Output {
            step,
            errno: errno::number(&error),
        };
        let interface = interface(&request.interface, request.index)?;
        open_ready(&interface, &request.options).map_err(failed)
    }

    /// Reads the file again before it denies what may have been added there.
    fn check(&mut self, objection: impl Fn(&Policy) -> Option<Objection>) -> Result<(), Reply> {
        match objection(&self.policy) {
            None => return Ok(()),
            Some(Objection::Senseless(reason)) => return Err(Reply::denied(reason)),
            Some(Objection::Unconfigured(_)) => {}
        }
        // The serving process has the same user as this one.
        let looked = self.file.news(nix::unistd::geteuid().as_raw());
        if let Ok(Some(settings)) = &looked {
            self.policy.take_rules(settings);
            self.denials.forget();
        }
        match objection(&self.policy) {
            None => Ok(()),
            Some(Objection::Senseless(reason)) => Err(Reply::denied(reason)),
            Some(Objection::Unconfigured(reason)) => {
                let remedy = self.file.remedy(looked.as_ref().err());
                Err(Reply::denied(format!("{reason}; {remedy}")))
            }
        }
    }
}

fn interface(name: &str, index: u32) -> Result<Interface, Reply> {
    match Interface::find(name) {
        Ok(Some(interface)) if interface.index == index => Ok(interface),
        Ok(_) => Err(Reply::Missing),
        Err(error) => Err(Reply::denied(format!("interfaces cannot be looked up: {error}"))),
    }
}

/// Sends a reply with its sockets, in as many messages as needed.
fn send(channel: &Channel, reply: Reply, sockets: &[OwnedFd]) -> io::Result<()> {
    if sockets.is_empty() {
        return answer(channel, &reply, &[]);
    }
    let mut left = sockets.len();
    for part in sockets.chunks(SOCKETS_AT_ONCE) {
        left -= part.len();
        let descriptors: Vec<_> = part.iter().map(AsFd::as_fd).collect();
        answer(channel, &Reply::Opened { left }, &descriptors)?;
    }
    Ok(())
}

fn answer(channel: &Channel, reply: &Reply, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    channel.send(&serde_json::to_vec(reply).map_err(io::Error::other)?, descriptors)
}

/// A descriptor that the other end may not open is closed by the kernel. Of several, those that it
/// did open would stay open unknown.
const SOCKETS_AT_ONCE: usize = 1;

/// What ps(1) calls the process.
const NAME: &std::ffi::CStr = c"ringtide-broker";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply_to(request: &[u8]) -> Reply {
        let mut server = Server::default();
        let (reply, sockets) = server.handle(request);
        assert!(sockets.is_empty());
        reply
    }

    #[test]
    fn what_is_no_request_is_denied() {
        let deep = "[".repeat(4096);
        let packets = r#"{"packets":{"interface":"lo","index":1,"count":1"#;
        for text in [
            "",
            "{}",
            "null",
            &deep,
            packets,
            &format!("{packets},\"receive_buffer_bytes\":65536,\"more\":1}}}}"),
            &format!("{packets},\"receive_buffer_bytes\":-1}}}}"),
            &format!("{packets},\"receive_buffer_bytes\":65536}}}}"),
        ] {
            assert!(matches!(reply_to(text.as_bytes()), Reply::Denied { .. }), "{text}");
        }
    }

    #[test]
    fn every_reply_fits_into_a_message() {
        let name = "\u{1}".repeat(3900);
        let text = format!(
            "{{\"packets\":{{\"interface\":\"{}\",\"index\":1,\"count\":1,\
             \"receive_buffer_bytes\":65536}}}}",
            name.escape_debug()
        );
        let reply = reply_to(text.as_bytes());
        assert!(
            serde_json::to_vec(&reply).unwrap().len() <= crate::sys::fd_passing::MESSAGE_BYTES_MAX
        );
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let denied = matches!(reply_to(&bytes), Reply::Denied { .. });
            prop_assert!(denied);
        }
    }
}
