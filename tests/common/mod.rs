//! What the tests on a real ring share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ringtide::clock::Clock;
use ringtide::handler::{Forward as ForwardRequest, Handler, Now, Packet, Part, Transmit};
use ringtide::net::lent::{Lend, SocketTable};
use ringtide::net::socket::{SocketOptions, bind_group};
use ringtide::net::steering::SteeringProgram;
use ringtide::telemetry::{Counter, Counters, Snapshot};
use ringtide::uring::LoopSizes;
use ringtide::worker::{WorkerControl, WorkerPlan, Workers};

/// Answers every datagram with a copy of itself.
pub struct Echo;

impl Handler for Echo {
    fn on_packet<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let _ = tx.reply(packet.path, |out| {
            out[..packet.payload.len()].copy_from_slice(packet.payload);
            packet.payload.len()
        });
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}

/// Answers every datagram straight from its receive buffer.
pub struct Forward;

impl Handler for Forward {
    fn on_packet<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let whole = packet.buffer.bytes();
        let start = packet.payload.as_ptr() as usize - whole.as_ptr() as usize;
        let range = start..start + packet.payload.len();
        let part = Part { buffer: packet.buffer.clone(), range };
        let _ = tx.forward(ForwardRequest {
            socket: packet.path.socket,
            to: Some(packet.path.to),
            ipv6: packet.path.to.is_ipv6(),
            parts: &[part],
            segment_bytes: None,
            ttl: None,
            tos: None,
            tag: 0,
        });
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}

/// Workers that run a handler of the test's.
pub struct Started {
    workers: Option<Workers>,
    addresses: Vec<SocketAddr>,
    pub counters: Vec<Arc<Counters>>,
}

impl Started {
    pub fn new<H: Handler>(
        count: usize,
        listen: &[&str],
        make: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Self {
        Self::with(count, listen, None, LoopSizes::TRACKER, make)
    }

    pub fn with<H: Handler>(
        count: usize,
        listen: &[&str],
        steering: Option<&SteeringProgram>,
        sizes: LoopSizes,
        make: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Self {
        let options = SocketOptions { receive_buffer_bytes: 4 << 20, send_buffer_bytes: 4 << 20 };
        let mut lent: Vec<Vec<Arc<dyn Lend>>> = (0..count).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for address in listen {
            let group = bind_group(address.parse().unwrap(), count, options, steering).unwrap();
            assert_eq!(group.steered, steering.is_some() && count > 1);
            addresses.push(group.sockets[0].address());
            lent.iter_mut()
                .zip(group.sockets)
                .for_each(|(list, socket)| list.push(Arc::new(socket)));
        }
        let counters: Vec<_> = (0..count).map(|_| Arc::new(Counters::default())).collect();
        let plans = lent
            .into_iter()
            .enumerate()
            .map(|(index, sockets)| WorkerPlan {
                index,
                core: None,
                table: Arc::new(SocketTable::new(sockets)),
                counters: Arc::clone(&counters[index]),
                control: Arc::new(WorkerControl::new(Duration::from_secs(2)).unwrap()),
                sizes,
            })
            .collect();
        let workers = Workers::start(plans, Clock::start(), make).unwrap();
        Self { workers: Some(workers), addresses, counters }
    }

    pub fn port(&self, listen: usize) -> u16 {
        self.addresses[listen].port()
    }

    pub fn total(&self) -> Snapshot {
        Snapshot::total(self.counters.iter().map(|counters| &**counters))
    }

    /// Sends a datagram and waits for the answer; asks again when it takes long.
    pub fn ask(
        &self,
        client: &UdpSocket,
        server: impl ToSocketAddrs,
        request: &[u8],
    ) -> (Vec<u8>, SocketAddr) {
        client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut reply = vec![0; 65_536];
        for _ in 0..10 {
            client.send_to(request, &server).unwrap();
            if let Ok((length, from)) = client.recv_from(&mut reply) {
                reply.truncate(length);
                return (reply, from);
            }
        }
        panic!("no answer; counters: {:?}", self.total());
    }

    /// Stops the workers.
    pub fn stop(mut self) {
        self.workers.take().unwrap().stop();
    }

    /// Stops the workers and checks that every datagram was accounted for.
    pub fn stop_and_check(mut self) -> Snapshot {
        self.workers.take().unwrap().stop();
        let total = self.total();
        let accounted = total.get(Counter::PacketsSent) + total.dropped_total();
        assert_eq!(total.get(Counter::PacketsReceived), accounted, "{total:?}");
        total
    }

    pub fn stop_within(mut self, limit: Duration) -> bool {
        let workers = self.workers.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        let started = Instant::now();
        std::thread::spawn(move || {
            workers.stop();
            let _ = sender.send(());
        });
        receiver.recv_timeout(limit).is_ok() && started.elapsed() < limit
    }
}
