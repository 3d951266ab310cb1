//! Workers on real rings that run a handler of the test's.

use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use ringtide::io::clock::Clock;
use ringtide::io::socket_table::{LoopSocket, SocketTable};
use ringtide::io::{Dispatch, ServiceId};
use ringtide::io::{Engine, EngineChoice, LoopSizes, WorkerControl, WorkerPlan};
use ringtide::sys::socket::{SocketOptions, bind_group};
use ringtide::sys::steering::SteeringProgram;
use ringtide::telemetry::{Counter, Counters, Snapshot};
use ringtide::workers::Workers;

use super::{DEADLINE, engine, features, uninterrupted};

/// Workers that run a handler of the test's.
pub struct Started {
    workers: Option<Workers>,
    addresses: Vec<SocketAddr>,
    pub counters: Vec<Arc<Counters>>,
}

impl Started {
    pub fn new<H: Dispatch>(
        count: usize,
        listen: &[&str],
        make: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Self {
        Self::with(count, listen, None, LoopSizes::TRACKER, move |worker, _| make(worker))
    }

    /// As [`Self::new`], with all there is to choose; `make` gets the worker and its counters.
    pub fn with<H: Dispatch>(
        count: usize,
        listen: &[&str],
        steering: Option<&SteeringProgram>,
        sizes: LoopSizes,
        make: impl Fn(usize, Arc<Counters>) -> H + Send + Sync + 'static,
    ) -> Self {
        Self::on(engine(), count, listen, steering, sizes, make)
    }

    /// As [`Self::with`], on one engine, whichever is under test.
    pub fn on<H: Dispatch>(
        engine: Engine,
        count: usize,
        listen: &[&str],
        steering: Option<&SteeringProgram>,
        sizes: LoopSizes,
        make: impl Fn(usize, Arc<Counters>) -> H + Send + Sync + 'static,
    ) -> Self {
        let options = SocketOptions { receive_buffer_bytes: 4 << 20, send_buffer_bytes: 4 << 20 };
        let mut sockets_of: Vec<Vec<Arc<dyn LoopSocket>>> =
            (0..count).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for address in listen {
            let group = bind_group(address.parse().unwrap(), count, options, steering).unwrap();
            assert_eq!(group.steered, steering.is_some() && count > 1);
            addresses.push(group.sockets[0].address());
            sockets_of
                .iter_mut()
                .zip(group.sockets)
                .for_each(|(list, socket)| list.push(Arc::new(socket)));
        }
        let counters: Vec<_> = (0..count).map(|_| Arc::new(Counters::default())).collect();
        let plans = sockets_of
            .into_iter()
            .enumerate()
            .map(|(index, sockets)| WorkerPlan {
                index,
                core: None,
                table: Arc::new(SocketTable::new(ServiceId::Tracker, sockets)),
                counters: Arc::clone(&counters[index]),
                control: Arc::new(WorkerControl::new(Duration::from_secs(2)).unwrap()),
                features: features(),
                sizes,
            })
            .collect();
        let of_worker = counters.clone();
        let make = move |worker: usize| make(worker, Arc::clone(&of_worker[worker]));
        let choice = EngineChoice::Only(engine);
        let workers = Workers::start(choice, plans, Clock::start(), make).unwrap();
        Self { workers: Some(workers), addresses, counters }
    }

    pub fn address(&self, listen: usize) -> SocketAddr {
        self.addresses[listen]
    }

    pub fn port(&self, listen: usize) -> u16 {
        self.addresses[listen].port()
    }

    pub fn total(&self) -> Snapshot {
        Snapshot::total(self.counters.iter().map(|counters| &**counters))
    }

    /// Sends a datagram, once, and waits for the answer.
    #[track_caller]
    pub fn ask(
        &self,
        client: &UdpSocket,
        server: impl ToSocketAddrs,
        request: &[u8],
    ) -> (Vec<u8>, SocketAddr) {
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.send_to(request, &server).unwrap();
        let mut reply = vec![0; 65_536];
        let received = uninterrupted(|| client.recv_from(&mut reply));
        let (length, from) =
            received.unwrap_or_else(|error| panic!("{error}; counters: {:?}", self.total()));
        reply.truncate(length);
        (reply, from)
    }

    /// Stops the workers, in good order.
    pub fn stop(mut self) -> Snapshot {
        self.workers.take().unwrap().stop();
        self.total()
    }

    /// Stops the workers and checks that every datagram was accounted for.
    pub fn stop_and_check(self) -> Snapshot {
        let total = self.stop();
        let accounted = total.get(Counter::PacketsSent) + total.dropped_total();
        assert_eq!(total.get(Counter::PacketsReceived), accounted, "{total:?}");
        total
    }

    /// Whether the workers stop at all.
    pub fn stops(mut self) -> bool {
        let workers = self.workers.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            workers.stop();
            let _ = sender.send(());
        });
        receiver.recv_timeout(DEADLINE).is_ok()
    }
}
