//! The access list: its size, changes to it, and reloading its file.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::Api;
use super::answer::{Answer, Body, Refusal};
use crate::server::api::commands::ApiError;
use crate::tracker::core::InfoHash;

/// The current access list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Access {
    /// "off", "allow" or "deny".
    pub mode: String,
    /// How many torrents are on it.
    pub hashes: u64,
}

/// Torrents to add and to remove, by info hash. One that is in both is added.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessChanges {
    /// Info hashes to put on the list.
    #[serde(default)]
    pub add: Vec<String>,
    /// Info hashes to remove from it.
    #[serde(default)]
    pub remove: Vec<String>,
}

pub(super) async fn show(State(api): State<Api>) -> Answer<Json<Access>> {
    let Some(tracker) = &api.view.tracker else {
        let advice = "add a [tracker] section to its configuration file and restart it";
        return Err(ApiError::conflict("this process runs no tracker", advice).into());
    };
    let policy = tracker.policy.current();
    let (mode, hashes) = (policy.access.mode().name().to_owned(), policy.access.len() as u64);
    Ok(Json(Access { mode, hashes }))
}

pub(super) async fn change(
    State(api): State<Api>,
    Body(changes): Body<AccessChanges>,
) -> Answer<Json<Access>> {
    let (add, remove) = (parse(&changes.add)?, parse(&changes.remove)?);
    api.commands.ask(move |process| process.change_access(&add, &remove)).await??;
    show(State(api)).await
}

pub(super) async fn reload(State(api): State<Api>) -> Answer<Json<Access>> {
    api.commands.ask(|process| process.reload_access()).await??;
    show(State(api)).await
}

fn parse(hashes: &[String]) -> Answer<Vec<InfoHash>> {
    let parse = |text: &String| {
        text.parse().map_err(|error| {
            let advice = "nothing was changed; correct it and send everything again";
            Refusal::from(ApiError::invalid(format!("{text:?}: {error}"), advice))
        })
    };
    hashes.iter().map(parse).collect()
}
