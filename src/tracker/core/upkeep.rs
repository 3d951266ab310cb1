//! What a worker does for its shard between requests.

use std::sync::Arc;

use super::policy::{PolicyView, SharedPolicy};
use crate::io::Now;
use crate::tracker::store::{BACKLOG_INTERVAL, Shards};

/// One worker's part in keeping the swarms and the accounts of sources small: there is one for each
/// worker, however many protocols it serves.
pub struct Upkeep {
    worker: usize,
    shards: Arc<Shards>,
    policy: PolicyView,
    /// When to remove more peers, if there are many to remove.
    more_expiry: Option<Now>,
}

impl Upkeep {
    /// Upkeep of the shard whose index is `worker`; worker 0 also sweeps the accounts of sources.
    pub fn new(worker: usize, shards: Arc<Shards>, policy: &SharedPolicy) -> Self {
        Self { worker, shards, policy: policy.view(), more_expiry: None }
    }

    /// Takes up the policy in force.
    pub fn refresh_policy(&mut self) {
        self.policy.refresh();
    }

    /// To be called once a tick. Returns how many peers were removed because they expired.
    pub fn tick(&mut self, now: Now) -> usize {
        if self.worker == 0 {
            self.policy.limits.sweep(now);
        }
        self.expire(now)
    }

    /// To be called after each batch of requests, and at [`Upkeep::next_deadline`]. Returns how
    /// many peers were removed, which is 0 unless there is a backlog.
    #[inline]
    pub fn catch_up(&mut self, now: Now) -> usize {
        if self.more_expiry.is_some_and(|due| due <= now) { self.expire(now) } else { 0 }
    }

    /// When [`Upkeep::catch_up`] has something to do.
    #[inline]
    pub fn next_deadline(&self) -> Option<Now> {
        self.more_expiry
    }

    /// Removes a slice of what expired, and makes sure that the next one comes soon if there is
    /// much more.
    fn expire(&mut self, now: Now) -> usize {
        let timeout_s = self.policy.settings.peer_timeout_s;
        let expired = self.shards.lock(self.worker).expire_due(now, timeout_s);
        self.more_expiry = expired.backlog.then(|| now.after(BACKLOG_INTERVAL));
        expired.peers
    }
}
