//! Why the process could not start.

use std::io;

use super::api::ServerError;
use super::broker::BrokerError;
use super::persist::StateError;
use super::sandbox::PrivilegeError;
use crate::relay::control::RelayError;
use crate::sys::socket::BindError;
use crate::tracker::core::access_list::AccessListError;
use crate::tracker::udp::connection_key::{KeyFileError, RandomKeyError};
use crate::workers::StartError;

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// A listen address cannot be bound.
    #[error("cannot listen")]
    Bind(#[from] BindError),
    /// A worker cannot start.
    #[error("cannot start the workers")]
    Start(#[from] StartError),
    /// The access list cannot be used.
    #[error("cannot use the access list")]
    Access(#[from] AccessListError),
    /// The connection-ID key cannot be used.
    #[error("cannot use the connection-ID key")]
    KeyFile(#[from] KeyFileError),
    /// The state directory, or what is in it, cannot be used.
    #[error("cannot keep state")]
    State(#[from] StateError),
    /// Nobody can take over from this process.
    #[error("cannot listen for a process that takes over")]
    Handover(#[source] io::Error),
    /// The thread that saves cannot be started.
    #[error("cannot start the thread that saves and exports")]
    Persister(#[source] io::Error),
    /// No random key.
    #[error("cannot draw a connection-ID key")]
    RandomKey(#[from] RandomKeyError),
    /// No random secrets.
    #[error("cannot draw secrets")]
    Secrets(#[source] getrandom::Error),
    /// No eventfd for a worker.
    #[error("cannot prepare a worker's wake-up")]
    Control(#[source] io::Error),
    /// The socket broker cannot start.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Privileges cannot be given up.
    #[error("cannot give up privileges")]
    Privileges(#[from] PrivilegeError),
    /// The control socket or the address for metrics cannot be opened.
    #[error("cannot be controlled")]
    Server(#[from] ServerError),
    /// The relay cannot start.
    #[error("cannot start the relay")]
    Relay(#[from] RelayError),
}
