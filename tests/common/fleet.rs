//! Workers that run the tracker over shards that the test can see, with pools of any size.

use std::sync::Arc;

use ringtide::io::LoopSizes;
use ringtide::io::{DatagramService, Now, Packet, Transmit};
use ringtide::sys::steering::{SteeringConstants, SteeringProgram};
use ringtide::telemetry::{Counter, Snapshot};
use ringtide::tracker::core::TrackerSettings;
use ringtide::tracker::core::access_list::AccessList;
use ringtide::tracker::core::policy::{Policy, SharedPolicy};
use ringtide::tracker::store::{Secrets, Shards};
use ringtide::tracker::udp::connection_id::ConnectionIds;
use ringtide::tracker::udp::connection_key::random_key;
use ringtide::tracker::udp::handler::{Tracker, TrackerParts};

use super::{Client, Started};

/// Workers with a tracker each, put together by hand.
pub struct Fleet {
    pub started: Started,
    pub shards: Arc<Shards>,
}

impl Fleet {
    /// On a port of 127.0.0.1 and one of ::1, with steering.
    pub fn start(workers: usize, sizes: LoopSizes, settings: TrackerSettings) -> Self {
        let shards = Arc::new(Shards::new(workers, &Secrets::random().unwrap()));
        let steering = shards.steering();
        let constants =
            SteeringConstants { addend: steering.addend(), multipliers: steering.multipliers() };
        let program = SteeringProgram::new(constants, workers as u32);
        let ids = ConnectionIds::new(random_key().unwrap(), settings.connection_lifetime_s);
        let policy = SharedPolicy::new(Policy { settings, access: AccessList::default() }, [7; 2]);
        let shared = Arc::clone(&shards);
        let make = move |worker, counters| {
            let shards = Arc::clone(&shared);
            let (policy, ids) = (policy.clone(), ids.clone());
            let parts = TrackerParts { worker, shards, policy, ids, counters };
            Fragile { worker, shards: Arc::clone(&shared), tracker: Tracker::new(parts) }
        };
        let listen = ["127.0.0.1:0", "[::1]:0"];
        let started = Started::with(workers, &listen, Some(&program), sizes, make);
        Self { started, shards }
    }

    /// A client of the listen address at this index.
    pub fn client(&self, listen: usize) -> Client {
        Client::new(self.started.address(listen))
    }

    /// One counter of each worker.
    pub fn by_worker(&self, counter: Counter) -> Vec<u64> {
        self.started.counters.iter().map(|counters| counters.snapshot().get(counter)).collect()
    }

    pub fn total(&self) -> Snapshot {
        self.started.total()
    }
}

/// Makes the worker panic.
pub const PANIC: &[u8] = b"panic";

/// Makes the worker panic while it holds its shard's lock.
pub const PANIC_HOLDING_THE_SHARD: &[u8] = b"panic holding";

/// The tracker, but for two datagrams that make it panic. Being as short as they are, steering
/// delivers them to worker 0.
pub struct Fragile {
    worker: usize,
    shards: Arc<Shards>,
    tracker: Tracker,
}

impl DatagramService for Fragile {
    fn on_datagram<T: Transmit>(&mut self, now: Now, packet: &Packet<'_>, tx: &mut T) {
        match packet.payload {
            PANIC => panic!("as the test asked"),
            PANIC_HOLDING_THE_SHARD => {
                let _shard = self.shards.lock(self.worker);
                panic!("as the test asked, with the shard's lock held");
            }
            _ => self.tracker.on_datagram(now, packet, tx),
        }
    }

    fn on_tick<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        self.tracker.on_tick(now, tx);
    }
}
