//! What a run is made of, drawn from its seed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use fastrand::Rng;
use ringtide::io::SocketId;
use ringtide::relay::Offload;
use ringtide::relay::table::OutputState;

use super::frames::header_bytes;
use super::link::{Far, Ledger, Link};
use super::node::Means;
use super::rules::{Output, Rule, Rules};

/// What a scenario is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nothing goes wrong: everything must arrive once, in order.
    Clean,
    /// Links that lose, repeat, reorder and spoil.
    Lossy,
    /// Few slots, few buffers, slow sends.
    Scarce,
    /// Sends that fail, devices that do not cut, MTUs that shrink.
    Failing,
    /// Rules that change all the time.
    Changing,
    /// Fragments, and little room for them.
    Fragments,
    /// All of it.
    Wild,
}

impl Shape {
    pub(crate) const ALL: [Self; 7] = [
        Self::Clean,
        Self::Lossy,
        Self::Scarce,
        Self::Failing,
        Self::Changing,
        Self::Fragments,
        Self::Wild,
    ];

    fn is(self, shape: Self) -> bool {
        self == shape || self == Self::Wild
    }
}

/// One who sends to a rule's input at the first relay, or elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) link: usize,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// Of all datagrams.
    pub(crate) fragments_percent: u8,
    pub(crate) super_percent: u8,
    /// Of all frames: those that are no datagram of a rule's.
    pub(crate) noise_percent: u8,
    pub(crate) payload_bytes_max: usize,
}

pub(crate) struct Scenario {
    pub(crate) shape: Shape,
    pub(crate) means: Means,
    /// Of each relay, from the first to the last.
    pub(crate) rules: Vec<Rules>,
    pub(crate) links: Vec<Link>,
    pub(crate) senders: Vec<Sender>,
    /// The rule that each gets its datagrams from.
    pub(crate) receivers: Vec<usize>,
    pub(crate) run_ms: u64,
    /// The most between two changes of the rules.
    pub(crate) change_ms: Option<u64>,
    pub(crate) next_tag: u32,
    pub(crate) next_socket: u16,
}

impl Scenario {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let shape = Shape::ALL[rng.usize(..Shape::ALL.len())];
        let relays = rng.usize(1..=3);
        let mut scenario = Self {
            shape,
            means: draw_means(rng, shape),
            rules: vec![Rules::default(); relays],
            links: Vec::new(),
            senders: Vec::new(),
            receivers: Vec::new(),
            run_ms: if shape.is(Shape::Fragments) { 12_000 } else { 4000 },
            change_ms: shape.is(Shape::Changing).then_some(600),
            next_tag: 0,
            next_socket: 10,
        };
        let rules = rng.usize(1..=3);
        for relay in 0..relays {
            scenario.rules[relay] = scenario.draw_rules(rng, relay, rules);
        }
        for number in 0..rng.u16(1..=5) {
            let sender = scenario.draw_sender(rng, number);
            scenario.senders.push(sender);
        }
        scenario
    }

    fn draw_rules(&mut self, rng: &mut Rng, relay: usize, count: usize) -> Rules {
        let shape = self.shape;
        let held_max = match shape {
            Shape::Fragments | Shape::Wild => [0, 2, 5, 12][rng.usize(..4)],
            _ => 16,
        };
        let off = shape != Shape::Clean && rng.u8(..5) == 0;
        let mut rules = Rules {
            generation: 1,
            offload: if off { Offload::Off } else { Offload::Auto },
            fragments_held_max: held_max,
            rules: Vec::new(),
        };
        for index in 0..count {
            let input = any_input(rng, relay, index, shape);
            let mut rule = Rule {
                input,
                sources: Vec::new(),
                outputs: Vec::new(),
                active: true,
                counters: Arc::default(),
            };
            let outputs = if shape == Shape::Clean { rng.usize(1..4) } else { rng.usize(..4) };
            for number in 0..outputs {
                let output = self.draw_output(rng, relay, index, number == 0);
                rule.outputs.push(output);
            }
            rules.rules.push(rule);
        }
        rules
    }

    /// An output of a rule: the first may lead on to the next relay.
    pub(crate) fn draw_output(
        &mut self,
        rng: &mut Rng,
        relay: usize,
        rule: usize,
        first: bool,
    ) -> Output {
        // A chain that ends early leaves receivers behind it without anything.
        let ends_early = self.shape != Shape::Clean && rng.u8(..8) == 0;
        let leads_on = first && relay + 1 < self.rules.len() && !ends_early;
        let (far, to) = if leads_on {
            (Far::Node(relay + 1), any_input(rng, relay + 1, rule, self.shape))
        } else {
            self.receivers.push(rule);
            let to = any_input(rng, 9, self.receivers.len(), self.shape);
            (Far::Receiver(self.receivers.len() - 1), to)
        };
        let link = self.draw_link(rng, far);
        self.next_tag += 1;
        self.next_socket += 1;
        let mut output = Output {
            link,
            to,
            socket: Some(SocketId(self.next_socket)),
            segment_max: 0,
            payload_max: if to.is_ipv6() { 65_527 } else { 65_507 },
            keep_ttl: rng.bool(),
            keep_dscp: rng.bool(),
            state: Arc::new(OutputState { tag: self.next_tag, ..OutputState::default() }),
        };
        if self.shape.is(Shape::Failing) && rng.u8(..4) == 0 {
            output.payload_max = rng.usize(1500..4000);
        }
        self.fit(&mut output);
        output
    }

    /// Uses the MTU that the output's link has now.
    pub(crate) fn fit(&self, output: &mut Output) {
        let headers = header_bytes(output.to.is_ipv6());
        output.segment_max = (self.links[output.link].mtu - headers).min(output.payload_max);
    }

    fn draw_link(&mut self, rng: &mut Rng, far: Far) -> usize {
        let shape = self.shape;
        let percent = |rng: &mut Rng, of: Shape, most: u8| {
            if shape.is(of) { rng.u8(..=most) } else { 0 }
        };
        let lossy = shape.is(Shape::Lossy) || shape == Shape::Fragments;
        let in_order = !lossy;
        self.links.push(Link {
            far,
            loss_percent: if lossy { rng.u8(..20) } else { 0 },
            repeat_percent: if lossy { rng.u8(..15) } else { 0 },
            spoil_percent: percent(rng, Shape::Lossy, 8),
            latency_ms: 1..if in_order { 2 } else { rng.u64(2..60) },
            in_order,
            mtu: [1280, 1500, 1500, 1500, 9000][rng.usize(..5)],
            keeps_super_packets: rng.bool(),
            cuts: !(shape.is(Shape::Failing) && rng.u8(..3) == 0),
            error_percent: percent(rng, Shape::Failing, 10),
            ledger: Ledger::default(),
        });
        self.links.len() - 1
    }

    fn draw_sender(&mut self, rng: &mut Rng, number: u16) -> Sender {
        let rules = &self.rules[0].rules;
        let destination = rules[rng.usize(..rules.len())].input;
        let source: IpAddr = match destination.is_ipv6() {
            true => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1 + number).into(),
            false => Ipv4Addr::new(10, 0, 0, 1 + number as u8).into(),
        };
        let shape = self.shape;
        let clean = shape == Shape::Clean;
        let much = if shape.is(Shape::Fragments) { 60 } else { 10 };
        Sender {
            link: self.draw_link(rng, Far::Node(0)),
            source: SocketAddr::new(source, 40_000 + number),
            destination,
            fragments_percent: if clean { 0 } else { rng.u8(..much) },
            super_percent: rng.u8(..50),
            noise_percent: if clean { 0 } else { rng.u8(..20) },
            payload_bytes_max: [200, 1400, 1400, 3000][rng.usize(..4)],
        }
    }
}

fn draw_means(rng: &mut Rng, shape: Shape) -> Means {
    let scarce = shape.is(Shape::Scarce);
    let slow = scarce || shape.is(Shape::Changing) || shape.is(Shape::Failing);
    Means {
        // More than fragments hold.
        buffers: if scarce { rng.u16(24..64) } else { 256 },
        // Where sends take long, too few for one output to hold all that it may.
        slots: match (scarce, slow) {
            (true, _) => rng.usize(2..60),
            (false, true) => 60,
            (false, false) => 600,
        },
        queue_max: if scarce { rng.usize(4..60) } else { 4096 },
        send_ms_max: if slow { rng.u64(0..40) } else { 0 },
        in_order: shape == Shape::Clean || rng.bool(),
    }
}

/// The input of a rule: of one relay always the same address.
fn any_input(rng: &mut Rng, relay: usize, rule: usize, shape: Shape) -> SocketAddr {
    let port = 5000 + rule as u16;
    let ipv6 = match shape {
        Shape::Fragments => true,
        // The same for all who ask about this input.
        _ if relay < 9 => Rng::with_seed((relay * 10 + rule) as u64).bool(),
        _ => rng.bool(),
    };
    match ipv6 {
        true => (Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, relay as u16, rule as u16), port).into(),
        false => (Ipv4Addr::new(239, 1, relay as u8, rule as u8), port).into(),
    }
}
