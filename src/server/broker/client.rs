//! The serving process's side: starting the broker, sending it requests, noticing when it has
//! ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::COMMAND;
use super::health::BrokerHealth;
use super::message::{OutputRequest, PacketRequest, Reply, Request};
use crate::relay::control::SocketFactory;
use crate::server::sandbox::BrokerState;
use crate::sys::egress::{EgressError, EgressOptions, EgressSocket};
use crate::sys::fd_passing::Channel;
use crate::sys::filter::FrameFilter;
use crate::sys::interface::Interface;
use crate::sys::packet_socket::{PacketError, PacketGroup, adopt_group};
use crate::sys::process::PidFd;

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Its process cannot be started.
    #[error("cannot start the socket broker; privileges.broker = false goes without")]
    Start(#[source] io::Error),
    /// It ended at once, or did not get ready in time; the log has its reason.
    #[error("the socket broker does not get ready; the lines above say why")]
    NotReady,
}

/// The broker as the serving process sees it.
#[derive(Debug)]
pub struct Broker {
    /// `None` once the broker has ended.
    channel: Option<Channel>,
    child: Child,
    /// The child again, to wait for its end. Opened at the start: later system calls are filtered.
    process: PidFd,
    health: BrokerHealth,
    /// Whether the last request has not been answered.
    reply_pending: bool,
    /// Whether [`Self::ended`] has reported its end.
    end_reported: bool,
}

impl Broker {
    /// Starts it: this program with the command [`COMMAND`] and this process's arguments behind it.
    /// Must be called before other threads start.
    ///
    /// # Errors
    /// When it cannot be started or does not answer.
    pub fn start() -> Result<Self, BrokerError> {
        let (ours, theirs) = Channel::pair().map_err(BrokerError::Start)?;
        let child = Command::new(PROGRAM)
            .arg0("ringtide")
            .arg(COMMAND)
            .args(std::env::args_os().skip(1))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(BrokerError::Start)?;
        let process = PidFd::open(child.id()).map_err(BrokerError::Start)?;
        let mut broker = Self {
            channel: Some(ours),
            child,
            process,
            health: BrokerHealth::up(),
            reply_pending: false,
            end_reported: false,
        };
        match broker.reply(Instant::now() + READY_WAIT) {
            Ok((Reply::Ready, _)) => Ok(broker),
            _ => Err(BrokerError::NotReady),
        }
    }

    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its state, shared with other threads.
    pub fn health(&self) -> BrokerHealth {
        self.health.clone()
    }

    /// Requests sockets, and waits for them for at most [`ANSWER_WAIT`].
    fn ask(&mut self, request: &Request) -> Result<Vec<OwnedFd>, Failure> {
        let bytes =
            serde_json::to_vec(request).map_err(|error| Failure::Gone(error.to_string()))?;
        self.catch_up()?;
        let deadline = Instant::now() + ANSWER_WAIT;
        let Some(channel) = &self.channel else { return Err(Failure::Gone("it ended".to_owned())) };
        let sent = channel.set_timeout(ANSWER_WAIT).and_then(|()| channel.send(&bytes, &[]));
        sent.map_err(|error| self.failure(&error))?;
        self.reply_pending = true;
        self.answer(deadline)
    }

    /// Reads the rest of a late answer to an earlier request, which nothing waits for any more.
    /// Until it is complete, the answer to another request could not be told from it.
    fn catch_up(&mut self) -> Result<(), Failure> {
        if !self.reply_pending {
            return Ok(());
        }
        match &self.channel {
            Some(channel) if !channel.has_message() => return Err(Failure::Silent),
            _ => {}
        }
        match self.answer(Instant::now()) {
            Err(failure @ (Failure::Silent | Failure::Gone(_))) => Err(failure),
            // Its sockets are closed here.
            _ => Ok(()),
        }
    }

    /// Waits for the whole answer to a request.
    fn answer(&mut self, deadline: Instant) -> Result<Vec<OwnedFd>, Failure> {
        let mut sockets = Vec::new();
        let mut lost = false;
        loop {
            let (reply, part) = self.reply(deadline)?;
            let Reply::Opened { left } = reply else {
                self.answered();
                return Err(Failure::Refused(reply));
            };
            // More messages of this answer follow.
            lost |= part.is_none();
            let some = part.as_ref().is_none_or(|part| !part.is_empty());
            sockets.extend(part.into_iter().flatten());
            if left == 0 || !some {
                self.answered();
                return if lost { Err(Failure::NoRoom) } else { Ok(sockets) };
            }
        }
    }

    fn answered(&mut self) {
        self.reply_pending = false;
        if self.health.set(BrokerState::Up) == BrokerState::Silent {
            info!("the socket broker answers again");
        }
    }

    /// Waits for one message. After one that cannot be read, requests and answers no longer match:
    /// the connection is closed. There are no descriptors when this process may not open more.
    fn reply(&mut self, deadline: Instant) -> Result<(Reply, Option<Vec<OwnedFd>>), Failure> {
        let wait = deadline.saturating_duration_since(Instant::now()).max(WAIT_MIN);
        let received = match &self.channel {
            Some(channel) => channel.set_timeout(wait).and_then(|()| channel.receive()),
            None => Ok(None),
        };
        let failure = match received {
            Ok(Some(message)) => match serde_json::from_slice(&message.bytes) {
                Ok(reply) => return Ok((reply, (!message.lost).then_some(message.descriptors))),
                Err(error) => error.to_string(),
            },
            Ok(None) => "it ended".to_owned(),
            Err(error) => return Err(self.failure(&error)),
        };
        self.give_up();
        Err(Failure::Gone(failure))
    }

    /// What an error of the connection means: the answer is late, or will never come.
    fn failure(&mut self, error: &io::Error) -> Failure {
        if error.kind() != io::ErrorKind::WouldBlock {
            self.give_up();
            return Failure::Gone(error.to_string());
        }
        if self.health.set(BrokerState::Silent) != BrokerState::Silent {
            warn!("the socket broker does not answer; what is open goes on");
        }
        Failure::Silent
    }

    fn give_up(&mut self) {
        self.channel = None;
        self.reply_pending = false;
        self.health.set(BrokerState::Ended);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It ends when the channel does.
        self.channel = None;
        if self.process.wait(END_WAIT) {
            // So that it does not stay as a zombie while this process goes on.
            let _ = self.child.try_wait();
        }
    }
}

impl SocketFactory for Broker {
    fn open_group(
        &mut self,
        interface: &Interface,
        count: usize,
        receive_buffer_bytes: usize,
        filter: &FrameFilter,
    ) -> Result<PacketGroup, PacketError> {
        let name = interface.name.clone();
        if !interface.ethernet {
            return Err(PacketError::NotEthernet { interface: name });
        }
        let refused = |reason| PacketError::Broker { interface: name.clone(), reason };
        let (index, interface_name) = (interface.index, name.clone());
        let request =
            PacketRequest { interface: interface_name, index, count, receive_buffer_bytes };
        match self.ask(&Request::Packets(request)) {
            Ok(sockets) if sockets.len() == count => {
                adopt_group(interface, sockets, receive_buffer_bytes, filter)
            }
            Ok(_) => Err(refused("the socket broker sent another number of sockets".to_owned())),
            Err(Failure::Refused(Reply::Missing)) => Err(PacketError::Missing { interface: name }),
            Err(Failure::Refused(Reply::Packets { step, errno })) => {
                Err(PacketError::at(&interface.name, step, io::Error::from_raw_os_error(errno)))
            }
            Err(failure) => Err(refused(failure.reason())),
        }
    }

    fn open_output(
        &mut self,
        interface: &Interface,
        options: &EgressOptions,
    ) -> Result<EgressSocket, EgressError> {
        let name = interface.name.clone();
        let (index, to) = (interface.index, options.to);
        let request = OutputRequest { interface: name.clone(), index, options: *options };
        let failure = match self.ask(&Request::Output(request)) {
            Ok(mut sockets) => match sockets.pop() {
                Some(socket) => return EgressSocket::adopt(socket, interface, options),
                None => Failure::Gone("it sent no socket".to_owned()),
            },
            Err(failure) => failure,
        };
        Err(match failure {
            Failure::Refused(Reply::Missing) => EgressError::Missing { interface: name },
            Failure::Refused(Reply::Output { step, errno }) => {
                EgressError::at(interface, options, step, io::Error::from_raw_os_error(errno))
            }
            failure => EgressError::Broker { to, interface: name, reason: failure.reason() },
        })
    }

    fn end(&self) -> Option<BorrowedFd<'_>> {
        (!self.end_reported).then_some(self.process.as_fd())
    }

    // How it ended, reported once. Must be called every second: it also reads answers that come
    // late.
    fn ended(&mut self) -> Option<String> {
        if self.end_reported {
            return None;
        }
        let Some(status) = self.child.try_wait().ok().flatten() else {
            // A late answer shows in its state.
            let _ = self.catch_up();
            return None;
        };
        self.give_up();
        self.end_reported = true;
        Some(status.to_string())
    }
}

/// Why the broker sent no socket.
enum Failure {
    /// The broker refused.
    Refused(Reply),
    /// This process may not open more descriptors.
    NoRoom,
    /// It did not answer in time.
    Silent,
    /// It has ended.
    Gone(String),
}

impl Failure {
    fn reason(self) -> String {
        match self {
            Self::Refused(Reply::Denied { reason }) => reason,
            Self::Refused(_) => "the socket broker answers something else".to_owned(),
            Self::NoRoom => {
                "too many open files; raise the limit (`ulimit -n`, LimitNOFILE=)".to_owned()
            }
            Self::Silent => format!(
                "the socket broker does not answer within {} s; `ps -o pid,stat,wchan -C \
                 ringtide-broker` shows what holds it up",
                ANSWER_WAIT.as_secs()
            ),
            Self::Gone(how) => format!(
                "the socket broker is gone ({how}); what is open goes on, a restart of ringtide \
                 starts it again"
            ),
        }
    }
}

/// This program, even if its file was replaced meanwhile.
const PROGRAM: &str = "/proc/self/exe";

/// The broker has to start and read its file.
const READY_WAIT: Duration = Duration::from_secs(10);
/// The broker makes a handful of system calls for each socket. `main` waits for them, and the
/// service manager waits for `main`: `WatchdogSec=15s` in the unit.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// A timeout of zero would mean no timeout (socket(7), `SO_RCVTIMEO`).
const WAIT_MIN: Duration = Duration::from_millis(1);
const END_WAIT: Duration = Duration::from_secs(1);
