//! The loop under conditions that a well-sized ring never meets.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use super::{EventLoop, LoopSizes, Ring};
use crate::clock::Clock;
use crate::handler::{Handler, Now, Packet, Transmit};
use crate::net::lent::{Lend, SocketTable};
use crate::net::socket::{SocketOptions, bind_group};
use crate::telemetry::{Counter, Counters, DropReason};
use crate::worker::{WorkerControl, WorkerPlan};

/// Echoes, and asks its worker to stop after so many datagrams.
struct EchoUntil {
    left: u32,
    control: Arc<WorkerControl>,
}

impl Handler for EchoUntil {
    fn on_packet<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let _ = tx.reply(packet.path, |out| {
            out[..packet.payload.len()].copy_from_slice(packet.payload);
            packet.payload.len()
        });
        self.left -= 1;
        if self.left == 0 {
            self.control.stop();
        }
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}

fn plan(sizes: LoopSizes) -> (WorkerPlan, SocketAddr) {
    let options = SocketOptions { receive_buffer_bytes: 4 << 20, send_buffer_bytes: 4 << 20 };
    let group = bind_group("127.0.0.1:0".parse().unwrap(), 1, options, None).unwrap();
    let address = group.sockets[0].address();
    let sockets = group.sockets.into_iter().map(|socket| Arc::new(socket) as Arc<dyn Lend>);
    let plan = WorkerPlan {
        index: 0,
        core: None,
        table: Arc::new(SocketTable::new(sockets)),
        counters: Arc::new(Counters::default()),
        control: Arc::new(WorkerControl::new(Duration::from_secs(2)).unwrap()),
        sizes,
    };
    (plan, address)
}

/// Sends `count` datagrams ahead of time, then runs a loop until it has echoed all of them.
fn run_over(sizes: LoopSizes, completion_entries: u32, count: u32) -> (Arc<Counters>, usize) {
    let (plan, address) = plan(sizes);
    let counters = Arc::clone(&plan.counters);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..count {
        client.send_to(&number.to_be_bytes(), address).unwrap();
    }
    let mut ring = Ring::open_with(&plan, completion_entries).unwrap();
    let mut handler = EchoUntil { left: count, control: Arc::clone(&plan.control) };
    let mut event_loop = EventLoop::new(&mut ring, plan, Clock::start()).unwrap();
    event_loop.run(&mut handler).unwrap();
    assert_eq!(event_loop.outstanding(), 0);
    let pools = &event_loop.pools;
    assert_eq!(pools.groups.datagrams.pool().held(), 0);
    (counters, pools.slots.in_flight())
}

fn assert_accounted(counters: &Counters, received: u32) {
    let total = counters.snapshot();
    assert_eq!(total.get(Counter::PacketsReceived), u64::from(received));
    let accounted = total.get(Counter::PacketsSent) + total.dropped_total();
    assert_eq!(accounted, u64::from(received), "{total:?}");
}

#[test]
fn an_overflowing_completion_queue_loses_nothing() {
    let sizes = LoopSizes {
        submission_entries: 8,
        receive_buffers: 256,
        send_slots: 256,
        ..LoopSizes::TRACKER
    };
    let (counters, in_flight) = run_over(sizes, 8, 1000);
    assert_accounted(&counters, 1000);
    assert_eq!(in_flight, 0);
    let total = counters.snapshot();
    assert!(total.get(Counter::CompletionQueueOverflows) > 0, "the test overflowed nothing");
    assert_eq!(total.get(Counter::PacketsSent), 1000);
}

#[test]
fn two_receive_buffers_are_enough_for_all_datagrams() {
    let sizes = LoopSizes { receive_buffers: 2, ..LoopSizes::TRACKER };
    let (counters, in_flight) = run_over(sizes, 2048, 500);
    assert_accounted(&counters, 500);
    assert_eq!(in_flight, 0);
    assert!(counters.snapshot().get(Counter::ReceiveRearms) > 10, "the pool never ran dry");
}

#[test]
fn a_full_slab_is_a_counted_drop() {
    let sizes = LoopSizes { send_slots: 1, ..LoopSizes::TRACKER };
    let (counters, _) = run_over(sizes, 2048, 200);
    assert_accounted(&counters, 200);
    assert!(counters.snapshot().dropped(DropReason::SendSlotsFull) > 0);
}
