//! Counters, sockets lent to a loop, and waking it.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::explore;
use crate::io::WorkerControl;
use crate::io::socket_table::{Nowhere, ServiceId, SocketKind, SocketTable};
use crate::telemetry::{Counter, Counters, DropReason};

#[test]
fn a_worker_that_is_woken_to_stop_sees_that_it_must() {
    explore("stop and wake", || {
        let control = Arc::new(WorkerControl::new(Duration::ZERO).unwrap());
        let worker = {
            let control = Arc::clone(&control);
            thread::spawn(move || {
                control.clear_wake();
                // Woken for another reason it waits again.
                while !control.should_stop() {
                    control.clear_wake();
                }
            })
        };
        control.wake();
        control.stop();
        worker.join().unwrap();
    });
}

#[test]
fn no_count_is_lost_and_none_goes_back() {
    explore("counters", || {
        let counters = Arc::new(Counters::default());
        // Reads go where they can meet each write: loom looks back from the later thread's.
        let reader = {
            let counters = Arc::clone(&counters);
            thread::spawn(move || {
                let mut before = 0;
                for _ in 0..2 {
                    let now = counters.get(Counter::BytesReceived);
                    assert!(now >= before && now % 100 == 0, "{before}, then {now}");
                    before = now;
                }
            })
        };
        for _ in 0..2 {
            counters.add(Counter::BytesReceived, 100);
            counters.dropped(DropReason::TooShort);
        }
        reader.join().unwrap();
        let end = counters.snapshot();
        assert_eq!((end.get(Counter::BytesReceived), end.dropped_total()), (200, 2));
    });
}

#[test]
fn what_was_applied_is_what_was_wanted() {
    explore("sockets lent", || {
        let table = Arc::new(SocketTable::new(ServiceId::Relay, []));
        let control = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let first = table
                    .register(ServiceId::Relay, Arc::new(Nowhere(SocketKind::Frames)))
                    .unwrap();
                table.set_frame_buffers(512);
                table.deregister(first);
            })
        };
        let (mut seen, mut lent, mut buffers) = (0, 0, 0);
        let mut turn = || {
            if seen != table.version() {
                // As both engines do: sockets first, then how many buffers.
                seen = table.with_wanted(|wanted, version| {
                    lent = wanted.iter().flatten().count();
                    version
                });
                table.set_applied(seen);
                buffers = table.frame_buffers();
            }
        };
        turn();
        turn();
        control.join().unwrap();
        turn();
        assert_eq!((lent, buffers), (0, 512), "the newest change was overlooked");
        assert_eq!(table.applied(), table.version());
    });
}
