//! What may change while the tracker runs, swapped as a whole.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};

use super::access_list::AccessList;
use super::settings::TrackerSettings;
use super::source_limits::SourceLimits;

/// The rules that a request is answered by.
#[derive(Debug, Default)]
pub struct Policy {
    /// Limits and intervals.
    pub settings: TrackerSettings,
    /// Which torrents are served.
    pub access: AccessList,
}

/// A policy, and what sources have used of its limits.
#[derive(Debug)]
pub struct InForce {
    policy: Policy,
    /// The accounts of sources. They outlive a policy whose limits stay the same.
    pub limits: SourceLimits,
}

impl Deref for InForce {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}

/// The policy in force, shared by all workers. Reading never waits; a swap never pauses anybody.
///
/// It stands here for workers that start; those that run are sent a
/// [`TrackerMessage`](super::TrackerMessage) when it was replaced.
#[derive(Clone, Debug)]
pub struct SharedPolicy {
    policy: Arc<ArcSwap<InForce>>,
    draining: Arc<AtomicBool>,
}

impl SharedPolicy {
    /// Starts with `policy`. `limits_key` is a secret that places sources in the tables of limits.
    pub fn new(policy: Policy, limits_key: [u64; 2]) -> Self {
        let limits = SourceLimits::new(policy.settings.source_limits.clone(), limits_key);
        let policy = Arc::new(ArcSwap::from_pointee(InForce { policy, limits }));
        Self { policy, draining: Arc::default() }
    }

    /// Puts `policy` in force: each worker takes it up when it is told, or else with its next tick.
    /// Returns the one before: whoever drops it last frees an access list that may be large, which
    /// should not be a worker.
    pub fn replace(&self, policy: Policy) -> Arc<InForce> {
        let limits = self.policy.load().limits.adapted(&policy.settings.source_limits);
        self.policy.swap(Arc::new(InForce { policy, limits }))
    }

    /// The policy in force.
    pub fn current(&self) -> Arc<InForce> {
        self.policy.load_full()
    }

    /// From now on connects are not answered: clients that are new look for another tracker, and
    /// those that have a connection ID are served until the end.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn view(&self) -> PolicyView {
        PolicyView { shared: Arc::clone(&self.policy), used: self.policy.load_full() }
    }

    pub(super) fn draining(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.draining)
    }
}

/// The policy that one worker uses: the one in force when it last looked.
pub(super) struct PolicyView {
    shared: Arc<ArcSwap<InForce>>,
    used: Arc<InForce>,
}

impl PolicyView {
    /// Takes up the policy in force, and lets go of the one before.
    pub(super) fn refresh(&mut self) {
        let current = self.shared.load();
        if !Arc::ptr_eq(&current, &self.used) {
            self.used = Guard::into_inner(current);
        }
    }
}

impl Deref for PolicyView {
    type Target = InForce;

    #[inline]
    fn deref(&self) -> &InForce {
        &self.used
    }
}
