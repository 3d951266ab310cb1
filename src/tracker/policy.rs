//! What may change while the tracker runs, swapped as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Cache};

use super::access_list::AccessList;
use super::settings::TrackerSettings;

/// The rules that a request is answered by.
#[derive(Debug, Default)]
pub struct Policy {
    /// Limits and intervals.
    pub settings: TrackerSettings,
    /// Which torrents are served.
    pub access: AccessList,
}

/// The policy in force, shared by all workers. Reading never waits; a swap never pauses anybody.
#[derive(Clone, Debug)]
pub struct SharedPolicy {
    policy: Arc<ArcSwap<Policy>>,
    draining: Arc<AtomicBool>,
}

impl SharedPolicy {
    /// Starts with `policy`.
    pub fn new(policy: Policy) -> Self {
        Self { policy: Arc::new(ArcSwap::from_pointee(policy)), draining: Arc::default() }
    }

    /// Puts `policy` in force: each worker takes it up with its next packet. Returns the one
    /// before: whoever drops it last frees an access list that may be large, which should not be
    /// a worker.
    pub fn replace(&self, policy: Policy) -> Arc<Policy> {
        self.policy.swap(Arc::new(policy))
    }

    /// The policy in force.
    pub fn current(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// From now on connects are not answered: clients that are new look for another tracker, and
    /// those that have a connection ID are served until the end.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn view(&self) -> PolicyView {
        Cache::new(Arc::clone(&self.policy))
    }

    pub(super) fn draining(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.draining)
    }
}

/// One worker's view: a comparison of two pointers as long as nothing changes.
pub(super) type PolicyView = Cache<Arc<ArcSwap<Policy>>, Arc<Policy>>;
