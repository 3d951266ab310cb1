//! Accepts connections and limits them: their number, their duration, and the size of requests.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tracing::{info, warn};

use super::connection_limiter::{ConnectionLimiter, Permit};
use super::{Api, router};

/// Serves both listeners until it is stopped, then finishes the responses in progress.
pub(super) async fn serve(
    api: Api,
    control: Option<StdUnixListener>,
    http: Option<StdTcpListener>,
    stopped: watch::Receiver<bool>,
) {
    let limiters = [Arc::new(ConnectionLimiter::default()), Arc::new(ConnectionLimiter::default())];
    if let Some(listener) = opened(control.map(UnixListener::from_std)) {
        let accept = async move || listener.accept().await.map(|(stream, _)| stream);
        let router = router::control(api.clone());
        let limiter = Arc::clone(&limiters[0]);
        tokio::spawn(accept_all("control socket", accept, router, limiter, stopped.clone()));
    }
    if let Some(listener) = opened(http.map(TcpListener::from_std)) {
        let accept = async move || listener.accept().await.map(|(stream, _)| stream);
        let router = router::public(api);
        let limiter = Arc::clone(&limiters[1]);
        tokio::spawn(accept_all("address for metrics", accept, router, limiter, stopped.clone()));
    }
    let mut stopped = stopped;
    // An error means that the server itself is gone.
    let _ = stopped.wait_for(|stop| *stop).await;
    let empty = async {
        for limiter in limiters {
            limiter.wait_until_idle().await;
        }
    };
    let _ = tokio::time::timeout(STOP_WAIT, empty).await;
}

fn opened<L>(listener: Option<io::Result<L>>) -> Option<L> {
    listener?.map_err(|error| warn!("cannot use a listening socket of the API: {error}")).ok()
}

async fn accept_all<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    what: &str,
    mut accept: impl AsyncFnMut() -> io::Result<S>,
    router: Router,
    limiter: Arc<ConnectionLimiter>,
    stopped: watch::Receiver<bool>,
) {
    let mut stop = stopped.clone();
    let mut refused = None;
    let admit = async {
        loop {
            match accept().await {
                Ok(stream) => {
                    if refused.take().is_some() {
                        info!("the {what} accepts connections again");
                    }
                    let (router, stopped) = (router.clone(), stopped.clone());
                    limiter.admit(|permit| attend(stream, router, permit, stopped)).await;
                }
                // The client has already gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Logged once until the error changes or ends.
                    if refused.replace(error.raw_os_error()) != Some(error.raw_os_error()) {
                        warn!(
                            "the {what} cannot accept connections: {error}; if too many files are \
                             open, raise the limit (`ulimit -n`, LimitNOFILE=)"
                        );
                    }
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    };
    tokio::select! {
        () = admit => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn attend<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    router: Router,
    permit: Permit,
    mut stopped: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| permit.request(router.call(request)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(tokio::time::timeout(CONNECTION_TIME_MAX, async move {
        let mut connection = pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stopped.wait_for(|stop| *stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }));
    // An error on a connection concerns only its client.
    let _ = connection.as_mut().await;
}

/// How long a client may take to send a request's header, and be idle between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum size of a request's header.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// The maximum duration of a connection, so that none is kept forever by reading slowly.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(300);

/// How long responses in progress may take when the process stops.
const STOP_WAIT: Duration = Duration::from_millis(500);

const ACCEPT_REST: Duration = Duration::from_millis(100);
