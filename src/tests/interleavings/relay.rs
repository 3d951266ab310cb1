//! Rules that are swapped while a relay goes by them, and its figures.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::explore;
use crate::io::{
    Forward, Frame, FrameService, Now, ReceivePool, ReplyPath, SocketId, Transmit, TransmitError,
};
use crate::relay::golden;
use crate::relay::handler::Relay;
use crate::relay::stats::FlowCounters;
use crate::relay::table::{InputKey, OutputState, RelayTable, SharedTable, TableOutput, TableRule};

const INPUT: SocketId = SocketId(0);
const OLD: SocketId = SocketId(1);
const NEW: SocketId = SocketId(2);
const NOW: Now = Now::from_unix(Duration::from_secs(1_700_000_000));

fn table(generation: u64, socket: SocketId) -> RelayTable {
    let output = TableOutput {
        socket: Some(socket),
        to: None,
        ipv6: false,
        segment_max: 1472,
        payload_max: 65_507,
        keep_ttl: false,
        keep_dscp: false,
        state: Arc::new(OutputState { tag: 1, ..OutputState::default() }),
    };
    let rule = TableRule {
        sources: Box::default(),
        keeps_ttl: false,
        keeps_dscp: false,
        counters: Arc::default(),
        outputs: vec![output],
    };
    let key = InputKey::new(INPUT, "239.1.1.1:5001".parse().unwrap());
    RelayTable {
        generation,
        inputs: [(key, vec![0])].into(),
        rules: vec![rule],
        ..RelayTable::default()
    }
}

/// Sends nothing by a socket that was taken back.
struct Watched {
    old_taken_back: Arc<AtomicBool>,
    sent: Vec<SocketId>,
}

impl Transmit for Watched {
    fn reply(
        &mut self,
        _: ReplyPath,
        _: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError> {
        Err(TransmitError::Full)
    }

    fn send_segments(
        &mut self,
        _: ReplyPath,
        _: u16,
        _: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError> {
        Err(TransmitError::Full)
    }

    fn forward(&mut self, forward: Forward<'_>) -> Result<(), TransmitError> {
        let gone = self.old_taken_back.load(Ordering::Relaxed);
        assert!(!gone || forward.socket != OLD, "sent by a socket that was taken back");
        self.sent.push(forward.socket);
        Ok(())
    }
}

#[test]
fn no_rule_is_gone_by_once_its_successor_was_seen() {
    explore("rules swapped", || {
        let shared = Arc::new(SharedTable::default());
        shared.publish(table(1, OLD));
        let old_taken_back = Arc::new(AtomicBool::new(false));
        let worker = {
            let (shared, old_taken_back) = (Arc::clone(&shared), Arc::clone(&old_taken_back));
            thread::spawn(move || {
                let pool = ReceivePool::new(4, 2048);
                let mut relay = Relay::new(shared);
                let mut tx = Watched { old_taken_back, sent: Vec::new() };
                let bytes = golden::plain(golden::IPV4, golden::IPV4_PLAIN);
                for _ in 0..2 {
                    let buffer = pool.fill(&bytes).unwrap();
                    let range = 0..bytes.len();
                    let frame = Frame::received(INPUT, &buffer, range, None, false, false);
                    relay.on_frame(NOW, &frame, &mut tx);
                    relay.on_flush(NOW, &mut tx);
                    relay.on_tick(NOW, &mut tx);
                }
                tx.sent
            })
        };
        // As the control side does: a socket goes when every worker has seen the next rules.
        shared.publish(table(2, NEW));
        if shared.seen() == 2 {
            old_taken_back.store(true, Ordering::Relaxed);
        }
        let sent = worker.join().unwrap();
        assert_eq!(sent.len(), 2);
        assert!(sent != [NEW, OLD], "the old rules came back");
        assert!(shared.seen() >= 1);
    });
}

#[test]
fn figures_of_a_flow_never_go_back() {
    explore("figures", || {
        let counters = Arc::new(FlowCounters::default());
        let reader = {
            let counters = Arc::clone(&counters);
            thread::spawn(move || counters.snapshot())
        };
        counters.passed(64, 64_000);
        counters.sent();
        let first = reader.join().unwrap();
        let last = counters.snapshot();
        assert!(first.packets <= last.packets && first.bytes <= last.bytes);
        assert_eq!((last.packets, last.bytes, last.sends), (64, 64_000, 1));
    });
}
