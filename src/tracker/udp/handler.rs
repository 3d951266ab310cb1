//! The tracker as a [`DatagramService`]: one request in, one reply or one counted drop out.

use std::net::IpAddr;
use std::sync::Arc;

use super::connection_id::ConnectionIds;
use crate::io::{DatagramService, MessageService, Now, Packet, ReplyPath, Transmit, Wakeup};
use crate::telemetry::{Counter, Counters, DropReason};
use crate::tracker::core::policy::SharedPolicy;
use crate::tracker::core::{self, Announce, Refusal, Swarms, TrackerMessage, Upkeep};
use crate::tracker::store::{Announced, CompactPeers, Outcome, ScrapeCounts, Shards, Unstored};
use crate::wire::bep15::request::{AnnounceView, Connect, Event, Scrape};
use crate::wire::bep15::response::{
    AnnounceHeader, ScrapeEntry, ScrapeWriter, emit_connect, emit_error,
};
use crate::wire::bep15::{
    ANNOUNCE_HEADER_BYTES, ConnectionId, Family, Request, RequestError, TransactionId,
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
    swarms: Swarms,
    upkeep: Upkeep,
    ids: ConnectionIds,
    counters: Arc<Counters>,
}

impl Tracker {
    /// Puts a tracker together. It stores nothing of its own.
    pub fn new(parts: TrackerParts) -> Self {
        let TrackerParts { worker, shards, policy, ids, counters } = parts;
        let swarms = Swarms::new(worker, Arc::clone(&shards), &policy);
        let upkeep = Upkeep::new(worker, shards, &policy);
        Self { swarms, upkeep, ids, counters }
    }

    /// Takes up the policy in force, and lets go of the one before.
    fn refresh_policy(&mut self) {
        self.swarms.refresh_policy();
        self.upkeep.refresh_policy();
    }

    fn connect<T: Transmit>(&mut self, now: Now, client: &Client, request: Connect, tx: &mut T) {
        self.counters.count(client.either(Counter::ConnectsIpv4, Counter::ConnectsIpv6));
        match self.swarms.admit_client(now, client.address) {
            Ok(admission) => count_admission(&self.counters, admission.evicted_source),
            Err(Refusal::Draining) => return self.counters.dropped(DropReason::Draining),
            Err(_) => return self.counters.dropped(DropReason::ConnectsOverLimit),
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
        let announce = Announce {
            info_hash: request.info_hash(),
            address: client.address,
            port: request.port(),
            left: request.left(),
            event: event(request.event()),
            wanted: request.wanted(),
        };
        let admitted = match self.swarms.admit_announce(now, announce) {
            Ok(admitted) => admitted,
            Err(Refusal::NotServed { evicted_source }) => {
                count_admission(&self.counters, evicted_source);
                self.counters.count(Counter::AnnouncesDenied);
                return self.error(client, request.transaction(), DENIED, tx);
            }
            Err(_) => return self.counters.dropped(DropReason::AnnouncesOverLimit),
        };
        let counters = &self.counters;
        count_admission(counters, admitted.admission.evicted_source);
        count_arrival(counters, admitted.at_owner);
        let peers_bytes_max = client.family().reply_bytes_max() - ANNOUNCE_HEADER_BYTES;
        let sent = tx.reply(client.path, |out| {
            let (header, peers) = out.split_at_mut(ANNOUNCE_HEADER_BYTES);
            let bytes_max = peers.len().min(peers_bytes_max);
            let mut sink = CompactPeers::new(&mut peers[..bytes_max]);
            let reply = admitted.perform(&mut sink);
            count_outcome(counters, &reply.announced);
            if reply.count_program {
                counters.clients().count(&request.peer_id());
            }
            let header_bytes = AnnounceHeader {
                transaction: request.transaction(),
                interval_s: reply.interval_s,
                leechers: reply.announced.leechers,
                seeders: reply.announced.seeders,
            }
            .emit(header);
            header_bytes + sink.written()
        });
        self.count_response(sent.is_ok(), Counter::AnnounceResponses);
    }

    fn scrape<T: Transmit>(&mut self, now: Now, client: &Client, request: &Scrape<'_>, tx: &mut T) {
        if !self.authenticate(now, client, request.connection_id, request.transaction, tx) {
            return;
        }
        self.counters.count(client.either(Counter::ScrapesIpv4, Counter::ScrapesIpv6));
        let admitted = match self.swarms.admit_scrape(now, client.address) {
            Ok(admitted) => admitted,
            Err(_) => return self.counters.dropped(DropReason::AnnouncesOverLimit),
        };
        count_admission(&self.counters, admitted.admission.evicted_source);
        if request.count() == 1
            && let Some(only) = request.hashes().next()
        {
            count_arrival(&self.counters, admitted.at_owner(&only));
        }
        let sent = tx.reply(client.path, |out| {
            let mut writer = ScrapeWriter::new(out, request.transaction);
            for ScrapeCounts { seeders, completed, leechers } in admitted.perform(request.hashes())
            {
                if writer.push(ScrapeEntry { seeders, completed, leechers }).is_err() {
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
        if self.swarms.settings().answer_bad_connection_ids {
            self.counters.count(Counter::BadConnectionIdsAnswered);
            self.error(client, transaction, BAD_CONNECTION_ID, tx);
        } else {
            self.counters.dropped(DropReason::BadConnectionId);
        }
        false
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

impl DatagramService for Tracker {
    fn on_datagram<T: Transmit>(&mut self, now: Now, packet: &Packet<'_>, tx: &mut T) {
        let client = Client::of(packet);
        if client.path.client().port() == 0 {
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
        // In case the message that says so found the mailbox full.
        self.refresh_policy();
        let expired = self.upkeep.tick(now);
        self.counters.add(Counter::PeersExpired, expired as u64);
    }

    fn on_flush<T: Transmit>(&mut self, now: Now, _: &mut T) {
        let expired = self.upkeep.catch_up(now);
        if expired > 0 {
            self.counters.add(Counter::PeersExpired, expired as u64);
        }
    }

    fn wakeup(&self) -> Wakeup {
        Wakeup { at: self.upkeep.next_deadline(), ..Wakeup::default() }
    }
}

impl MessageService for Tracker {
    type Message = TrackerMessage;

    fn on_message<T: Transmit>(&mut self, _: Now, message: TrackerMessage, _: &mut T) {
        match message {
            TrackerMessage::PolicyReplaced(acknowledgement) => {
                self.refresh_policy();
                drop(acknowledgement);
            }
        }
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
        Self {
            path: *path,
            address: path.client().ip().to_canonical(),
            request_bytes: payload.len(),
        }
    }

    fn either(&self, ipv4: Counter, ipv6: Counter) -> Counter {
        if self.address.is_ipv4() { ipv4 } else { ipv6 }
    }

    fn family(&self) -> Family {
        if self.address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }
}

fn count_admission(counters: &Counters, evicted_source: bool) {
    if evicted_source {
        counters.count(Counter::SourcesForgotten);
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

const fn event(event: Event) -> core::Event {
    match event {
        Event::None => core::Event::None,
        Event::Completed => core::Event::Completed,
        Event::Started => core::Event::Started,
        Event::Stopped => core::Event::Stopped,
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

#[cfg(test)]
mod tests;
