//! Handlers and helpers for the tests of each engine's loop.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use super::socket_table::{LoopSocket, SocketTable};
use super::{
    BufferSlice, DatagramService, Dispatch, Forward, Now, Packet, ReplyPath, SendCompletion,
    SendOptions, ServiceId, SocketId, Transmit,
};
use super::{LoopSizes, RingFeatures, WorkerControl, WorkerPlan};
use crate::sys::socket::{SocketOptions, bind_group};
use crate::telemetry::{Counter, Counters};

/// A worker on a socket of its own, and the address of that.
pub(crate) fn plan(sizes: LoopSizes) -> (WorkerPlan, SocketAddr) {
    let options = SocketOptions { receive_buffer_bytes: 4 << 20, send_buffer_bytes: 4 << 20 };
    let group = bind_group("127.0.0.1:0".parse().unwrap(), 1, options, None).unwrap();
    let address = group.sockets[0].address();
    let sockets = group.sockets.into_iter().map(|socket| Arc::new(socket) as Arc<dyn LoopSocket>);
    let plan = WorkerPlan {
        index: 0,
        core: None,
        table: Arc::new(SocketTable::new(ServiceId::Tracker, sockets)),
        counters: Arc::new(Counters::default()),
        control: Arc::new(WorkerControl::new(Duration::from_secs(2)).unwrap()),
        features: RingFeatures::ALL,
        sizes,
    };
    (plan, address)
}

/// Numbers, sent one a datagram.
pub(crate) struct Numbers {
    client: UdpSocket,
    sent: Vec<[u8; 4]>,
}

impl Numbers {
    /// Sends 0 to `count`, from one socket.
    pub(crate) fn send(count: u32, to: SocketAddr) -> Self {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sent: Vec<[u8; 4]> = (0..count).map(u32::to_be_bytes).collect();
        for datagram in &sent {
            client.send_to(datagram, to).unwrap();
        }
        Self { client, sent }
    }

    /// Waits for each to come back so many times.
    pub(crate) fn assert_back(&self, times: usize) {
        self.client.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut received: Vec<[u8; 4]> = (0..times * self.sent.len())
            .map(|_| {
                let mut datagram = [0; 4];
                assert_eq!(receive(&self.client, &mut datagram), 4);
                datagram
            })
            .collect();
        received.sort_unstable();
        let mut expected = self.sent.repeat(times);
        expected.sort_unstable();
        assert_eq!(received, expected);
    }
}

/// Sends a request, waits for its answer, and so on.
pub(crate) fn ask_in_turn(count: u32, server: SocketAddr) {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut reply = [0; 8];
    for _ in 0..count {
        client.send_to(b"tide", server).unwrap();
        receive(&client, &mut reply);
    }
}

/// Waits for a datagram and returns its length.
fn receive(client: &UdpSocket, datagram: &mut [u8]) -> usize {
    loop {
        match client.recv(datagram) {
            Ok(length) => return length,
            // A ring that this thread opened to probe may still interrupt it.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted, "{error}"),
        }
    }
}

/// Far beyond what anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// Each datagram was sent back or dropped.
pub(crate) fn assert_accounted(counters: &Counters, received: u32) {
    let total = counters.snapshot();
    assert_eq!(total.get(Counter::PacketsReceived), u64::from(received));
    let accounted = total.get(Counter::PacketsSent) + total.dropped_total();
    assert_eq!(accounted, u64::from(received), "{total:?}");
}

/// Echoes, and asks its worker to stop after so many datagrams.
pub(crate) struct EchoUntil {
    pub(crate) left: u32,
    pub(crate) control: Arc<WorkerControl>,
}

impl DatagramService for EchoUntil {
    fn on_datagram<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
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

/// Forwards each datagram back from its buffer, and forwards it once more when that has ended.
pub(crate) struct ForwardTwice {
    pub(crate) left: u32,
    pub(crate) control: Arc<WorkerControl>,
}

impl ForwardTwice {
    fn forward(path: ReplyPath, slices: &[BufferSlice], tag: u32, tx: &mut impl Transmit) {
        let forward = Forward {
            socket: path.socket(),
            to: Some(path.client()),
            ipv6: false,
            slices,
            options: SendOptions::default(),
            tag,
        };
        tx.forward(forward).unwrap();
    }
}

impl Dispatch for ForwardTwice {
    fn on_datagram<T: Transmit>(&mut self, _: ServiceId, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let start = packet.payload.as_ptr() as usize - packet.buffer.bytes().as_ptr() as usize;
        let range = start..start + packet.payload.len();
        let slice = BufferSlice { buffer: packet.buffer.clone(), range };
        Self::forward(packet.path, &[slice], u32::from(packet.path.client().port()), tx);
    }

    fn on_forwarded<T: Transmit>(
        &mut self,
        _: ServiceId,
        _: Now,
        forwarded: &SendCompletion<'_>,
        tx: &mut T,
    ) {
        assert_eq!(forwarded.result, Ok(4));
        self.left -= 1;
        if self.left == 0 {
            self.control.stop();
        } else if forwarded.tag != 0 {
            let to = SocketAddr::from(([127, 0, 0, 1], forwarded.tag as u16));
            let path = ReplyPath::new(SocketId(0), to, None);
            Self::forward(path, forwarded.slices, 0, tx);
        }
    }
}

/// Panics while it writes its first reply.
pub(crate) struct PanicInReply;

impl DatagramService for PanicInReply {
    fn on_datagram<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let _ = tx.reply(packet.path, |_| panic!("as this test wants"));
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}
