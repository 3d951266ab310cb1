//! Whole loops on both engines while the kernel refuses receives, sends, waits, wake-ups and
//! cancellations.

mod echo;
mod log;
mod relay;
mod restart;
mod table;

use std::time::{Duration, Instant};

use crate::io::Dispatch;
use crate::io::fault_injection::{FaultPlan, Faults, Operation};
use crate::io::{Engine, WorkerControl, WorkerPlan};
use crate::{epoll, uring};

/// What the kernel says when it does not send or receive.
const ERRNOS: [(&str, i32); 12] = [
    ("ENOBUFS", libc::ENOBUFS),
    ("EAGAIN", libc::EAGAIN),
    ("EPERM", libc::EPERM),
    ("ENETUNREACH", libc::ENETUNREACH),
    ("EHOSTUNREACH", libc::EHOSTUNREACH),
    ("EMSGSIZE", libc::EMSGSIZE),
    ("ENOMEM", libc::ENOMEM),
    ("ECONNREFUSED", libc::ECONNREFUSED),
    ("EINVAL", libc::EINVAL),
    ("EIO", libc::EIO),
    ("ECANCELED", libc::ECANCELED),
    ("ENETDOWN", libc::ENETDOWN),
];

fn errnos() -> Vec<i32> {
    ERRNOS.iter().map(|(_, errno)| *errno).collect()
}

/// Everything is refused now and then, `per_mille` of a thousand times, until it was refused
/// `times` times.
fn everything(seed: u64, per_mille: u32, times: usize) -> FaultPlan {
    let quiet = vec![libc::EINTR, libc::EBUSY, libc::EAGAIN];
    // What is called a full pool is asked for again at once; the kernel means it, a test does not.
    let mut receives = errnos();
    receives.retain(|errno| *errno != libc::ENOBUFS);
    let faults = vec![
        (Operation::Send, errnos(), times),
        // These rest until the next tick.
        (Operation::Receive, receives, times / 40),
        (Operation::Wake, errnos(), times / 40),
        (Operation::Cancel, errnos(), times),
        (Operation::Wait, quiet, times),
    ];
    FaultPlan { seed, per_mille, faults }
}

/// The seeds of a random test: what `RINGTIDE_SEED` names, or fixed ones and a fresh one.
fn seeds() -> Vec<u64> {
    match std::env::var("RINGTIDE_SEED") {
        Ok(seed) => vec![seed.parse().expect("RINGTIDE_SEED is a number")],
        Err(_) => (1..=2).chain([u64::from(fastrand::u32(..))]).collect(),
    }
}

/// Runs a loop until its control stops it, under a plan, on a thread of its own, where `make` makes
/// its handler. Whatever the loop took must have come back. Returns what was refused, and what
/// `meanwhile` did.
fn run_under<H: Dispatch, T>(
    engine: Engine,
    faults: &FaultPlan,
    plan: WorkerPlan,
    make: impl FnOnce() -> H + Send,
    meanwhile: impl FnOnce() -> T,
) -> (Vec<(Operation, i32)>, T) {
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let faults: Faults = faults.install();
            let mut handler = make();
            let taken = match engine {
                Engine::IoUring => uring::tests::run_to_end(plan, &mut handler),
                Engine::Epoll => epoll::tests::run_to_end(plan, &mut handler),
            };
            assert_eq!(taken, [0; 4], "buffers, slots or operations are lost");
            faults.refused()
        });
        let seen = meanwhile();
        let refused = worker.join().expect("the worker goes on");
        (refused, seen)
    })
}

/// Waits for a condition. Waking the worker has it take note of what has ended at once, not with
/// the next datagram or tick.
#[track_caller]
fn eventually(what: &str, control: &WorkerControl, condition: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !condition() {
        control.wake();
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    began.elapsed()
}

fn count(refused: &[(Operation, i32)], operation: Operation) -> usize {
    refused.iter().filter(|(kind, _)| *kind == operation).count()
}
