//! [`Torrents`] and [`Shards`] against a plain model.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use fastrand::Rng;

use super::*;
use crate::io::Now;
use crate::values::InfoHash;

/// What the tests need of a family beside what the storage needs.
trait Tested: PeerFamily<Endpoint: Ord> + Debug + Clone {
    fn endpoint(number: u16, port: u16) -> Self::Endpoint;
    fn from_wire(wire: &[u8]) -> Self::Endpoint;
    fn of(record: &Self::Record) -> Self::Endpoint {
        let mut wire = vec![0; Self::Record::COMPACT_BYTES];
        record.write_compact(&mut wire);
        Self::from_wire(&wire)
    }
}

impl Tested for Ipv4 {
    fn endpoint(number: u16, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from_bits(number.into()), port)
    }

    fn from_wire(wire: &[u8]) -> SocketAddrV4 {
        let (address, port) = wire.split_first_chunk::<4>().expect("an address");
        SocketAddrV4::new((*address).into(), u16::from_be_bytes(port.try_into().expect("a port")))
    }
}

impl Tested for Ipv6 {
    fn endpoint(number: u16, port: u16) -> SocketAddrV6 {
        SocketAddrV6::new(Ipv6Addr::from_bits(u128::from(number) << 40), port, 0, 0)
    }

    fn from_wire(wire: &[u8]) -> SocketAddrV6 {
        let (address, port) = wire.split_first_chunk::<16>().expect("an address");
        let port = u16::from_be_bytes(port.try_into().expect("a port"));
        SocketAddrV6::new((*address).into(), port, 0, 0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ModelPeer {
    seeder: bool,
    counted: bool,
    announced_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ModelTorrent<E: Ord> {
    completed: u32,
    peers: BTreeMap<E, ModelPeer>,
}

/// The storage and its model, and how often each thing happened.
struct Pair<F: Tested> {
    torrents: Torrents<F>,
    model: BTreeMap<InfoHash, ModelTorrent<F::Endpoint>>,
    limits: Limits,
    now_s: u64,
    rng: Rng,
    reached: BTreeMap<String, u32>,
}

const NO_LIMITS: Limits = Limits::NONE;
const TIMEOUT_S: u32 = 1000;

fn hash(number: u8) -> InfoHash {
    InfoHash([number; 20])
}

fn at(seconds: u64) -> Now {
    Now::from_unix(Duration::from_secs(seconds))
}

impl<F: Tested> Pair<F> {
    fn new(seed: u64, limits: Limits) -> Self {
        Self {
            torrents: Torrents::new([seed, 1]),
            model: BTreeMap::new(),
            limits,
            now_s: (1 << 14) * 9 - 3000,
            rng: Rng::with_seed(seed),
            reached: BTreeMap::new(),
        }
    }

    fn reach(&mut self, what: impl Debug) {
        *self.reached.entry(format!("{what:?}")).or_default() += 1;
    }

    fn model_peers(&self) -> usize {
        self.model.values().map(|torrent| torrent.peers.len()).sum()
    }

    /// What should become of an announcing peer; changes the model.
    fn expect(&mut self, request: &Announce<'_, F>) -> (Outcome, bool) {
        let (peers, torrents) = (self.model_peers(), self.model.len());
        let hash = *request.info_hash;
        if request.event == Event::Stopped {
            if let Some(torrent) = self.model.get_mut(&hash) {
                torrent.peers.remove(&request.peer);
            }
            self.model.retain(|_, torrent| !torrent.peers.is_empty());
            return (Outcome::Removed, false);
        }
        if F::Record::new(request.peer, State::new(request.now, true, true)).is_empty() {
            return (Outcome::Unstored(Unstored::PortZero), false);
        }
        let known = self.model.get(&hash);
        let earlier = known.and_then(|torrent| torrent.peers.get(&request.peer)).copied();
        if earlier.is_none() {
            let full = if known.is_none() && torrents >= self.limits.torrents {
                Some(Unstored::TorrentCap)
            } else if peers >= self.limits.peers {
                Some(Unstored::PeerCap)
            } else {
                let size = known.map_or(0, |torrent| torrent.peers.len());
                (size >= self.limits.peers_per_torrent).then_some(Unstored::SwarmCap)
            };
            if let Some(reason) = full {
                return (Outcome::Unstored(reason), false);
            }
        }
        let empty = || ModelTorrent { completed: 0, peers: BTreeMap::new() };
        let torrent = self.model.entry(hash).or_insert_with(empty);
        let completed = request.event == Event::Completed;
        let counted_before = earlier.is_some_and(|peer| peer.counted);
        let counted = counted_before || completed;
        torrent.completed += u32::from(counted && !counted_before);
        let announced_s = request.now.seconds();
        let peer = ModelPeer { seeder: request.seeder, counted, announced_s };
        torrent.peers.insert(request.peer, peer);
        (Outcome::Stored, counted && !counted_before)
    }

    fn announce(&mut self, request: &Announce<'_, F>, out_bytes: usize) {
        let (outcome, completed) = self.expect(request);
        let mut out = vec![0; out_bytes];
        let mut sink = CompactPeers::new(&mut out);
        let got = self.torrents.announce(request, &self.limits, &mut self.rng, &mut sink);
        let written = sink.written();
        assert_eq!((got.outcome, got.completed), (outcome, completed));
        let empty = BTreeMap::new();
        let peers = self.model.get(request.info_hash).map_or(&empty, |torrent| &torrent.peers);
        let unstored = matches!(outcome, Outcome::Unstored(_));
        let count = |kind: bool| {
            let stored = peers.values().filter(|peer| peer.seeder == kind).count();
            stored as u32 + u32::from(unstored && request.seeder == kind)
        };
        assert_eq!((got.seeders, got.leechers), (count(true), count(false)));
        let may_see = |(endpoint, peer): &(&F::Endpoint, &ModelPeer)| {
            **endpoint != request.peer && !(request.seeder && peer.seeder)
        };
        let eligible: BTreeSet<_> = peers.iter().filter(may_see).map(|(peer, _)| *peer).collect();
        let stopped = request.event == Event::Stopped;
        let room = out_bytes / F::Record::COMPACT_BYTES;
        let wanted = if stopped { 0 } else { eligible.len().min(request.numwant).min(room) };
        assert_eq!(written, wanted * F::Record::COMPACT_BYTES);
        let wire = out[..written].chunks(F::Record::COMPACT_BYTES);
        let named: BTreeSet<_> = wire.map(F::from_wire).collect();
        assert_eq!(named.len(), wanted, "no peer twice");
        assert!(named.is_subset(&eligible));
        let cut = if wanted < eligible.len() { "cut" } else { "whole" };
        let size = if peers.len() > 40 { "large" } else { "small" };
        self.reach((request.event, request.seeder, cut, size));
        self.reach(outcome);
        self.reach((request.event, completed));
    }

    fn random_announce(&mut self, peers: u16) {
        // Torrent 0 gets half of the announces and becomes large.
        let torrent = self.rng.u8(..12).saturating_sub(6);
        let rng = &mut self.rng;
        let info_hash = hash(torrent);
        let events = [Event::None, Event::Started, Event::Completed, Event::Stopped];
        let port = if rng.u8(..40) == 0 { 0 } else { rng.u16(1..3) }; // Also with address 0.
        let universe = if torrent > 3 { 3 } else { peers };
        let request = Announce {
            now: at(self.now_s),
            info_hash: &info_hash,
            peer: F::endpoint(rng.u16(..universe), port),
            seeder: rng.u8(..3) == 0,
            event: events[[0, 0, 0, 1, 1, 1, 2, 3][rng.usize(..8)]],
            numwant: [0, 1, 2, 20, 50, 200][rng.usize(..6)],
        };
        let out_bytes = rng.choice([0, 100, 1452, 9000]).expect("one");
        self.announce(&request, out_bytes);
    }

    /// One slice of expiry: it may remove only what is old; the model follows it.
    fn random_expiry(&mut self) {
        let budget = self.rng.usize(1..300);
        let before = (self.model.len(), self.model_peers());
        let got = self.torrents.expire(at(self.now_s), TIMEOUT_S, budget);
        let stored = self.stored();
        for (hash, torrent) in &self.model {
            for (endpoint, peer) in &torrent.peers {
                let kept = stored.get(hash).is_some_and(|peers| peers.contains(endpoint));
                let old = self.now_s - peer.announced_s > u64::from(TIMEOUT_S);
                assert!(kept || old, "{endpoint:?} was fresh");
            }
        }
        for (hash, torrent) in &mut self.model {
            let peers = stored.get(hash);
            torrent.peers.retain(|peer, _| peers.is_some_and(|peers| peers.contains(peer)));
        }
        self.model.retain(|_, torrent| !torrent.peers.is_empty());
        let after = (self.model.len(), self.model_peers());
        assert_eq!((got.torrents, got.peers), (before.0 - after.0, before.1 - after.1));
        self.reach(("expiry", got.finished, got.peers > 0, got.torrents > 0));
    }

    /// Who is stored, read from the slab.
    fn stored(&self) -> BTreeMap<InfoHash, BTreeSet<F::Endpoint>> {
        let slab = &self.torrents.slab;
        let torrents = (0..slab.numbers()).filter_map(|number| slab.get(number));
        let peers = |swarm: &swarm::Swarm<F::Record>| swarm.to_vec().iter().map(F::of).collect();
        torrents.map(|torrent| (*index::Named::info_hash(torrent), peers(&torrent.swarm))).collect()
    }

    /// Everything stored is as in the model.
    fn check(&self) {
        assert_eq!(self.torrents.torrents(), self.model.len());
        assert_eq!(self.torrents.peers(), self.model_peers());
        let members = |torrent: &ModelTorrent<F::Endpoint>| torrent.peers.keys().copied().collect();
        let expected: BTreeMap<InfoHash, BTreeSet<_>> =
            self.model.iter().map(|(hash, torrent)| (*hash, members(torrent))).collect();
        assert_eq!(self.stored(), expected);
        for number in 0..=255 {
            let expected = self.model.get(&hash(number)).map(|torrent| {
                let seeders = torrent.peers.values().filter(|peer| peer.seeder).count() as u32;
                let leechers = torrent.peers.len() as u32 - seeders;
                ScrapeCounts { seeders, completed: torrent.completed, leechers }
            });
            assert_eq!(self.torrents.scrape(&hash(number)), expected);
        }
    }

    fn run(&mut self, steps: usize, peers: u16) {
        for step in 0..steps {
            match self.rng.u8(..20) {
                0 => self.random_expiry(),
                1 => self.now_s += self.rng.u64(..60),
                _ => self.random_announce(peers),
            }
            // Now and then a silence in which most or all expires, if the sweep comes by.
            if self.rng.u16(..3000) == 0 {
                self.now_s += u64::from(TIMEOUT_S) * self.rng.u64(1..3) - 500;
                (0..self.rng.u8(..60)).for_each(|_| self.random_expiry());
            }
            if step % 100 == 0 {
                self.check();
            }
        }
        self.check();
    }
}

#[test]
fn torrents_behave_as_the_model_ipv4() {
    let mut pair = Pair::<Ipv4>::new(1, NO_LIMITS);
    pair.run(60_000, 250);
    for event in [Event::None, Event::Started, Event::Completed, Event::Stopped] {
        for (seeder, cut, size) in [(true, "whole", "small"), (false, "whole", "small")]
            .into_iter()
            .chain([true, false].map(|seeder| (seeder, "whole", "large")))
            .chain([true, false].map(|seeder| (seeder, "cut", "large")))
        {
            let what = format!("{:?}", (event, seeder, cut, size));
            let never = event == Event::Stopped && cut == "whole";
            assert!(never || pair.reached.contains_key(&what), "{what} of {:#?}", pair.reached);
        }
    }
    let wanted = [
        format!("{:?}", (Event::Completed, true)),
        format!("{:?}", (Event::Completed, false)),
        format!("{:?}", Outcome::Unstored(Unstored::PortZero)),
        format!("{:?}", ("expiry", true, false, false)),
        format!("{:?}", ("expiry", false, true, false)),
        format!("{:?}", ("expiry", true, true, true)),
    ];
    wanted.iter().for_each(|what| assert!(pair.reached[what] > 3, "{what}"));
}

#[test]
fn torrents_behave_as_the_model_ipv6() {
    Pair::<Ipv6>::new(2, NO_LIMITS).run(20_000, 200);
}

#[test]
fn caps_are_kept() {
    let cases = [
        (Limits { torrents: 3, ..NO_LIMITS }, Unstored::TorrentCap),
        (Limits { torrents: 0, ..NO_LIMITS }, Unstored::TorrentCap),
        (Limits { peers: 50, ..NO_LIMITS }, Unstored::PeerCap),
        (Limits { peers: 0, ..NO_LIMITS }, Unstored::PeerCap),
        (Limits { peers_per_torrent: 60, ..NO_LIMITS }, Unstored::SwarmCap),
        (Limits { peers_per_torrent: 0, ..NO_LIMITS }, Unstored::SwarmCap),
        (Limits { torrents: 4, peers: 70, peers_per_torrent: 40, ..NO_LIMITS }, Unstored::SwarmCap),
    ];
    for (seed, (limits, counter)) in (10..).zip(cases) {
        let mut pair = Pair::<Ipv4>::new(seed, limits);
        pair.run(6000, 100);
        let what = format!("{:?}", Outcome::Unstored(counter));
        assert!(pair.reached.get(&what).is_some_and(|count| *count > 100), "{what}");
    }
}

#[test]
fn recover_rebuilds_everything_from_the_records() {
    let mut pair = Pair::<Ipv4>::new(3, NO_LIMITS);
    pair.run(4000, 250);
    pair.torrents.index.clear();
    (pair.torrents.peers, pair.torrents.sweep) = (12_345, Default::default());
    let mut rng = Rng::with_seed(4);
    pair.torrents.recover(&mut rng);
    pair.check();
    pair.run(4000, 250);
}

/// `count` leechers of torrent `number`, announced at `seconds`.
fn fill(torrents: &mut Torrents<Ipv4>, number: u8, count: u16, seconds: u64) {
    let mut rng = Rng::with_seed(5);
    for peer in 0..count {
        let request = Announce {
            now: at(seconds),
            info_hash: &hash(number),
            peer: Ipv4::endpoint(peer, 6881),
            seeder: peer % 4 == 0,
            event: Event::Started,
            numwant: 0,
        };
        torrents.announce(&request, &NO_LIMITS, &mut rng, &mut NoPeers);
    }
}

#[test]
fn paced_expiry_is_in_time_for_any_timeout() {
    for timeout_s in [0, 1, 2, 30, 2700, PEER_TIMEOUT_S_MAX] {
        let mut torrents = Torrents::<Ipv4>::new([1, 2]);
        let start = 1_700_000_000;
        fill(&mut torrents, 1, 5000, start);
        (2..200).for_each(|number| fill(&mut torrents, number, 2, start));
        let mut pace = Pace::default();
        let mut elapsed = Duration::ZERO;
        let mut largest = 0;
        while torrents.peers() > 0 {
            elapsed += Duration::from_millis(100);
            let now = at(start).after(elapsed);
            let before = torrents.peers();
            let budget = pace.budget(now, timeout_s, torrents.sweep_visits());
            let expired = torrents.expire(now, timeout_s, budget);
            assert_eq!(before - torrents.peers(), expired.peers);
            largest = largest.max(expired.peers);
            if elapsed <= Duration::from_secs(timeout_s.into()) {
                assert_eq!(expired.peers, 0, "timeout {timeout_s} s, after {elapsed:?}");
            }
            let latest = u64::from(timeout_s) + u64::from(timeout_s / 4).max(2);
            assert!(elapsed < Duration::from_secs(latest), "timeout {timeout_s} s");
        }
        assert_eq!(torrents.torrents(), 0);
        assert!(largest < EXPIRY_VISITS_MAX + 1000);
    }
}

#[test]
fn peers_that_keep_announcing_live_on_across_the_wrap() {
    let mut torrents = Torrents::<Ipv4>::new([3, 4]);
    let wrap = 1 << 14;
    for seconds in (wrap - 2000..wrap + 2000).step_by(200) {
        fill(&mut torrents, 7, 100, seconds);
        while !torrents.expire(at(seconds + 199), 199, 64).finished {}
        assert_eq!(torrents.peers(), 100);
    }
    while !torrents.expire(at(wrap + 4000), 199, 64).finished {}
    assert_eq!((torrents.peers(), torrents.torrents()), (0, 0));
}

#[test]
fn a_poisoned_shard_lives_on() {
    let shards = Shards::new(3, &Secrets::from_seed(&[9; Secrets::SEED_BYTES]));
    fill(&mut shards.lock(1).ipv4, 1, 100, 5);
    let panicked = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut shard = shards.lock(1);
            shard.ipv4.index.clear();
            panic!("as a worker might, in the midst of a change");
        });
        worker.join().is_err()
    });
    assert!(panicked);
    let expected = ScrapeCounts { seeders: 25, completed: 0, leechers: 75 };
    assert_eq!(shards.lock(1).ipv4.scrape(&hash(1)), Some(expected));
    assert_eq!(shards.lock(1).ipv4.peers(), 100);
}

#[test]
fn gauges_follow_without_the_lock() {
    let shards = Shards::new(2, &Secrets::from_seed(&[8; Secrets::SEED_BYTES]));
    fill(&mut shards.lock(1).ipv4, 1, 40, 5);
    let held = shards.lock(1);
    let peers: Vec<usize> = shards.gauges().map(Gauges::peers_ipv4).collect();
    let torrents: Vec<usize> = shards.gauges().map(Gauges::torrents_ipv4).collect();
    assert_eq!((peers, torrents), (vec![0, 40], vec![0, 1]));
    drop(held);
    let expired = shards.lock(1).expire_due(at(2000), 100);
    assert_eq!((expired.peers, expired.torrents), (40, 1));
    assert_eq!(
        shards.gauges().map(|gauges| gauges.peers_ipv4() + gauges.peers_ipv6()).sum::<usize>(),
        0
    );
}

#[test]
fn owners_are_within_the_shards() {
    let shards = Shards::new(5, &Secrets::from_seed(&[7; Secrets::SEED_BYTES]));
    let owners: BTreeSet<usize> = (0..=255).map(|number| shards.owner(&hash(number))).collect();
    assert_eq!(owners, (0..5).collect());
    assert_eq!(Shards::new(0, &Secrets::random().expect("randomness")).len(), 1);
}
