//! Every order in which threads can meet at what they share, tried by loom: the code that runs in
//! production, on locks and atomics that loom switches between (`crate::sync`).
//!
//! What a thread may be preempted at is bounded, by [`PREEMPTIONS_MAX`], which finds nearly all
//! that an unbounded search would and ends within seconds.

mod mailbox;
mod relay;
pub(crate) mod stand_ins;
mod tracker;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often threads are preempted in one execution, unless `LOOM_MAX_PREEMPTIONS` says.
const PREEMPTIONS_MAX: usize = 2;

/// The most places in one execution at which another thread may go on.
const BRANCHES_MAX: usize = 100_000;

/// Tries all orders of what `body` does, and says how many there were.
fn explore(name: &str, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS_MAX));
    builder.max_branches = BRANCHES_MAX;
    let executions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&executions);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    eprintln!("interleavings: {name}: {} executions", executions.load(Ordering::Relaxed));
}
