//! The format of errors, and how bodies are read.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::server::api::commands::{ApiError, ApiErrorKind};

/// An error response: a status, and JSON with `error` and `advice`.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: String,
    pub(super) advice: String,
}

pub(super) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl ToString, advice: &str) -> Self {
        Self { status, error: error.to_string(), advice: advice.to_owned() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "advice": self.advice });
        (self.status, Json(body)).into_response()
    }
}

impl From<ApiError> for Refusal {
    fn from(problem: ApiError) -> Self {
        let status = match problem.kind {
            ApiErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            ApiErrorKind::Conflict => StatusCode::CONFLICT,
            ApiErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            ApiErrorKind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { status, error: problem.error, advice: problem.advice }
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rejection.body_text(), DESCRIPTION)
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rejection.body_text(), DESCRIPTION)
    }
}

/// A body of JSON, whatever its content type says. An empty one reads as `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state).await.map_err(unread)?;
        let bytes = if bytes.is_empty() { b"{}" } else { &bytes[..] };
        serde_json::from_slice(bytes).map(Self).map_err(|error| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("cannot parse the body: {error}"),
                DESCRIPTION,
            )
        })
    }
}

fn unread(rejection: BytesRejection) -> Refusal {
    Refusal::new(rejection.status(), rejection.body_text(), SEND_LESS)
}

/// Advice for a body that is too long.
pub(super) const SEND_LESS: &str = "send less at a time";

/// Advice for a malformed request.
const DESCRIPTION: &str = "contrib/openapi.json describes every request";
