//! Numbered datagrams that keep coming whatever happens, and an account of those that arrive.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::common::eventually;
use crate::relay::line::Line;
use crate::relay::ports::{assert_empty, receive, receiver, sender};

/// Some flows of one rule. Nobody waits for what was sent to arrive before the next is sent.
pub(crate) struct Numbered {
    over: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    sending: JoinHandle<u64>,
    receiving: JoinHandle<u64>,
}

impl Numbered {
    /// Flows that the rule takes by `left` for `input`, and sends by `right` to `output`.
    pub(crate) fn start(line: &Line, input: &str, output: &str) -> Self {
        let from = [(); FLOWS].map(|()| sender(line.source(), "right", input));
        let to = receiver(line.sink(), "left", output);
        let (over, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ending, count) = (Arc::clone(&over), Arc::clone(&arrived));
        let sending = std::thread::spawn(move || send(&from, &ending));
        let receiving = std::thread::spawn(move || account(&to, &count));
        Self { over, arrived, sending, receiving }
    }

    /// Waits until many more have arrived.
    #[track_caller]
    pub(crate) fn flow(&self) {
        let goal = self.arrived.load(Ordering::Relaxed) + 100 * FLOWS as u64;
        eventually("numbered datagrams", || {
            assert!(!self.receiving.is_finished(), "a datagram was lost or came twice");
            (self.arrived.load(Ordering::Relaxed) > goal).then_some(())
        });
    }

    /// Ends it: every datagram has arrived once and in order. Returns how many there were.
    #[track_caller]
    pub(crate) fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        let sent = self.sending.join().unwrap();
        let arrived =
            self.receiving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert_eq!(arrived, sent);
        sent as usize
    }
}

/// Sends the next number by each socket in turns; a last one, without a number, ends its flow.
fn send(from: &[UdpSocket], over: &AtomicBool) -> u64 {
    let mut number = 0u64;
    while !over.load(Ordering::Relaxed) {
        for (flow, socket) in from.iter().enumerate() {
            let mut payload = [0; BYTES];
            payload[0] = flow as u8;
            payload[1..9].copy_from_slice(&number.to_be_bytes());
            assert_eq!(socket.send(&payload).unwrap(), BYTES);
        }
        number += 1;
        std::thread::sleep(PAUSE);
    }
    for (flow, socket) in from.iter().enumerate() {
        assert_eq!(socket.send(&[flow as u8]).unwrap(), 1);
    }
    (number + 1) * from.len() as u64
}

/// Takes datagrams until each flow is at its end, and insists on each flow's order.
fn account(to: &UdpSocket, arrived: &AtomicU64) -> u64 {
    let mut next = [0u64; FLOWS];
    let mut open = FLOWS;
    while open > 0 {
        let datagram = receive(to);
        let flow = usize::from(datagram[0]);
        match datagram.get(1..9) {
            Some(number) => {
                let number = u64::from_be_bytes(number.try_into().unwrap());
                assert_eq!(number, next[flow], "flow {flow}");
                next[flow] += 1;
            }
            None => open -= 1,
        }
        arrived.fetch_add(1, Ordering::Relaxed);
    }
    assert_empty(to);
    arrived.load(Ordering::Relaxed)
}

/// Enough that every worker has some.
const FLOWS: usize = 8;
pub(crate) const BYTES: usize = 200;
/// Between two datagrams of a flow: short beside any takeover.
const PAUSE: Duration = Duration::from_millis(1);
