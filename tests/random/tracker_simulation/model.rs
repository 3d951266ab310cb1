//! The tracker as it should be: maps of peers, fed with the datagrams that reached it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ringtide::telemetry::{Counter, DropReason};
use ringtide::tracker::core::InfoHash;
use ringtide::wire::bep15::Family;

use super::coverage::{Coverage, Seen};
use super::issued::{Issued, family, is_mapped};
use super::limits::{Buckets, Kind};
use super::reading::{Announced, Asked, read_request};
use super::scenario::Rules;

/// A datagram at the tracker's door.
pub(crate) struct Arrival<'a> {
    pub(crate) now_ms: u64,
    pub(crate) from: SocketAddr,
    pub(crate) bytes: &'a [u8],
    pub(crate) worker: usize,
    /// Whether the transmit side has room for a reply.
    pub(crate) slot_free: bool,
}

/// What must come of a datagram.
pub(crate) struct Expected {
    pub(crate) counted: Vec<Counter>,
    pub(crate) dropped: Option<DropReason>,
    pub(crate) reply: Reply,
    /// Whether the sender proved its address.
    pub(crate) authenticated: bool,
}

pub(crate) enum Reply {
    None,
    Connect,
    Error,
    Announce(Answer),
    /// Seeders, completed and leechers for each hash.
    Scrape(Vec<[u32; 3]>),
}

/// The reply to an announce.
pub(crate) struct Answer {
    pub(crate) key: Key,
    pub(crate) me: SocketAddr,
    pub(crate) seeder: bool,
    pub(crate) seeders: u32,
    pub(crate) leechers: u32,
    /// How many peers are listed.
    pub(crate) listed: usize,
}

/// IPv4 and IPv6 swarms are apart.
pub(crate) type Key = (Family, InfoHash);

#[derive(Default)]
pub(crate) struct Torrent {
    pub(crate) completed: u32,
    pub(crate) peers: BTreeMap<SocketAddr, Peer>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) seeder: bool,
    pub(crate) completed: bool,
    pub(crate) last_ms: u64,
}

impl Torrent {
    pub(crate) fn seeders(&self) -> u32 {
        self.peers.values().filter(|peer| peer.seeder).count() as u32
    }

    pub(crate) fn leechers(&self) -> u32 {
        self.peers.len() as u32 - self.seeders()
    }
}

pub(crate) struct Model {
    pub(crate) rules: Rules,
    pub(crate) torrents: BTreeMap<Key, Torrent>,
    pub(crate) issued: Issued,
    limits: Buckets,
    /// Peers that expired, until they announce again.
    expired: BTreeSet<(Key, SocketAddr)>,
    workers: usize,
    /// Which worker owns a torrent; the choice is the tracker's own.
    owner: Box<dyn Fn(&InfoHash) -> usize>,
}

impl Model {
    pub(crate) fn new(
        rules: Rules,
        workers: usize,
        owner: impl Fn(&InfoHash) -> usize + 'static,
    ) -> Self {
        let lifetime_s = rules.settings.connection_lifetime_s;
        Self {
            rules,
            torrents: BTreeMap::new(),
            issued: Issued::new(lifetime_s),
            limits: Buckets::default(),
            expired: BTreeSet::new(),
            workers,
            owner: Box::new(owner),
        }
    }

    /// Takes a datagram in and says what must come of it. `id_refused` is whether the tracker
    /// refused its connection ID, which is followed only where both would be right.
    pub(crate) fn expect(
        &mut self,
        arrival: &Arrival<'_>,
        id_refused: bool,
        seen: &mut Coverage,
    ) -> Expected {
        let mut expected = Expected {
            counted: Vec::new(),
            dropped: None,
            reply: Reply::None,
            authenticated: false,
        };
        seen.note_if(
            matches!(arrival.from.ip(), IpAddr::V6(ip) if is_mapped(ip)),
            Seen::MappedSource,
        );
        if arrival.from.port() == 0 {
            expected.dropped = Some(DropReason::BadSource);
            return expected;
        }
        match read_request(arrival.bytes) {
            Asked::Nothing(reason) => expected.dropped = Some(reason),
            Asked::Connect => {
                seen.note_if(arrival.bytes.len() > 16, Seen::LongConnect);
                count(&mut expected, arrival, Counter::ConnectsIpv4, Counter::ConnectsIpv6);
                if self.is_within_limit(Kind::Connect, arrival, seen) {
                    reply(&mut expected, arrival, Counter::ConnectResponses, Reply::Connect);
                } else {
                    expected.dropped = Some(DropReason::ConnectsOverLimit);
                }
            }
            _ if !self.issued.holds(arrival, id_refused, seen) => {
                if self.rules.settings.answer_bad_connection_ids {
                    expected.counted.push(Counter::BadConnectionIdsAnswered);
                    reply(&mut expected, arrival, Counter::ErrorResponses, Reply::Error);
                } else {
                    expected.dropped = Some(DropReason::BadConnectionId);
                }
            }
            Asked::Announce(announced) => self.announce(&mut expected, arrival, &announced, seen),
            Asked::Scrape(hashes) => self.scrape(&mut expected, arrival, &hashes, seen),
        }
        expected
    }

    /// Torrents and peers of one family in one shard.
    pub(crate) fn load(&self, shard: usize, family: Family) -> (usize, usize) {
        self.torrents
            .iter()
            .filter(|((of, hash), _)| *of == family && (self.owner)(hash) == shard)
            .fold((0, 0), |(torrents, peers), (_, torrent)| {
                (torrents + 1, peers + torrent.peers.len())
            })
    }

    pub(crate) fn owner(&self, hash: &InfoHash) -> usize {
        (self.owner)(hash)
    }

    /// Removes a peer that the tracker expired, and the torrent with its last one.
    pub(crate) fn expire(&mut self, key: &Key, peer: &SocketAddr) {
        self.remove(key, peer).unwrap();
        self.expired.insert((*key, *peer));
    }

    fn announce(
        &mut self,
        expected: &mut Expected,
        arrival: &Arrival<'_>,
        announced: &Announced,
        seen: &mut Coverage,
    ) {
        expected.authenticated = true;
        count(expected, arrival, Counter::AnnouncesIpv4, Counter::AnnouncesIpv6);
        if !self.is_within_limit(Kind::Announce, arrival, seen) {
            expected.dropped = Some(DropReason::AnnouncesOverLimit);
            return;
        }
        if !self.rules.permits(&announced.hash) {
            expected.counted.push(Counter::AnnouncesDenied);
            return reply(expected, arrival, Counter::ErrorResponses, Reply::Error);
        }
        self.count_arrival(expected, arrival, &announced.hash, seen);
        if !arrival.slot_free {
            // Without a slot for the answer nothing is done: the client will ask again.
            expected.dropped = Some(DropReason::SendSlotsFull);
            return;
        }
        note_announce(announced, arrival.bytes.len(), seen);
        let key = (family(arrival.from), announced.hash);
        let me = SocketAddr::new(arrival.from.ip().to_canonical(), announced.port);
        let stored = if announced.stopped() {
            let removed = self.remove(&key, &me);
            seen.note_if(removed.is_some(), Seen::StoppedStored);
            seen.note_if(removed.is_none() && announced.port != 0, Seen::StoppedUnknown);
            seen.note_if(removed.is_some() && !self.torrents.contains_key(&key), Seen::TorrentGone);
            None
        } else {
            Some(self.store(expected, arrival.now_ms, key, me, announced, seen))
        };
        let answer = self.answer(key, me, announced, stored, seen);
        reply(expected, arrival, Counter::AnnounceResponses, Reply::Announce(answer));
    }

    /// Stores the peer or brings it up to date; whether it is stored then.
    fn store(
        &mut self,
        expected: &mut Expected,
        now_ms: u64,
        key: Key,
        me: SocketAddr,
        announced: &Announced,
        seen: &mut Coverage,
    ) -> bool {
        let refusal = self.refusal(&key);
        let known = self.torrents.get_mut(&key).and_then(|torrent| torrent.peers.get_mut(&me));
        let earlier = known.as_deref().copied();
        let refusal = match (me.port(), earlier) {
            (0, _) => Some(Counter::UnstoredPortZero),
            (_, Some(_)) => None,
            (_, None) => refusal,
        };
        if let Some(reason) = refusal {
            seen.note_if(announced.completed(), Seen::CompletedUnstored);
            expected.counted.push(reason);
            return false;
        }
        let before = earlier.is_some_and(|peer| peer.completed);
        let completed = before || announced.completed();
        let peer = Peer { seeder: announced.seeder(), completed, last_ms: now_ms };
        let torrent = self.torrents.entry(key).or_default();
        torrent.peers.insert(me, peer);
        if announced.completed() && !before {
            torrent.completed += 1;
            expected.counted.push(Counter::Completed);
        }
        seen.note_if(announced.completed() && before, Seen::CompletedAgain);
        seen.note_if(self.expired.remove(&(key, me)), Seen::AnnouncedAfterExpiry);
        if let Some(earlier) = earlier {
            seen.note_if(earlier.seeder && !peer.seeder, Seen::SeederTurnedLeecher);
            seen.note_if(!earlier.seeder && peer.seeder, Seen::LeecherTurnedSeeder);
            seen.note_if(self.refusal(&key).is_some(), Seen::UpdatedAtCap);
        }
        true
    }

    /// The cap that keeps a new peer out of this torrent, if one does.
    fn refusal(&self, key: &Key) -> Option<Counter> {
        let settings = &self.rules.settings;
        let part = |cap: u64| cap.div_ceil(self.workers as u64);
        let (torrents, peers) = self.load(self.owner(&key.1), key.0);
        let torrent = self.torrents.get(key);
        let here = torrent.map_or(0, |torrent| torrent.peers.len());
        if torrent.is_none() && torrents as u64 >= part(settings.torrents_max) {
            Some(Counter::UnstoredTorrentCap)
        } else if peers as u64 >= part(settings.peers_max) {
            Some(Counter::UnstoredPeerCap)
        } else if here >= settings.peers_per_torrent_max as usize {
            Some(Counter::UnstoredSwarmCap)
        } else {
            None
        }
    }

    /// The reply to an announce that was `stored` or not, or, if `None`, that said goodbye.
    fn answer(
        &self,
        key: Key,
        me: SocketAddr,
        announced: &Announced,
        stored: Option<bool>,
        seen: &mut Coverage,
    ) -> Answer {
        let nobody = Torrent::default();
        let torrent = self.torrents.get(&key).unwrap_or(&nobody);
        let seeder = announced.seeder();
        let myself = |kind: bool| u32::from(stored == Some(false) && kind);
        let eligible = torrent
            .peers
            .iter()
            .filter(|(address, peer)| **address != me && !(seeder && peer.seeder))
            .count();
        let listed = stored.map_or(0, |_| eligible.min(self.wanted(key.0, announced.numwant)));
        let seeders = torrent.seeders() + myself(seeder);
        seen.note_if(seeder && listed > 0 && seeders > 1, Seen::SeederToldOfLeechers);
        seen.note_if(torrent.peers.len() > FLAT_PEERS_MAX, Seen::LargeSwarm);
        seen.note_if(listed == PEERS_MAX_IPV4, Seen::FullReplyIpv4);
        seen.note_if(listed == PEERS_MAX_IPV6 && key.0 == Family::Ipv6, Seen::FullReplyIpv6);
        let leechers = torrent.leechers() + myself(!seeder);
        Answer { key, me, seeder, seeders, leechers, listed }
    }

    fn wanted(&self, family: Family, numwant: i32) -> usize {
        let settings = &self.rules.settings;
        let wanted = match numwant {
            ..0 => settings.numwant_default.into(),
            wanted => wanted as usize,
        };
        let room = if family == Family::Ipv4 { PEERS_MAX_IPV4 } else { PEERS_MAX_IPV6 };
        wanted.min(settings.numwant_max.into()).min(room)
    }

    fn scrape(
        &mut self,
        expected: &mut Expected,
        arrival: &Arrival<'_>,
        hashes: &[InfoHash],
        seen: &mut Coverage,
    ) {
        expected.authenticated = true;
        count(expected, arrival, Counter::ScrapesIpv4, Counter::ScrapesIpv6);
        if !self.is_within_limit(Kind::Announce, arrival, seen) {
            expected.dropped = Some(DropReason::AnnouncesOverLimit);
            return;
        }
        if let [only] = hashes {
            self.count_arrival(expected, arrival, only, seen);
        }
        let answered = self.rules.settings.scrape_hashes_max.into();
        seen.note_if(hashes.len() >= 60, Seen::ScrapeOfMany);
        seen.note_if(hashes.len() > answered, Seen::ScrapeBeyondMaximum);
        seen.note_if(!(arrival.bytes.len() - 16).is_multiple_of(20), Seen::ScrapeWithRest);
        let entries = hashes.iter().take(answered).map(|hash| {
            let torrent = self.torrents.get(&(family(arrival.from), *hash));
            let permitted = self.rules.permits(hash);
            seen.note_if(torrent.is_none(), Seen::ScrapeUnknown);
            seen.note_if(torrent.is_some() && !permitted, Seen::ScrapeDenied);
            seen.note_if(torrent.is_some() && permitted, Seen::ScrapeKnown);
            torrent.filter(|_| permitted).map_or([0; 3], |torrent| {
                [torrent.seeders(), torrent.completed, torrent.leechers()]
            })
        });
        let entries = Reply::Scrape(entries.collect());
        reply(expected, arrival, Counter::ScrapeResponses, entries);
    }

    fn is_within_limit(&mut self, kind: Kind, arrival: &Arrival<'_>, seen: &mut Coverage) -> bool {
        let limits = &self.rules.settings.source_limits;
        let within = self.limits.take(limits, kind, arrival.now_ms, arrival.from);
        seen.note_if(!within && family(arrival.from) == Family::Ipv4, Seen::LimitedIpv4);
        seen.note_if(!within && family(arrival.from) == Family::Ipv6, Seen::LimitedIpv6);
        within
    }

    /// Other rules; with other limits everybody begins anew.
    pub(crate) fn replace_rules(&mut self, rules: Rules) {
        if rules.settings.source_limits != self.rules.settings.source_limits {
            self.limits = Buckets::default();
        }
        self.rules = rules;
    }

    fn count_arrival(
        &self,
        expected: &mut Expected,
        arrival: &Arrival<'_>,
        hash: &InfoHash,
        seen: &mut Coverage,
    ) {
        let at_owner = self.owner(hash) == arrival.worker;
        seen.note(if at_owner { Seen::Steered } else { Seen::NotSteered });
        let counters = [Counter::RequestsElsewhere, Counter::RequestsAtOwner];
        expected.counted.push(counters[usize::from(at_owner)]);
    }

    fn remove(&mut self, key: &Key, peer: &SocketAddr) -> Option<Peer> {
        let torrent = self.torrents.get_mut(key)?;
        let removed = torrent.peers.remove(peer);
        if torrent.peers.is_empty() {
            self.torrents.remove(key);
        }
        removed
    }
}

/// Queues the reply, if there is a slot for it.
fn reply(expected: &mut Expected, arrival: &Arrival<'_>, counter: Counter, reply: Reply) {
    if arrival.slot_free {
        expected.counted.push(counter);
        expected.reply = reply;
    } else {
        expected.dropped = Some(DropReason::SendSlotsFull);
    }
}

fn count(expected: &mut Expected, arrival: &Arrival<'_>, ipv4: Counter, ipv6: Counter) {
    expected.counted.push(if family(arrival.from) == Family::Ipv4 { ipv4 } else { ipv6 });
}

fn note_announce(announced: &Announced, length: usize, seen: &mut Coverage) {
    seen.note_if(announced.numwant < 0, Seen::DefaultNumwant);
    seen.note_if(announced.numwant == 0, Seen::NumwantZero);
    seen.note_if(announced.numwant == 1, Seen::NumwantOne);
    seen.note_if(announced.numwant > 1000, Seen::NumwantAboveMaximum);
    seen.note_if(announced.event == 4, Seen::PausedEvent);
    seen.note_if(announced.event > 4, Seen::UnknownEvent);
    seen.note_if(announced.stopped() && announced.port == 0, Seen::StoppedPortZero);
    seen.note_if(length > 98, Seen::Options);
}

/// (1,472 - 20) / 6.
const PEERS_MAX_IPV4: usize = 242;
/// (1,452 - 20) / 18.
const PEERS_MAX_IPV6: usize = 79;
/// More peers than this are stored in another way.
const FLAT_PEERS_MAX: usize = 32;
