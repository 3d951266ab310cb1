//! What can be read: version, health, figures.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Api;
use super::stats::Stats;
use crate::server::api::view::HEARTBEAT_AGE_S_MAX;

/// Versions of the program and of this interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The version of ringtide.
    pub ringtide: String,
    /// The version of the interface.
    pub api: u32,
}

/// Whether the process is healthy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Health {
    /// Whether it is.
    pub healthy: bool,
    /// What is wrong if not.
    pub problems: Vec<String>,
}

pub(super) async fn version() -> Json<Version> {
    Json(Version { ringtide: env!("CARGO_PKG_VERSION").to_owned(), api: API_VERSION })
}

pub(super) async fn health(State(api): State<Api>) -> (StatusCode, Json<Health>) {
    let ages = api.view.heartbeat_ages_s().enumerate();
    let mut problems: Vec<String> = ages
        .filter(|(_, age_s)| *age_s > HEARTBEAT_AGE_S_MAX)
        .map(|(worker, age_s)| format!("worker {worker} has been silent for {age_s} s"))
        .collect();
    if api.view.is_draining() {
        problems.push("ringtide is about to stop".to_owned());
    }
    let healthy = problems.is_empty();
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Health { healthy, problems }))
}

pub(super) async fn stats(State(api): State<Api>) -> Json<Stats> {
    Json(Stats::collect(&api.view))
}

/// Incremented when older clients would no longer understand the interface.
const API_VERSION: u32 = 1;
