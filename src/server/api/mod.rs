//! HTTP on the `api` thread: the control socket for all requests, and the address for metrics,
//! which is read-only and open to everybody.

mod access;
mod answer;
mod change;
pub mod client;
pub mod commands;
mod connection_limiter;
mod context;
mod dashboard;
mod metrics;
mod read;
mod router;
mod serve;
mod socket;
pub mod stats;
mod top;
mod torrents;
pub mod view;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread::JoinHandle;

use axum::extract::Request;
use axum::response::Response;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;
use tracing::{info, warn};

pub use self::access::{Access, AccessChanges};
pub use self::change::{Check, Checked, Configuration, Drain, LogLevel, Rules, Saved};
pub use self::context::Api;
pub use self::read::{Health, Version};
use self::socket::ControlListener;
pub use self::socket::SocketError;
pub use self::top::{SwarmCounts, Top, TopTorrent};
pub use self::torrents::Swarm;
use super::config::{ControlSocket, Settings};
use crate::error::{Remedy, one_line};

/// Answers requests as the control socket does, without a socket.
pub fn answering(api: Api) -> impl AsyncFn(Request) -> Response {
    let service = TowerToHyperService::new(router::control(api));
    async move |request| {
        let Ok(response) = service.call(request).await;
        response
    }
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The control socket cannot be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The address for metrics cannot be bound.
    #[error("cannot serve metrics on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The thread or its runtime cannot be started.
    #[error("cannot start the api thread")]
    Thread(#[source] io::Error),
}

impl Remedy for ServerError {
    fn remedy(&self) -> Option<String> {
        match self {
            Self::Socket(error) => error.remedy(),
            Self::Listen { .. } => {
                Some("set http.listen to another address, or remove it".to_owned())
            }
            Self::Thread(_) => None,
        }
    }
}

/// The sockets of the API, open but not served yet.
pub struct Listeners {
    control: Option<ControlListener>,
    http: Option<TcpListener>,
}

impl Listeners {
    /// Opens the sockets that the settings ask for, or returns `None` if they ask for none. If a
    /// directory has to be created for the control socket, it is given to `owner`, the user and
    /// group that the process will run as, so that it can remove the socket at the end.
    ///
    /// If this process may take over from a running one, both can hold the sockets at once, so that
    /// errors show before the other one stops; call [`Self::publish`] afterwards.
    ///
    /// # Errors
    /// When a socket that the settings name cannot be opened.
    pub fn open(
        settings: &Settings,
        owner: Option<(u32, u32)>,
    ) -> Result<Option<Self>, ServerError> {
        let control = open_control(settings, owner)?;
        let http = settings.http.map(|at| open_http(at, settings.state.takeover)).transpose()?;
        Ok((control.is_some() || http.is_some()).then_some(Self { control, http }))
    }

    /// Renames the control socket to the path that clients use, now that no other process should
    /// use it. Another process still using it is only a warning: this process must go on serving
    /// what it took over.
    pub fn publish(&mut self) {
        let Some(control) = &mut self.control else { return };
        match control.publish() {
            Ok(()) => info!(socket = %control.path().display(), "control socket open"),
            Err(error) => warn_of_no_control(&error),
        }
    }
}

/// The `api` thread; stops when dropped.
pub struct Server {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be started.
    pub fn start(listeners: Listeners, api: Api) -> Result<Self, ServerError> {
        let Listeners { control, http } = listeners;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .map_err(ServerError::Thread)?;
        let (stop, stopped) = watch::channel(false);
        let unix = control.as_ref().map(ControlListener::listener).transpose();
        let unix = unix.map_err(ServerError::Thread)?;
        let serve = move || {
            runtime.block_on(serve::serve(api, unix, http, stopped));
            // Removes the socket's file after the last response.
            drop(control);
        };
        let thread = std::thread::Builder::new().name("api".into()).spawn(serve);
        let thread = Some(thread.map_err(ServerError::Thread)?);
        Ok(Self { stop, thread })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The thread is gone already only if it panicked, which was logged.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open_control(
    settings: &Settings,
    owner: Option<(u32, u32)>,
) -> Result<Option<ControlListener>, ServerError> {
    let group = settings.control.group.as_deref();
    let (path, named): (PathBuf, bool) = match &settings.control.socket {
        ControlSocket::Off => return Ok(None),
        ControlSocket::At(path) => (path.clone(), true),
        ControlSocket::Usual => match ControlSocket::usual() {
            Some(path) => (path, false),
            None => return Ok(None),
        },
    };
    match ControlListener::open(&path, group, owner, settings.state.takeover) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if named => Err(error.into()),
        Err(error) => {
            warn_of_no_control(&error);
            Ok(None)
        }
    }
}

fn warn_of_no_control(error: &SocketError) {
    warn!("no control socket, so `ringtide ctl` will not work: {}", one_line(error));
}

/// With `shared`, another process of this user may bind the address too, if it also shares it.
fn open_http(address: SocketAddr, shared: bool) -> Result<TcpListener, ServerError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        socket.bind(&address.into())?;
        socket.listen(HTTP_BACKLOG)?;
        Ok(TcpListener::from(socket))
    };
    let listener = open().map_err(|source| ServerError::Listen { address, source })?;
    let address = listener.local_addr().unwrap_or(address);
    info!(listen = %address, "metrics and dashboard");
    Ok(listener)
}

/// Connections that may wait to be accepted, at most.
const HTTP_BACKLOG: i32 = 128;
