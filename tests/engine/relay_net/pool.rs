//! The pool of frame buffers: what is lent to the kernel, and more of it while a worker runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use ringtide::io::clock::Clock;
use ringtide::io::{Buffer, Dispatch, EngineChoice, Frame, Now, ServiceId, Transmit};
use ringtide::telemetry::Counter;
use ringtide::workers::Workers;

use super::capture::{Sender, open, plan};
use crate::common::{Cable, DEADLINE, engine, eventually, switched_off};

/// Never lets a frame's buffer go, and tells how many it has at each tick.
struct Keeper {
    kept: Vec<Buffer>,
    ticks: mpsc::Sender<usize>,
}

impl Dispatch for Keeper {
    fn on_frame<T: Transmit>(&mut self, _: ServiceId, _: Now, frame: &Frame<'_>, _: &mut T) {
        self.kept.push(frame.buffer.clone());
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {
        // The test may have ended already.
        let _ = self.ticks.send(self.kept.len());
    }
}

#[test]
fn a_worker_has_as_many_frame_buffers_as_it_is_told() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let group = open(&cable.far, "b", 1, &["10.9.0.2:5001"]);
    let sockets: Vec<_> = group.sockets.into_iter().map(Arc::new).collect();
    let plan = plan(&sockets);
    let (table, control) = (Arc::clone(&plan.table), Arc::clone(&plan.control));
    let (ticks, kept) = mpsc::channel();
    let make = move |_| Keeper { kept: Vec::new(), ticks: ticks.clone() };
    table.set_frame_buffers(4);
    let workers =
        Workers::start(EngineChoice::Only(engine()), vec![plan], Clock::start(), make).unwrap();
    let sender = Sender::new(&cable.near, "a", "10.9.0.2:5001");
    (0..100).for_each(|_| sender.send(b"tide"));

    let next = || kept.recv_timeout(DEADLINE).expect("a tick in time");
    // 64 are all that the pool has; fewer than before is no change.
    for (told, expected) in [(4, 4), (16, 16), (8, 16), (1000, 64)] {
        table.set_frame_buffers(told);
        control.wake();
        while next() < expected {}
        // Nor do more come in some more ticks.
        assert_eq!([next(), next(), next()], [expected; 3], "told {told}");
    }
    workers.stop();
}

/// Panics over the first frame there ever is.
struct Fragile(Arc<AtomicU64>);

impl Dispatch for Fragile {
    fn on_frame<T: Transmit>(&mut self, _: ServiceId, _: Now, _: &Frame<'_>, _: &mut T) {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "on purpose");
    }
}

/// All frames are there when the worker starts, so that one turn of its loop takes many.
#[test]
fn frames_that_a_panic_left_behind_are_counted() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let group = open(&cable.far, "b", 1, &["10.9.0.2:5001"]);
    let sockets: Vec<_> = group.sockets.into_iter().map(Arc::new).collect();
    let plan = plan(&sockets);
    let sender = Sender::new(&cable.near, "a", "10.9.0.2:5001");
    (0..40).for_each(|_| sender.send(b"tide"));
    let (counters, handled) = (Arc::clone(&plan.counters), Arc::new(AtomicU64::new(0)));
    let make = {
        let handled = Arc::clone(&handled);
        move |_| Fragile(Arc::clone(&handled))
    };
    let workers =
        Workers::start(EngineChoice::Only(engine()), vec![plan], Clock::start(), make).unwrap();
    eventually("the restarted worker to take all that is left", || {
        let counted = counters.snapshot();
        (counted.get(Counter::FramesReceived) == 40).then_some(())
    });
    workers.stop();
    let counted = counters.snapshot();
    assert_eq!(counted.get(Counter::FramesLostToPanic), 1);
    let lost = counted.get(Counter::FramesLostToShutdown);
    assert!(lost > 0, "one turn took one frame: the test shows nothing");
    assert_eq!(handled.load(Ordering::Relaxed) + lost, 40);
}
