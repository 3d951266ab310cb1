//! Torrents: those with the most peers, and one by its info hash.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};

use super::Api;
use super::answer::{Answer, Refusal};
use super::top::{SwarmCounts, Top, TopTorrent};
use crate::server::api::commands::ApiError;
use crate::tracker::core::InfoHash;
use crate::tracker::store::{ScrapeCounts, Shard, Shards, Walk};

/// One torrent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Swarm {
    /// Its info hash, 40 hex digits.
    pub info_hash: String,
    /// The worker whose shard it belongs to.
    pub worker: usize,
    /// Its IPv4 swarm, if there is one.
    pub ipv4: Option<SwarmCounts>,
    /// Its IPv6 swarm, if there is one.
    pub ipv6: Option<SwarmCounts>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    #[serde(default = "usual_limit")]
    limit: usize,
}

pub(super) async fn top(
    State(api): State<Api>,
    query: Result<Query<Limit>, QueryRejection>,
) -> Answer<Json<Top>> {
    let Query(Limit { limit }) = query?;
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::invalid("limit must be 1 to 1000", "ask for fewer").into());
    }
    Ok(Json(find_top(api.shards(), limit).await))
}

/// For everybody: recomputed at most every [`TOP_AGE_MAX`], however often it is requested.
pub(super) async fn top_cached(State(api): State<Api>) -> Json<Top> {
    let mut cached = api.top.lock().await;
    if let Some((made, top)) = &*cached
        && made.elapsed() < TOP_AGE_MAX
    {
        return Json(top.clone());
    }
    let top = find_top(api.shards(), LIMIT_USUAL).await;
    *cached = Some((Instant::now(), top.clone()));
    Json(top)
}

pub(super) async fn swarm(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
) -> Answer<Json<Swarm>> {
    let Path(text) = path?;
    let hash: InfoHash = text.parse().map_err(|error| {
        Refusal::from(ApiError::invalid(format!("{text:?}: {error}"), "correct the info hash"))
    })?;
    let info_hash = hash.to_string();
    let Some(shards) = api.shards() else {
        return Ok(Json(Swarm { info_hash, worker: 0, ipv4: None, ipv6: None }));
    };
    let worker = shards.owner(&hash);
    let shard = shards.lock(worker);
    let ipv4 = shard.ipv4.scrape(&hash);
    let ipv6 = shard.ipv6.scrape(&hash);
    drop(shard);
    let [ipv4, ipv6] = [ipv4, ipv6].map(|counts| counts.map(SwarmCounts::from));
    Ok(Json(Swarm { info_hash, worker, ipv4, ipv6 }))
}

impl Api {
    /// The swarms; `None` without a tracker.
    fn shards(&self) -> Option<&Shards> {
        self.view.tracker.as_ref().map(|tracker| &*tracker.shards)
    }
}

/// Goes over all torrents in slices: a shard's lock is held for some microseconds at a time, and
/// other requests are answered in between.
async fn find_top(shards: Option<&Shards>, limit: usize) -> Top {
    let Some(shards) = shards else { return Top { torrents: Vec::new() } };
    type Best = BinaryHeap<Reverse<(u64, InfoHash, &'static str, [u32; 3])>>;
    let mut best = Best::with_capacity(limit + 1);
    for index in 0..shards.len() {
        for family in ["ipv4", "ipv6"] {
            let mut walk = Walk::default();
            let mut take = |hash: &InfoHash, counts: ScrapeCounts| {
                let ScrapeCounts { seeders, leechers, completed } = counts;
                let peers = u64::from(seeders) + u64::from(leechers);
                if best.len() < limit || best.peek().is_some_and(|least| least.0.0 < peers) {
                    best.push(Reverse((peers, *hash, family, [seeders, leechers, completed])));
                    if best.len() > limit {
                        best.pop();
                    }
                }
            };
            while !slice(&shards.lock(index), family, &mut walk, &mut take) {
                tokio::task::yield_now().await;
            }
        }
    }
    let torrents = best.into_sorted_vec().into_iter().map(|Reverse((_, hash, family, counts))| {
        let [seeders, leechers, completed] = counts.map(u64::from);
        TopTorrent {
            info_hash: hash.to_string(),
            family: family.to_owned(),
            swarm: SwarmCounts { seeders, leechers, completed },
        }
    });
    Top { torrents: torrents.collect() }
}

/// Walks one slice. Returns whether the walk is complete.
fn slice(
    shard: &Shard,
    family: &str,
    walk: &mut Walk,
    take: &mut impl FnMut(&InfoHash, ScrapeCounts),
) -> bool {
    match family {
        "ipv4" => shard.ipv4.walk_counts(walk, SLICE_TORRENTS, take),
        _ => shard.ipv6.walk_counts(walk, SLICE_TORRENTS, take),
    }
}

impl From<ScrapeCounts> for SwarmCounts {
    fn from(counts: ScrapeCounts) -> Self {
        let ScrapeCounts { seeders, leechers, completed } = counts;
        Self { seeders: seeders.into(), leechers: leechers.into(), completed: completed.into() }
    }
}

fn usual_limit() -> usize {
    LIMIT_USUAL
}

const LIMIT_USUAL: usize = 20;
const LIMIT_MAX: usize = 1000;

/// Torrents looked at under one lock.
const SLICE_TORRENTS: usize = 256;

/// The maximum age of the list for everybody.
const TOP_AGE_MAX: Duration = Duration::from_secs(10);
