//! The figures for Prometheus, in the OpenMetrics text format.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Api;

pub(super) async fn metrics(State(_): State<Api>) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain")], "# EOF\n").into_response()
}
