//! Routes from paths to handlers.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, http};

use super::answer::{Refusal, SEND_LESS};
use super::{Api, access, change, dashboard, metrics, read, torrents};

/// All routes, for the control socket.
pub(super) fn control(api: Api) -> Router {
    let version_1 = Router::new()
        .route("/version", get(read::version))
        .route("/health", get(read::health))
        .route("/stats", get(read::stats))
        .route("/rules", get(change::rules).put(change::replace_rules).patch(change::change_rules))
        .route("/access", get(access::show).patch(access::change))
        .route("/access/reload", post(access::reload))
        .route("/config", get(change::configuration))
        .route("/config/check", post(change::check_configuration))
        .route("/config/reload", post(change::reload))
        .route("/config/save", post(change::save))
        .route("/log-level", get(change::log_level).put(change::set_log_level))
        .route("/torrents", get(torrents::top))
        .route("/torrents/{info_hash}", get(torrents::swarm))
        .route("/drain", post(change::drain))
        .with_state(api.clone());
    bounded(routes(api).nest("/api/v1", version_1))
}

/// The read-only routes that everybody may use.
pub(super) fn public(api: Api) -> Router {
    bounded(routes(api))
}

fn routes(api: Api) -> Router {
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/stats.json", get(read::stats))
        .route("/top.json", get(torrents::top_cached))
        .route("/healthz", get(read::health))
        .route("/", get(dashboard::page))
        .with_state(api)
}

fn bounded(router: Router) -> Router {
    router
        .fallback(|uri: http::Uri| async move {
            let error = format!("there is no {}", uri.path());
            Refusal::new(StatusCode::NOT_FOUND, error, "contrib/openapi.json lists all paths")
        })
        .method_not_allowed_fallback(|method: http::Method| async move {
            let error = format!("this path does not take {method}");
            let advice = "contrib/openapi.json lists the methods of each path";
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error, advice)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(not_too_long))
        .layer(from_fn(in_time))
}

/// Refuses a body whose Content-Length is too large before any of it is sent. A body without one is
/// cut off while it is read.
async fn not_too_long(request: Request, next: Next) -> Response {
    let length = request.headers().get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        let error = format!("the body is longer than {BODY_BYTES_MAX} bytes");
        return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error, SEND_LESS).into_response();
    }
    next.run(request).await
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(
            StatusCode::GATEWAY_TIMEOUT,
            "this takes too long",
            "a change may still be made; look again later",
        )
        .into_response(),
    }
}

/// The longest body: some 20,000 info hashes, or all the rules that there may be.
const BODY_BYTES_MAX: usize = 1 << 20;

/// How long a request may take, including reading its body.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
