//! One request at a time over the control socket.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

use super::CtlError;

/// A client of one control socket.
pub(super) struct Client {
    path: PathBuf,
    runtime: Runtime,
}

/// A response.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Client {
    pub(super) fn open(path: PathBuf) -> Result<Self, CtlError> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        match runtime {
            Ok(runtime) => Ok(Self { path, runtime }),
            Err(source) => Err(CtlError::Unreachable { path, source }),
        }
    }

    /// Sends a request and returns the body of a successful response.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Value, CtlError> {
        let Reply { status, body } = self.send(method, path, body)?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Err(match body.get("error") {
            Some(_) => CtlError::Refused { error: text("error"), advice: text("advice") },
            None => self.garbled(format!("status {status}")),
        })
    }

    /// Sends a GET request.
    pub(super) fn get(&self, path: &str) -> Result<Value, CtlError> {
        self.ask(Method::GET, path, None::<&()>)
    }

    /// Sends a request and returns the response, whatever its status.
    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Reply, CtlError> {
        let exchange = async {
            tokio::time::timeout(ANSWER_TIME_MAX, self.exchange(method, path, body))
                .await
                .map_err(|_| self.garbled("it did not arrive in time".to_owned()))?
        };
        self.runtime.block_on(exchange)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Reply, CtlError> {
        let stream =
            UnixStream::connect(&self.path).await.map_err(|error| self.unreachable(error))?;
        let garbled = |error: hyper::Error| self.garbled(error.to_string());
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(garbled)?;
        let connection = tokio::spawn(connection);
        let bytes = body.map(serde_json::to_vec).transpose();
        let bytes = bytes.map_err(|error| self.garbled(error.to_string()))?.unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(bytes)));
        let request = request.map_err(|error| self.garbled(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(garbled)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.garbled(error.to_string()))?.to_bytes();
        connection.abort();
        let body =
            serde_json::from_slice(&body).map_err(|error| self.garbled(error.to_string()))?;
        Ok(Reply { status, body })
    }

    fn unreachable(&self, source: io::Error) -> CtlError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::PermissionDenied => CtlError::Forbidden { path },
            _ => CtlError::Unreachable { path, source },
        }
    }

    pub(super) fn garbled(&self, reason: String) -> CtlError {
        CtlError::Garbled { path: self.path.clone(), reason }
    }
}

/// A little longer than the server's own limit.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(35);

/// Far more than the figures of a thousand rules with all their outputs.
const ANSWER_BYTES_MAX: usize = 64 << 20;
