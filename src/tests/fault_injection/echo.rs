//! Datagrams and their replies.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ERRNOS, count, eventually, everything, run_under, seeds};
use crate::io::fault_injection::{FaultPlan, Operation};
use crate::io::testing::{EchoUntil, assert_accounted, plan};
use crate::io::{Engine, LoopSizes, WorkerControl};
use crate::telemetry::{Counter, Counters, DropReason, Snapshot};

/// Sends numbers in bursts that the socket holds, each when the one before was taken. Returns
/// what came back, and how long the first burst took.
fn ask(
    to: SocketAddr,
    bursts: &[u32],
    counters: &Counters,
    control: &WorkerControl,
) -> (Vec<u32>, Duration) {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_nonblocking(true).unwrap();
    let (mut sent, mut replies, mut first) = (0, Vec::new(), None);
    let began = Instant::now();
    for burst in bursts {
        for number in sent..sent + burst {
            client.send_to(&number.to_be_bytes(), to).unwrap();
        }
        sent += burst;
        let taken = || {
            let total = counters.snapshot();
            let ended = total.get(Counter::PacketsSent) + total.dropped_total();
            ended == u64::from(sent)
        };
        eventually("a burst to be answered or dropped", control, taken);
        first.get_or_insert(began.elapsed());
        let mut number = [0; 4];
        while client.recv(&mut number).is_ok() {
            replies.push(u32::from_be_bytes(number));
        }
    }
    (replies, first.unwrap_or_default())
}

/// Echoes bursts under a plan. What came back is what was counted as sent.
fn echo(engine: Engine, faults: &FaultPlan, bursts: &[u32]) -> Echoed {
    let (plan, address) = plan(LoopSizes::TRACKER);
    let (counters, control) = (Arc::clone(&plan.counters), Arc::clone(&plan.control));
    let left = bursts.iter().sum();
    let make = || EchoUntil { left, control: Arc::clone(&control) };
    let meanwhile = || ask(address, bursts, &counters, &control);
    let (refused, (mut replies, first)) = run_under(engine, faults, plan, make, meanwhile);
    assert_accounted(&counters, left);
    let total = counters.snapshot();
    assert_eq!(replies.len() as u64, total.get(Counter::PacketsSent));
    replies.sort_unstable();
    replies.dedup();
    assert_eq!(replies.len() as u64, total.get(Counter::PacketsSent), "a reply came twice");
    Echoed { total, refused, first }
}

struct Echoed {
    total: Snapshot,
    refused: Vec<(Operation, i32)>,
    /// How long the first burst took, from its first datagram to the end of the last.
    first: Duration,
}

#[test]
fn every_error_of_a_send_is_one_counted_drop() {
    for engine in Engine::ALL {
        for (name, errno) in ERRNOS {
            let faults = FaultPlan::first(Operation::Send, errno, 10);
            let Echoed { total, refused, first } = echo(engine, &faults, &[40, 60]);
            assert_eq!(count(&refused, Operation::Send), 10);
            let full = matches!(errno, libc::EAGAIN | libc::ENOBUFS);
            let reason = if full { DropReason::SocketFull } else { DropReason::SendError };
            assert_eq!((total.dropped(reason), total.dropped_total()), (10, 10), "{name}");
            println!("{}: 10 sends end with {name}: all accounted in {first:?}", engine.name());
        }
    }
}

#[test]
fn every_error_of_a_receive_is_got_over() {
    for engine in Engine::ALL {
        for (name, errno) in ERRNOS {
            let faults = FaultPlan::first(Operation::Receive, errno, 3);
            let Echoed { total, refused, first } = echo(engine, &faults, &[40, 60]);
            assert_eq!(count(&refused, Operation::Receive), 3);
            assert_eq!(total.get(Counter::PacketsSent), 100, "{name} costs no datagram");
            let counted = match (engine, errno) {
                // It says that the pool is empty, and that nothing is ready.
                (Engine::IoUring, libc::ENOBUFS) | (Engine::Epoll, libc::EAGAIN) => 0,
                _ => 3,
            };
            assert_eq!(total.get(Counter::ReceiveErrors), counted, "{name}");
            println!("{}: 3 receives end with {name}: answered in {first:?}", engine.name());
        }
    }
}

#[test]
fn waits_that_are_cut_short_cost_nothing() {
    for engine in Engine::ALL {
        let errnos = match engine {
            Engine::IoUring => vec![libc::EINTR, libc::EBUSY, libc::EAGAIN, libc::ETIME],
            Engine::Epoll => vec![libc::EINTR],
        };
        let faults =
            FaultPlan { seed: 1, per_mille: 1000, faults: vec![(Operation::Wait, errnos, 50)] };
        let Echoed { total, refused, .. } = echo(engine, &faults, &[40, 60]);
        assert_eq!(count(&refused, Operation::Wait), 50);
        assert_eq!(total.get(Counter::PacketsSent), 100);
    }
}

#[test]
fn a_wake_up_that_fails_does_not_make_the_loop_spin() {
    // For as long as the loop runs.
    let faults = FaultPlan::first(Operation::Wake, libc::EIO, usize::MAX);
    let Echoed { total, refused, .. } = echo(Engine::IoUring, &faults, &[5; 10]);
    assert_eq!(total.get(Counter::PacketsSent), 50);
    let (wakes, turns) = (count(&refused, Operation::Wake), total.get(Counter::Iterations));
    assert!(wakes > 0 && wakes < 50, "{wakes} reads in {turns} turns");
}

#[test]
fn random_faults_end_alike_on_both_engines() {
    for seed in seeds() {
        println!("RINGTIDE_SEED={seed}");
        let mut faults = everything(seed, 50, 400);
        let mut ends = Vec::new();
        for engine in Engine::ALL {
            if engine == Engine::Epoll {
                // An epoll that gives no other error but this breaks the loop.
                faults.faults.retain(|(operation, ..)| *operation != Operation::Wait);
                faults.faults.push((Operation::Wait, vec![libc::EINTR], 400));
            }
            // The last burst comes when nothing is refused any more.
            let bursts = [vec![50; 80], vec![7; 200]].concat();
            let Echoed { total, refused, first } = echo(engine, &faults, &bursts);
            let sends = count(&refused, Operation::Send);
            assert_eq!(total.dropped_total(), sends as u64);
            println!(
                "{}: {} refused, {sends} of them sends; first burst in {first:?}",
                engine.name(),
                refused.len()
            );
            let drops = DropReason::ALL.iter().map(|reason| total.dropped(*reason));
            ends.push((total.get(Counter::PacketsSent), drops.collect::<Vec<_>>()));
        }
        assert_eq!(ends[0], ends[1], "RINGTIDE_SEED={seed}");
    }
}
