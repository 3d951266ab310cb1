//! Everything that is decided before the first request: who asks for what, from where, how often.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;

use super::popularity::{Picker, Popularity};
use crate::values::InfoHash;
use crate::wire::bep15::Family;

/// What all clients share.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) target: SocketAddr,
    pub(super) clients: usize,
    /// Requests per second of each client; `None` is a closed loop.
    pub(super) rate: Option<f64>,
    pub(super) in_flight: usize,
    pub(super) duration: Duration,
    pub(super) timeout: Duration,
    /// Torrents of each client.
    pub(super) hashes: usize,
    pub(super) torrents: u32,
    pub(super) popularity: Popularity,
    /// Peers that are announced, over all clients.
    pub(super) peers: usize,
    /// The share of them that start as seeders.
    pub(super) seeders: f64,
    /// The share of announces that complete or stop a download.
    pub(super) churn: f64,
    pub(super) numwant: i32,
    /// Announces between two scrapes of a client; `None` is no scrape.
    pub(super) scrape_every: Option<u32>,
    /// Whether requests of one client that are due together leave in one send.
    pub(super) coalesce: bool,
    pub(super) seed: u64,
}

/// One peer that a client announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) torrent: u32,
    pub(super) port: u16,
    /// Whether it starts with everything.
    pub(super) seeds: bool,
    /// Whether it is announced at present.
    pub(super) active: bool,
    /// Whether it has everything.
    pub(super) complete: bool,
}

impl Plan {
    pub(super) fn family(&self) -> Family {
        Family::of(self.target.ip())
    }

    /// The clients of one of `workers` workers.
    pub(super) fn clients_of(&self, worker: usize, workers: usize) -> Range<usize> {
        self.clients * worker / workers..self.clients * (worker + 1) / workers
    }

    /// The random source of one client.
    pub(super) fn random(&self, client: usize) -> Rng {
        Rng::with_seed(mix(self.seed ^ mix(client as u64 + 1)))
    }

    /// How many peers `client` announces.
    fn peers_of(&self, client: usize) -> usize {
        self.peers / self.clients + usize::from(client < self.peers % self.clients)
    }

    /// The maximum number of peers that a client has in one torrent.
    pub(super) fn peers_per_hash(&self) -> usize {
        self.peers.div_ceil(self.clients).div_ceil(self.hashes)
    }

    /// The peers of `client`: round its torrents, with another port each time round.
    pub(super) fn peers(&self, client: usize, picker: &Picker, random: &mut Rng) -> Box<[Peer]> {
        let torrents = self.torrents_of(client, picker, random);
        let first = client * self.peers_per_hash();
        (0..self.peers_of(client))
            .map(|index| {
                let seeds = random.f64() < self.seeders;
                let port = (first + index / torrents.len()) % PORTS;
                Peer {
                    torrent: torrents[index % torrents.len()],
                    port: PORT_FIRST + port as u16,
                    seeds,
                    active: false,
                    complete: seeds,
                }
            })
            .collect()
    }

    /// Different torrents, as far as a few draws find some.
    fn torrents_of(&self, client: usize, picker: &Picker, random: &mut Rng) -> Vec<u32> {
        let mut torrents: Vec<u32> = Vec::with_capacity(self.hashes);
        for index in 0..self.hashes {
            let turn = (client * self.hashes + index) as u64;
            let mut torrent = picker.pick(turn, random);
            for _ in 0..DRAWS_MAX {
                if self.hashes > DISTINCT_MAX || !torrents.contains(&torrent) {
                    break;
                }
                torrent = picker.pick(turn, random);
            }
            torrents.push(torrent);
        }
        torrents
    }

    /// The info hash of a torrent.
    pub(super) fn info_hash(&self, torrent: u32) -> InfoHash {
        let mut hash = [0; 20];
        let mut word = mix(self.seed).wrapping_add(u64::from(torrent) + 1);
        for chunk in hash.chunks_mut(8) {
            word = mix(word);
            chunk.copy_from_slice(&word.to_be_bytes()[..chunk.len()]);
        }
        InfoHash(hash)
    }
}

/// A number that has nothing to do with the one it is made of (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Ports that peers announce: from 1024 on.
const PORT_FIRST: u16 = 1024;
pub(super) const PORTS: usize = 64_000;

/// Draws for a torrent that a client does not have yet.
const DRAWS_MAX: usize = 8;

/// With more torrents for each client, one twice makes no difference, and looking would.
const DISTINCT_MAX: usize = 1000;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::HashSet;

    pub(in crate::tools::load_test) fn plan() -> Plan {
        Plan {
            target: "127.0.0.1:6969".parse().unwrap(),
            clients: 4,
            rate: None,
            in_flight: 4,
            duration: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            hashes: 3,
            torrents: 10,
            popularity: Popularity::Uniform,
            peers: 12,
            seeders: 0.5,
            churn: 0.0,
            numwant: 50,
            scrape_every: None,
            coalesce: true,
            seed: 1,
        }
    }

    fn all(plan: &Plan) -> Vec<Vec<Peer>> {
        let picker = Picker::new(plan.torrents, plan.popularity);
        let of = |client| plan.peers(client, &picker, &mut plan.random(client)).into_vec();
        (0..plan.clients).map(of).collect()
    }

    #[test]
    fn a_seed_is_a_plan() {
        let plan = Plan { popularity: Popularity::Zipf(1.0), peers: 50, ..plan() };
        assert_eq!(all(&plan), all(&plan));
        let other = Plan { seed: 2, ..plan.clone() };
        assert_ne!(all(&plan), all(&other));
        assert_ne!(plan.info_hash(0), other.info_hash(0));
        let hashes: HashSet<_> = (0..10_000).map(|torrent| plan.info_hash(torrent)).collect();
        assert_eq!(hashes.len(), 10_000);
    }

    #[test]
    fn all_peers_are_there_and_different() {
        let plan = Plan { peers: 50, ..plan() };
        let clients = all(&plan);
        assert_eq!(clients.iter().map(Vec::len).sum::<usize>(), 50);
        assert_eq!(clients.iter().map(Vec::len).max(), Some(13));
        let peers: HashSet<_> =
            clients.iter().flatten().map(|peer| (peer.torrent, peer.port)).collect();
        assert_eq!(peers.len(), 50);
        for peers in &clients {
            assert_eq!(peers.iter().map(|peer| peer.torrent).collect::<HashSet<_>>().len(), 3);
        }
        let seeders = Plan { seeders: 1.0, ..plan };
        assert!(all(&seeders).iter().flatten().all(|peer| peer.seeds && peer.complete));
    }

    #[test]
    fn workers_share_all_clients() {
        let plan = Plan { clients: 10, ..plan() };
        let shares: Vec<_> = (0..3).map(|worker| plan.clients_of(worker, 3)).collect();
        assert_eq!(shares, [0..3, 3..6, 6..10]);
    }
}
