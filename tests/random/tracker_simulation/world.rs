//! The event queue: clients, noise, an operator and a tracker in virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use fastrand::Rng;
use ringtide::telemetry::Snapshot;
use ringtide::tracker::core::InfoHash;

use super::client::{Client, Desk};
use super::cluster::Cluster;
use super::coverage::{Coverage, Seen};
use super::model::Arrival;
use super::noise::Noise;
use super::scenario::{Scenario, redraw_rules};

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    ToTracker { from: SocketAddr, order: u64, bytes: Vec<u8> },
    ToClient { client: usize, bytes: Vec<u8> },
    Wake { client: usize, generation: u32 },
    Noise,
    Reload,
    Audit,
    Tick { worker: usize },
}

/// What a run leaves behind.
pub(crate) struct Outcome {
    pub(crate) seen: Coverage,
    pub(crate) counted: Snapshot,
    /// A digest of everything that was sent, and when.
    pub(crate) digest: u64,
}

pub(crate) struct World {
    seed: u64,
    rng: Rng,
    scenario: Scenario,
    now_ms: u64,
    /// The earliest first; of those at one time, the one that was queued first.
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    queued: u64,
    /// Events in the queue that may cause others than ticks and audits.
    lively: usize,
    /// When the last peer must be gone; known once nothing lively is left.
    end_ms: Option<u64>,
    current: Option<Event>,
    cluster: Cluster,
    clients: Vec<Client>,
    by_source: BTreeMap<SocketAddr, usize>,
    noise: Noise,
    /// The newest datagram of each source that has arrived.
    newest: BTreeMap<SocketAddr, u64>,
    seen: Coverage,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let scenario = Scenario::draw(&mut rng);
        let cluster = Cluster::new(&scenario, &mut rng);
        let mut world = Self {
            seed,
            now_ms: scenario.start_ms,
            queue: BinaryHeap::new(),
            queued: 0,
            lively: 0,
            end_ms: None,
            current: None,
            cluster,
            clients: Vec::new(),
            by_source: BTreeMap::new(),
            noise: Noise::default(),
            newest: BTreeMap::new(),
            seen: Coverage::default(),
            scenario,
            rng,
        };
        world.populate();
        world
    }

    pub(crate) fn description(&self) -> String {
        let Scenario { shape, workers, clients, torrents, .. } = &self.scenario;
        let torrents = torrents.len();
        format!("{shape:?}, {workers} workers, {clients} clients, {torrents} torrents")
    }

    /// Runs until everybody has stopped or timed out.
    pub(crate) fn run(mut self) -> Outcome {
        while self.end_ms.is_none_or(|end_ms| self.now_ms <= end_ms) {
            let Reverse((at_ms, _, event)) = self.queue.pop().unwrap();
            self.now_ms = at_ms;
            self.lively -= usize::from(event.is_lively());
            self.current = Some(event.clone());
            self.happen(event);
            if self.lively == 0 && self.end_ms.is_none() {
                let rest_ms = self.scenario.timeout_ms() + self.scenario.expiry_slack_ms();
                self.end_ms = Some(self.now_ms + rest_ms);
            }
        }
        let (counted, digest) = self.cluster.finish();
        Outcome { seen: self.seen.clone(), counted, digest }
    }

    fn populate(&mut self) {
        let start_ms = self.now_ms;
        for number in 0..self.scenario.clients {
            let client = Client::draw(number, &self.scenario, &mut self.rng);
            for source in client.sources {
                self.by_source.insert(source, number);
            }
            self.clients.push(client);
            let event = Event::Wake { client: number, generation: 0 };
            self.queue_within(self.scenario.joining_ms, event);
        }
        for worker in 0..self.scenario.workers {
            // Workers tick at different moments.
            self.queue_within(self.scenario.tick_ms, Event::Tick { worker });
        }
        self.queue_at(start_ms, Event::Noise);
        self.queue_at(start_ms, Event::Audit);
        self.queue_within(RELOAD_MS, Event::Reload);
    }

    fn happen(&mut self, event: Event) {
        let now_ms = self.now_ms;
        match event {
            Event::ToTracker { from, order, bytes } => self.arrive(from, order, &bytes),
            Event::ToClient { client, bytes } => {
                self.with_client(client, |client, desk| client.receive(desk, &bytes));
            }
            Event::Wake { client, generation } => {
                if self.clients[client].generation == generation {
                    self.with_client(client, Client::wake);
                }
            }
            Event::Noise => {
                let (from, bytes) = self.noise.make(&mut self.rng, &self.scenario);
                self.send(from, bytes);
                if now_ms < self.scenario.start_ms + self.scenario.noise_ms {
                    self.queue_within(NOISE_MS, event);
                }
            }
            Event::Reload => {
                self.reload();
                if now_ms < self.scenario.start_ms + self.scenario.noise_ms {
                    self.queue_within(RELOAD_MS, event);
                }
            }
            Event::Audit => {
                self.cluster.audit(now_ms);
                self.queue_at(now_ms + self.scenario.audit_ms, event);
            }
            Event::Tick { worker } => {
                self.cluster.tick(now_ms, worker, &mut self.seen);
                self.queue_at(now_ms + self.scenario.tick_ms, event);
            }
        }
    }

    /// A datagram comes out of the network at the tracker.
    fn arrive(&mut self, from: SocketAddr, order: u64, bytes: &[u8]) {
        let newest = self.newest.entry(from).or_default();
        self.seen.note_if(order < *newest, Seen::Reordered);
        *newest = order.max(*newest);
        self.noise.overhear(from, bytes);

        let workers = self.scenario.workers;
        let steered = self.rng.u8(..100) < self.scenario.network.steered_percent;
        let worker = match bytes.get(16..36) {
            Some(hash) if steered => self.cluster.model.owner(&InfoHash(hash.try_into().unwrap())),
            _ => self.rng.usize(..workers),
        };
        let slot_free = self.rng.u8(..100) >= self.scenario.network.no_slot_percent;
        self.seen.note_if(!slot_free, Seen::NoSlot);
        let arrival = Arrival { now_ms: self.now_ms, from, bytes, worker, slot_free };
        for reply in self.cluster.deliver(&arrival, &mut self.seen) {
            if let Some(client) = self.by_source.get(&reply.path.client()) {
                let client = *client;
                self.transport(|_| Event::ToClient { client, bytes: reply.bytes.clone() });
            }
        }
    }

    /// Lets a client act, sends what it sends and notes when it wants to be woken.
    fn with_client(&mut self, number: usize, act: impl FnOnce(&mut Client, &mut Desk<'_>)) {
        let client = &mut self.clients[number];
        let mut desk = Desk {
            now_ms: self.now_ms,
            rng: &mut self.rng,
            scenario: &self.scenario,
            seen: &mut self.seen,
            out: Vec::new(),
            wake_ms: None,
        };
        act(client, &mut desk);
        let Desk { out, wake_ms, .. } = desk;
        if let Some(at_ms) = wake_ms {
            client.generation += 1;
            let generation = client.generation;
            self.queue_at(at_ms, Event::Wake { client: number, generation });
        }
        for (from, bytes) in out {
            self.send(from, bytes);
        }
    }

    fn send(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        self.transport(|order| Event::ToTracker { from, order, bytes: bytes.clone() });
    }

    /// Carries a datagram, or loses it, or carries it several times; `order` tells those apart
    /// that were sent one after the other.
    fn transport(&mut self, event: impl Fn(u64) -> Event) {
        let network = self.scenario.network.clone();
        let order = self.queued;
        if self.rng.u8(..100) < network.loss_percent {
            return self.seen.note(Seen::Lost);
        }
        let mut copies = 1;
        while copies < COPIES_MAX && self.rng.u8(..100) < network.repeat_percent {
            self.seen.note(Seen::Repeated);
            copies += 1;
        }
        for _ in 0..copies {
            // One in fifty takes a detour, long enough to arrive after a retransmission.
            let detour_ms = if self.rng.u8(..50) == 0 { self.rng.u64(..40_000) } else { 0 };
            let latency_ms = self.rng.u64(network.latency_ms.clone()) + detour_ms;
            self.queue_at(self.now_ms + latency_ms, event(order));
        }
    }

    fn reload(&mut self) {
        let Scenario { shape, torrents, .. } = &self.scenario;
        let rules = redraw_rules(&mut self.rng, &self.cluster.model.rules, *shape, torrents);
        self.cluster.replace_rules(rules);
        self.seen.note(Seen::Reloaded);
    }

    /// Queues the event for a time from now on, earlier than `within_ms`.
    fn queue_within(&mut self, within_ms: u64, event: Event) {
        let wait_ms = self.rng.u64(..within_ms);
        self.queue_at(self.now_ms + wait_ms, event);
    }

    fn queue_at(&mut self, at_ms: u64, event: Event) {
        self.lively += usize::from(event.is_lively());
        self.queued += 1;
        self.queue.push(Reverse((at_ms, self.queued, event)));
    }
}

impl Event {
    fn is_lively(&self) -> bool {
        !matches!(self, Self::Tick { .. } | Self::Audit)
    }
}

/// Says where a run failed and how to see it again.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, now_ms, scenario, current, .. } = &*self;
            let (s, ms) = ((*now_ms - scenario.start_ms) / 1000, now_ms.wrapping_rem(1000));
            eprintln!("seed {seed} failed {s}.{ms:03} s into the run (Unix {now_ms} ms)");
            eprintln!("in {}, at {current:02x?}", self.description());
            eprintln!(
                "again: RINGTIDE_SEED={seed} cargo test --test random tracker_simulation:: \
                 -- --nocapture"
            );
        }
    }
}

/// The most between two datagrams of noise.
const NOISE_MS: u64 = 8000;
/// The most between two changes of the rules.
const RELOAD_MS: u64 = 900_000;
/// The most copies of one datagram.
const COPIES_MAX: u8 = 4;
