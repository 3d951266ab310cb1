//! The tracker as a [`Handler`]: one request in, one reply or one counted drop out.

use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::connection_id::ConnectionIds;
use crate::io::{Handler, Now, Packet, ReplyPath, Transmit};
use crate::telemetry::{Counter, Counters, DropReason};
use crate::tracker::core::policy::{Policy, PolicyView, SharedPolicy};
use crate::tracker::core::source_limits::Decision;
use crate::tracker::store::{
    self, Announced, BACKLOG_INTERVAL, CompactPeers, Ipv4, Ipv6, Outcome, Shard, Shards, Unstored,
};
use crate::values::InfoHash;
use crate::wire::bep15::request::{AnnounceView, Connect, Event, Scrape};
use crate::wire::bep15::response::{
    AnnounceHeader, ScrapeEntry, ScrapeWriter, emit_connect, emit_error,
};
use crate::wire::bep15::{
    ANNOUNCE_HEADER_BYTES, ConnectionId, Family, Request, RequestError, TransactionId, peers_max,
};

/// What one worker's tracker is made of.
pub struct TrackerParts {
    /// The worker's index; the shard of the same index is its own, which it expires.
    pub worker: usize,
    /// All shards, shared by all workers.
    pub shards: Arc<Shards>,
    /// The rules in force.
    pub policy: SharedPolicy,
    /// Issues and checks connection IDs, with the same key in every worker.
    pub ids: ConnectionIds,
    /// The worker's counters.
    pub counters: Arc<Counters>,
}

/// One worker's tracker.
pub struct Tracker {
    worker: usize,
    shards: Arc<Shards>,
    policy: PolicyView,
    draining: Arc<AtomicBool>,
    ids: ConnectionIds,
    counters: Arc<Counters>,
    /// When to remove more peers, if there are many to remove.
    more_expiry: Option<Now>,
}

impl Tracker {
    /// Puts a tracker together. It stores nothing of its own.
    pub fn new(parts: TrackerParts) -> Self {
        let TrackerParts { worker, shards, policy, ids, counters } = parts;
        let draining = policy.draining();
        let policy = policy.view();
        Self { worker, shards, policy, draining, ids, counters, more_expiry: None }
    }

    fn connect<T: Transmit>(&mut self, now: Now, client: &Client, request: Connect, tx: &mut T) {
        self.counters.count(client.either(Counter::ConnectsIpv4, Counter::ConnectsIpv6));
        if self.draining.load(Ordering::Relaxed) {
            return self.counters.dropped(DropReason::Draining);
        }
        let verdict = self.policy.load().limits.connect(now, client.address);
        if !self.is_within_limit(verdict, DropReason::ConnectsOverLimit) {
            return;
        }
        let id = self.ids.issue(now, client.address);
        let sent = tx.reply(client.path, |out| emit_connect(out, request.transaction, id));
        self.count_response(sent.is_ok(), Counter::ConnectResponses);
    }

    fn announce<T: Transmit>(
        &mut self,
        now: Now,
        client: &Client,
        request: &AnnounceView<'_>,
        tx: &mut T,
    ) {
        if !self.authenticate(now, client, request.connection_id(), request.transaction(), tx) {
            return;
        }
        self.counters.count(client.either(Counter::AnnouncesIpv4, Counter::AnnouncesIpv6));
        let verdict = self.policy.load().limits.announce(now, client.address);
        if !self.is_within_limit(verdict, DropReason::AnnouncesOverLimit) {
            return;
        }
        let policy = self.policy.load();
        let info_hash = request.info_hash();
        if !policy.access.permits(&info_hash) {
            self.counters.count(Counter::AnnouncesDenied);
            return self.error(client, request.transaction(), DENIED, tx);
        }
        let owner = self.shards.owner(&info_hash);
        count_arrival(&self.counters, owner == self.worker);
        let (shards, counters) = (&self.shards, &self.counters);
        let question = Question { now, owner, info_hash, request, policy };
        let sent = tx.reply(client.path, |out| {
            let (header, peers) = out.split_at_mut(ANNOUNCE_HEADER_BYTES);
            let mut sink = CompactPeers::new(peers);
            let answer = client.announce_to(shards, &question, &mut sink);
            count_outcome(counters, &answer);
            if answer.is_new && policy.settings.client_statistics {
                counters.clients().count(&request.peer_id());
            }
            let header_bytes = AnnounceHeader {
                transaction: request.transaction(),
                interval_s: client.interval_s(&question),
                leechers: answer.leechers,
                seeders: answer.seeders,
            }
            .emit(header);
            header_bytes + sink.written()
        });
        self.count_response(sent.is_ok(), Counter::AnnounceResponses);
    }

    /// Removes a slice of what expired, and sees to it that the next one comes soon if there is
    /// much more.
    fn expire(&mut self, now: Now) {
        let timeout_s = self.policy.load().settings.peer_timeout_s;
        let expired = self.shards.lock(self.worker).expire_due(now, timeout_s);
        self.counters.add(Counter::PeersExpired, expired.peers as u64);
        self.more_expiry = expired.backlog.then(|| now.after(BACKLOG_INTERVAL));
    }

    fn scrape<T: Transmit>(&mut self, now: Now, client: &Client, request: &Scrape<'_>, tx: &mut T) {
        if !self.authenticate(now, client, request.connection_id, request.transaction, tx) {
            return;
        }
        self.counters.count(client.either(Counter::ScrapesIpv4, Counter::ScrapesIpv6));
        let verdict = self.policy.load().limits.announce(now, client.address);
        if !self.is_within_limit(verdict, DropReason::AnnouncesOverLimit) {
            return;
        }
        if request.count() == 1
            && let Some(only) = request.hashes().next()
        {
            count_arrival(&self.counters, self.shards.owner(&only) == self.worker);
        }
        let policy = self.policy.load();
        let shards = &self.shards;
        let sent = tx.reply(client.path, |out| {
            let mut writer = ScrapeWriter::new(out, request.transaction);
            let answered = usize::from(policy.settings.scrape_hashes_max);
            for info_hash in request.hashes().take(answered) {
                let entry = client.scrape_from(shards, &info_hash, policy);
                if writer.push(entry).is_err() {
                    break;
                }
            }
            writer.finish()
        });
        self.count_response(sent.is_ok(), Counter::ScrapeResponses);
    }

    /// Whether the client proved its address. If not, it is counted, and answered only where the
    /// operator wants that: the source may be forged.
    fn authenticate<T: Transmit>(
        &mut self,
        now: Now,
        client: &Client,
        id: ConnectionId,
        transaction: TransactionId,
        tx: &mut T,
    ) -> bool {
        if self.ids.accepts(now, client.address, id) {
            return true;
        }
        if self.policy.load().settings.answer_bad_connection_ids {
            self.counters.count(Counter::BadConnectionIdsAnswered);
            self.error(client, transaction, BAD_CONNECTION_ID, tx);
        } else {
            self.counters.dropped(DropReason::BadConnectionId);
        }
        false
    }

    /// Whether the source may have its answer. If not, the request is counted as dropped.
    fn is_within_limit(&self, verdict: Decision, over: DropReason) -> bool {
        match verdict {
            Decision::Accepted => return true,
            Decision::AcceptedWithEviction => self.counters.count(Counter::SourcesForgotten),
            Decision::Refused => self.counters.dropped(over),
        }
        verdict != Decision::Refused
    }

    fn error<T: Transmit>(
        &mut self,
        client: &Client,
        transaction: TransactionId,
        message: &str,
        tx: &mut T,
    ) {
        // Never more than was sent: an answer to a forged source must not amplify.
        let sent = tx.reply(client.path, |out| {
            let bytes_max = out.len().min(client.request_bytes);
            emit_error(&mut out[..bytes_max], transaction, message)
        });
        self.count_response(sent.is_ok(), Counter::ErrorResponses);
    }

    /// A reply that found no slot is counted as a drop by the transmit side.
    fn count_response(&self, sent: bool, counter: Counter) {
        if sent {
            self.counters.count(counter);
        }
    }
}

impl Handler for Tracker {
    fn on_packet<T: Transmit>(&mut self, now: Now, packet: &Packet<'_>, tx: &mut T) {
        let client = Client::of(packet);
        if client.path.to.port() == 0 {
            return self.counters.dropped(DropReason::BadSource);
        }
        match Request::parse(packet.payload) {
            Ok(Request::Connect(request)) => self.connect(now, &client, request, tx),
            Ok(Request::Announce(request)) => self.announce(now, &client, &request, tx),
            Ok(Request::Scrape(request)) => self.scrape(now, &client, &request, tx),
            Err(error) => self.counters.dropped(drop_reason(error)),
        }
    }

    fn on_tick<T: Transmit>(&mut self, now: Now, _: &mut T) {
        if self.worker == 0 {
            self.policy.load().limits.sweep(now);
        }
        self.expire(now);
    }

    fn on_flush<T: Transmit>(&mut self, now: Now, _: &mut T) {
        if self.more_expiry.is_some_and(|due| due <= now) {
            self.expire(now);
        }
    }

    fn next_deadline(&self) -> Option<Now> {
        self.more_expiry
    }
}

/// Who asked.
struct Client {
    path: ReplyPath,
    address: IpAddr,
    /// The size of the request, which an error response does not exceed.
    request_bytes: usize,
}

impl Client {
    fn of(packet: &Packet<'_>) -> Self {
        let Packet { path, payload, .. } = packet;
        Self { path: *path, address: path.to.ip().to_canonical(), request_bytes: payload.len() }
    }

    fn either(&self, ipv4: Counter, ipv6: Counter) -> Counter {
        if self.address.is_ipv4() { ipv4 } else { ipv6 }
    }

    /// Announces to the shard that owns the torrent, and writes the peers for the reply.
    fn announce_to(
        &self,
        shards: &Shards,
        question: &Question<'_>,
        out: &mut CompactPeers<'_>,
    ) -> Announced {
        let caps = question.policy.settings.limits_per_shard(shards.len());
        let port = question.request.port();
        let mut shard = shards.lock(question.owner);
        match self.address {
            IpAddr::V4(address) => {
                let limits = shard.limits_ipv4(caps);
                let Shard { ipv4, rng, .. } = &mut *shard;
                let peer = SocketAddrV4::new(address, port);
                ipv4.announce(&question.about::<Ipv4>(peer, Family::Ipv4), &limits, rng, out)
            }
            IpAddr::V6(address) => {
                let limits = shard.limits_ipv6(caps);
                let Shard { ipv6, rng, .. } = &mut *shard;
                let peer = SocketAddrV6::new(address, port, 0, 0);
                ipv6.announce(&question.about::<Ipv6>(peer, Family::Ipv6), &limits, rng, out)
            }
        }
    }

    /// The counts of one torrent; zeros when it is unknown or denied.
    fn scrape_from(&self, shards: &Shards, info_hash: &InfoHash, policy: &Policy) -> ScrapeEntry {
        if !policy.access.permits(info_hash) {
            return ScrapeEntry::default();
        }
        let shard = shards.lock(shards.owner(info_hash));
        let found = match self.address {
            IpAddr::V4(_) => shard.ipv4.scrape(info_hash),
            IpAddr::V6(_) => shard.ipv6.scrape(info_hash),
        };
        found.map_or_else(ScrapeEntry::default, |counts| ScrapeEntry {
            seeders: counts.seeders,
            completed: counts.completed,
            leechers: counts.leechers,
        })
    }

    /// The interval this peer is told: the same for as long as it stays, and spread over clients
    /// and torrents, so that those that came together do not come back together.
    fn interval_s(&self, question: &Question<'_>) -> u32 {
        let settings = &question.policy.settings;
        let address = match self.address {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits() as u64,
        };
        let torrent =
            question.info_hash.0.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
        let peer = (address ^ torrent ^ u64::from(question.request.port()).rotate_left(48))
            .wrapping_mul(JITTER_MULTIPLIER);
        let span = u64::from(settings.announce_jitter_s) + 1;
        settings.announce_interval_s.saturating_add(((peer >> 32) % span) as u32)
    }
}

/// An announce that passed every check, and where and when to ask.
struct Question<'a> {
    now: Now,
    owner: usize,
    info_hash: InfoHash,
    request: &'a AnnounceView<'a>,
    policy: &'a Policy,
}

impl Question<'_> {
    fn about<F: store::PeerFamily>(
        &self,
        peer: F::Endpoint,
        family: Family,
    ) -> store::Announce<'_, F> {
        let settings = &self.policy.settings;
        let wanted = settings.peers_wanted(self.request.wanted());
        store::Announce {
            now: self.now,
            info_hash: &self.info_hash,
            peer,
            seeder: self.request.left() == 0,
            event: event(self.request.event()),
            numwant: wanted.min(peers_max(family)),
        }
    }
}

fn count_arrival(counters: &Counters, at_owner: bool) {
    let counter = if at_owner { Counter::RequestsAtOwner } else { Counter::RequestsElsewhere };
    counters.count(counter);
}

fn count_outcome(counters: &Counters, answer: &Announced) {
    if answer.completed {
        counters.count(Counter::Completed);
    }
    if answer.evicted > 0 {
        counters.count(Counter::TorrentsEvicted);
        counters.add(Counter::PeersEvicted, answer.evicted as u64);
    }
    if let Outcome::Unstored(reason) = answer.outcome {
        counters.count(unstored_counter(reason));
    }
}

/// What a datagram that is no request is counted as. None of them is answered: the sender has
/// shown no connection ID, so its address may be forged.
const fn drop_reason(error: RequestError) -> DropReason {
    match error {
        RequestError::TooShort => DropReason::TooShort,
        RequestError::BadMagic => DropReason::BadMagic,
        RequestError::UnknownAction => DropReason::UnknownAction,
        RequestError::ScrapeWithoutHash => DropReason::ScrapeWithoutHash,
    }
}

const fn event(event: Event) -> store::Event {
    match event {
        Event::None => store::Event::None,
        Event::Completed => store::Event::Completed,
        Event::Started => store::Event::Started,
        Event::Stopped => store::Event::Stopped,
    }
}

const fn unstored_counter(reason: Unstored) -> Counter {
    match reason {
        Unstored::PortZero => Counter::UnstoredPortZero,
        Unstored::TorrentCap => Counter::UnstoredTorrentCap,
        Unstored::PeerCap => Counter::UnstoredPeerCap,
        Unstored::SwarmCap => Counter::UnstoredSwarmCap,
        Unstored::MemoryLimit => Counter::UnstoredMemoryLimit,
    }
}

const DENIED: &str = "this tracker does not serve this torrent";
const BAD_CONNECTION_ID: &str = "connection ID expired";

/// Any odd constant with well-mixed bits: 2^64 divided by the golden ratio.
const JITTER_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests;
