//! The event queue: senders, links, relays and receivers in virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use ringtide::io::Now;
use ringtide::relay::stats::RelayDrop;

use super::coverage::{Coverage, Seen};
use super::frames::super_packet;
use super::frames::{Checksum, Head, Made, Payload, Truth, fragments, header_bytes, plain};
use super::link::Far;
use super::model::Due;
use super::node::Node;
use super::rules::Output;
use super::scenario::{Scenario, Shape};

/// What became of a run.
pub(crate) struct Outcome {
    pub(crate) seen: Coverage,
    /// By reason, of all relays.
    pub(crate) drops: Vec<(RelayDrop, u64)>,
    pub(crate) digest: u64,
    /// Datagrams that receivers got.
    pub(crate) received: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Send {
        sender: usize,
    },
    /// A frame, by its number, comes out of a link.
    Arrive {
        link: usize,
        frame: u64,
    },
    Turn {
        node: usize,
    },
    Tick {
        node: usize,
    },
    Change {
        node: usize,
    },
}

pub(crate) struct World {
    seed: u64,
    rng: Rng,
    scenario: Scenario,
    start: Now,
    now_ms: u64,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    queued: u64,
    on_the_way: BTreeMap<u64, Made>,
    nodes: Vec<Node>,
    identification: u32,
    /// All payloads that senders made.
    made: HashSet<Payload>,
    /// Those that are whole, by rule.
    sent: Vec<Vec<Payload>>,
    /// What the relays' own outputs put on each link.
    put: Vec<u64>,
    /// Datagrams sent by outputs that were gone when the send ended.
    put_nowhere: u64,
    received: Vec<Vec<Payload>>,
    /// Number of the newest frame that came out of each link.
    newest: Vec<u64>,
    seen: Coverage,
    digest: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let scenario = Scenario::draw(&mut rng);
        let nodes = scenario
            .rules
            .iter()
            .map(|rules| Node::new(rules.clone(), scenario.means, rng.u64(..)));
        let nodes = nodes.collect();
        let mut world = Self {
            seed,
            start: Now::from_unix(Duration::from_secs(1_700_000_000)),
            now_ms: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            on_the_way: BTreeMap::new(),
            nodes,
            identification: 0,
            made: HashSet::new(),
            sent: Vec::new(),
            put: Vec::new(),
            put_nowhere: 0,
            received: Vec::new(),
            newest: Vec::new(),
            seen: Coverage::default(),
            digest: 0,
            scenario,
            rng,
        };
        world.populate();
        world
    }

    pub(crate) fn description(&self) -> String {
        let Scenario { shape, rules, senders, receivers, means, .. } = &self.scenario;
        let (relays, senders, receivers) = (rules.len(), senders.len(), receivers.len());
        format!("{shape:?}, {relays} relays, {senders} senders, {receivers} receivers, {means:?}")
    }

    pub(crate) fn run(mut self) -> Outcome {
        // Beyond the last datagram: what waits for fragments ends.
        let end_ms = self.scenario.run_ms + 7000;
        while let Some(Reverse((at_ms, _, event))) = self.queue.pop() {
            if at_ms > end_ms && !self.is_busy() {
                break;
            }
            assert!(at_ms < end_ms + DRAIN_MS_MAX, "what is on its way never ends");
            self.now_ms = at_ms;
            self.happen(event);
        }
        self.finish()
    }

    /// Whether something is on its way: with few slots and slow sends it takes its time.
    fn is_busy(&self) -> bool {
        !self.on_the_way.is_empty() || self.nodes.iter().any(Node::is_busy)
    }

    fn populate(&mut self) {
        self.grow();
        for sender in 0..self.scenario.senders.len() {
            self.queue_within(20, Event::Send { sender });
        }
        for node in 0..self.nodes.len() {
            // Workers tick at different moments.
            self.queue_within(TICK_MS, Event::Tick { node });
            if let Some(change_ms) = self.scenario.change_ms {
                self.queue_within(change_ms, Event::Change { node });
            }
        }
    }

    /// Makes room for links and receivers that are new.
    fn grow(&mut self) {
        self.put.resize(self.scenario.links.len(), 0);
        self.newest.resize(self.scenario.links.len(), 0);
        self.received.resize(self.scenario.receivers.len(), Vec::new());
    }

    fn now(&self) -> Now {
        self.start.after(Duration::from_millis(self.now_ms))
    }

    fn happen(&mut self, event: Event) {
        let sending = self.now_ms < self.scenario.run_ms;
        match event {
            Event::Send { sender } => {
                self.send(sender);
                if sending {
                    self.queue_within(60, event);
                }
            }
            Event::Arrive { link, frame } => self.arrive(link, frame),
            Event::Turn { node } => self.turn(node),
            Event::Tick { node } => {
                let now = self.now();
                self.nodes[node].tick(now);
                self.queue_at(self.now_ms + TICK_MS, event);
            }
            Event::Change { node } => {
                self.change(node);
                if sending && let Some(change_ms) = self.scenario.change_ms {
                    self.queue_within(change_ms, event);
                }
            }
        }
    }

    fn send(&mut self, sender: usize) {
        let sender = self.scenario.senders[sender].clone();
        let mtu = self.scenario.links[sender.link].mtu;
        let (rng, seen) = (&mut self.rng, &mut self.seen);
        let frames = sender.burst(rng, mtu, &mut self.identification, seen);
        for made in frames {
            match &made.truth {
                Truth::Datagrams(head, payloads) => {
                    self.made.extend(payloads.iter().cloned());
                    if let Some(rule) = rule_of(*head) {
                        let rules = self.sent.len().max(rule + 1);
                        self.sent.resize(rules, Vec::new());
                        self.sent[rule].extend(payloads.iter().cloned());
                    }
                }
                Truth::Fragment(_, piece) => drop(self.made.insert(Rc::clone(&piece.payload))),
                Truth::Refused(_) => {}
            }
            self.transport(sender.link, made);
        }
    }

    fn transport(&mut self, link: usize, made: Made) {
        let (rng, seen) = (&mut self.rng, &mut self.seen);
        for (latency_ms, made) in self.scenario.links[link].carry(made, rng, seen) {
            self.queued += 1;
            let frame = self.queued;
            self.on_the_way.insert(frame, made);
            self.queue_at(self.now_ms + latency_ms, Event::Arrive { link, frame });
        }
    }

    /// A frame comes out of a link.
    fn arrive(&mut self, link: usize, frame: u64) {
        let made = self.on_the_way.remove(&frame).unwrap();
        self.seen.note_if(frame < self.newest[link], Seen::Overtaken);
        self.newest[link] = self.newest[link].max(frame);
        let far = &mut self.scenario.links[link];
        far.ledger.arrived += made.truth.count();
        match far.far {
            Far::Node(node) => {
                self.seen.note_if(node == 1, Seen::SecondHop);
                self.seen.note_if(node == 2, Seen::ThirdHop);
                self.nodes[node].arrive(made);
                self.wake(node);
            }
            Far::Receiver(receiver) => self.receive(receiver, made),
        }
    }

    /// Nothing arrives that no sender made, whatever became of it on the way.
    fn receive(&mut self, receiver: usize, made: Made) {
        let Truth::Datagrams(_, payloads) = made.truth else { return };
        for payload in payloads {
            assert!(self.made.contains(&payload), "{payload:02x?} was never sent");
            let sum = payload.iter().fold(payload.len() as u64, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
            });
            self.digest = self.digest.wrapping_mul(31).wrapping_add(sum ^ receiver as u64);
            self.received[receiver].push(payload);
        }
    }

    fn wake(&mut self, node: usize) {
        if !std::mem::replace(&mut self.nodes[node].turn_due, true) {
            self.queue_at(self.now_ms + TURN_MS, Event::Turn { node });
        }
    }

    fn turn(&mut self, at: usize) {
        let now = self.now();
        let links = &self.scenario.links;
        let mut departures: Vec<(Option<Output>, Departure)> = Vec::new();
        let node = &mut self.nodes[at];
        node.turn_due = false;
        node.turn(
            now,
            |rules, flight, rng| {
                let output = rules.output(flight.tag)?;
                let headers = header_bytes(output.to.is_ipv6());
                let size = flight.options.segment_bytes.map(|size| usize::from(size) + headers);
                links[output.link].fate(size, rng)
            },
            |rules, flight| {
                let departure = Departure {
                    dues: flight.dues.clone(),
                    segmented: flight.options.segment_bytes.is_some(),
                    ttl: flight.options.ttl,
                    tos: flight.options.tos,
                };
                departures.push((rules.output(flight.tag).cloned(), departure));
            },
        );
        let busy = node.is_busy();
        for (output, departure) in departures {
            match output {
                Some(output) => self.depart(at, &output, departure),
                // Where the output is gone, so is its link.
                None => self.put_nowhere += departure.dues.len() as u64,
            }
        }
        if busy {
            self.wake(at);
        }
    }

    /// A send leaves a relay as frames on a link.
    fn depart(&mut self, node: usize, output: &Output, departure: Departure) {
        let link = &self.scenario.links[output.link];
        self.put[output.link] += departure.dues.len() as u64;
        let source: IpAddr = match output.to.is_ipv6() {
            true => "fd09::1".parse().unwrap(),
            false => "10.9.0.1".parse().unwrap(),
        };
        let head = Head {
            source: SocketAddr::new(source, 50_000 + node as u16),
            destination: output.to,
            ttl: departure.ttl.unwrap_or(1),
            tos: departure.tos.unwrap_or(0),
        };
        let payloads = departure.dues.into_iter().map(|due| due.payload);
        if departure.segmented && link.keeps_super_packets {
            return self.transport(output.link, super_packet(head, payloads.collect()));
        }
        let (mtu, far) = (link.mtu, link.far);
        for payload in payloads {
            let long = header_bytes(head.source.is_ipv6()) + payload.len() > mtu;
            if long && head.source.is_ipv6() && matches!(far, Far::Node(_)) {
                self.identification += 1;
                for made in fragments(head, &payload, self.identification, mtu) {
                    self.transport(output.link, made);
                }
            } else {
                // The kernel at the other end puts IPv4 fragments together, as a receiver does.
                self.transport(output.link, plain(head, &payload, Checksum::Right));
            }
        }
    }

    fn change(&mut self, at: usize) {
        let mut rules = std::mem::take(&mut self.nodes[at].rules);
        for _ in 0..self.rng.usize(1..4) {
            self.change_once(at, &mut rules);
        }
        self.nodes[at].rules = rules;
        self.nodes[at].publish();
        self.grow();
    }

    fn queue_within(&mut self, within_ms: u64, event: Event) {
        let wait_ms = self.rng.u64(1..=within_ms);
        self.queue_at(self.now_ms + wait_ms, event);
    }

    fn queue_at(&mut self, at_ms: u64, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse((at_ms, self.queued, event)));
    }

    /// Everything adds up.
    fn finish(mut self) -> Outcome {
        let mut drops: Vec<_> = RelayDrop::ALL.iter().map(|reason| (*reason, 0)).collect();
        assert!(self.on_the_way.is_empty(), "nothing is on its way");
        for node in &mut self.nodes {
            node.finish();
            for (reason, sum) in &mut drops {
                *sum += node.side.model.dropped(*reason);
            }
            self.seen.merge(&node.side.model.seen);
        }
        self.scenario.links.iter().for_each(super::link::Link::check);
        let sent: u64 = self.nodes.iter().map(|node| node.side.model.sent()).sum();
        let put = self.put.iter().sum::<u64>() + self.put_nowhere;
        assert_eq!(sent, put, "what was sent is on the links, or was when its link went");
        for link in &self.scenario.links {
            if let Far::Receiver(receiver) = link.far {
                let received = self.received[receiver].len() as u64;
                let refused = link.ledger.arrived - received;
                assert!(refused == 0 || link.spoil_percent > 0, "a receiver refuses nothing else");
            }
        }
        if self.scenario.shape == Shape::Clean {
            let wrong = drops.iter().find(|(_, count)| *count > 0);
            assert_eq!(wrong, None, "nothing goes wrong");
            self.check_order();
        }
        let received = self.received.iter().map(|list| list.len() as u64).sum();
        let (seen, digest) = (self.seen.clone(), self.digest);
        Outcome { seen, drops, digest, received }
    }

    /// Each receiver got each datagram of its rule once, in the order in which they were sent.
    fn check_order(&self) {
        for (list, rule) in self.received.iter().zip(&self.scenario.receivers) {
            let sent = self.sent.get(*rule).map_or(&[][..], Vec::as_slice);
            assert!(list == sent, "a receiver of rule {rule} got something else");
        }
    }
}

/// Ports of inputs count up with the rules.
fn rule_of(head: Head) -> Option<usize> {
    usize::from(head.destination.port()).checked_sub(5000)
}

/// What a send put on a link.
struct Departure {
    dues: Vec<Due>,
    segmented: bool,
    ttl: Option<u8>,
    tos: Option<u8>,
}

/// Says where a run failed and how to see it again.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, now_ms, .. } = &*self;
            eprintln!("seed {seed} failed {now_ms} ms into the run, in {}", self.description());
            eprintln!(
                "again: RINGTIDE_SEED={seed} cargo test --test random relay_simulation \
                 -- --nocapture"
            );
        }
    }
}

const TICK_MS: u64 = 100;
const TURN_MS: u64 = 1;

/// How long what is on its way at the end may take: every sender's last burst through few slots.
const DRAIN_MS_MAX: u64 = 600_000;

#[path = "changes.rs"]
mod changes;
