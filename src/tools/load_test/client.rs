//! One simulated client: it decides what to send next and checks answers. Bytes and times are
//! arguments.

use fastrand::Rng;

use super::plan::{Peer, Plan};
use super::popularity::Picker;
use super::stats::{Operation, Stats};
use super::transaction::{Match, Window};
use super::verify::{Brings, Expected, Failure, Stray, verify};
use crate::wire::bep15::request::{AnnounceRequest, Event, emit_connect, emit_scrape};
use crate::wire::bep15::{
    ConnectionId, RESPONSE_HEADER_BYTES, Response, TransactionId, response_field,
};

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    Connect,
    /// For the peer of this index, with everything that the answer must fit.
    Announce {
        peer: u32,
        event: Event,
        complete: bool,
    },
    /// For as many peers' torrents from this index on.
    Scrape {
        first: u32,
        hashes: u16,
    },
}

/// One request in flight.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    asks: Asks,
    /// How many times it has gone unanswered: BEP 15's n.
    retries: u8,
    sent_ns: u64,
    /// Latency counts from here: `sent_ns`, or the time at which the schedule wanted it.
    since_ns: u64,
}

/// A request to write and send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    pub(super) transaction: TransactionId,
    pub(super) asks: Asks,
    connection: ConnectionId,
    retry: bool,
    /// Whether it is one that the loop asked for, not a connect or a retry.
    pub(super) fresh: bool,
}

impl Outgoing {
    pub(super) fn operation(&self) -> Operation {
        match self.asks {
            Asks::Connect => Operation::Connect,
            Asks::Announce { .. } => Operation::Announce,
            Asks::Scrape { .. } => Operation::Scrape,
        }
    }

    /// The length of the request.
    pub(super) fn bytes(&self) -> usize {
        match self.asks {
            Asks::Connect => CONNECT_BYTES,
            Asks::Announce { .. } => ANNOUNCE_BYTES,
            Asks::Scrape { hashes, .. } => CONNECT_BYTES + 20 * usize::from(hashes),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    id: ConnectionId,
    renew_at_ns: u64,
}

/// A client with its connection, its peers, and its requests in flight.
#[derive(Debug)]
pub(super) struct Client {
    window: Window<Attempt>,
    connection: Option<Connection>,
    /// Whether a connect request is in flight.
    connecting: bool,
    /// How many times in a row the connect request went unanswered.
    connect_retries: u8,
    /// Requests that went unanswered and are due again.
    retries: Vec<(Asks, u8, u64)>,
    peers: Box<[Peer]>,
    next_peer: usize,
    announces: u32,
    random: Rng,
    peer_id: [u8; 20],
    key: u32,
}

impl Client {
    /// The client of this index over all workers.
    pub(super) fn new(plan: &Plan, index: usize, picker: &Picker) -> Self {
        let mut random = plan.random(index);
        let peers = plan.peers(index, picker, &mut random);
        let mut peer_id = *b"-RT0001-............";
        peer_id[8..].fill_with(|| random.alphanumeric() as u8);
        // Clients scrape at different times.
        let announces = plan.scrape_every.map_or(0, |every| random.u32(..every));
        Self {
            window: Window::new(plan.in_flight, random.u32(..)),
            connection: None,
            connecting: false,
            connect_retries: 0,
            retries: Vec::with_capacity(plan.in_flight),
            peers,
            next_peer: 0,
            announces,
            key: random.u32(..),
            random,
            peer_id,
        }
    }

    /// Room for more requests.
    pub(super) fn free(&self) -> usize {
        self.window.free()
    }

    /// Requests in flight.
    pub(super) fn under_way(&self) -> usize {
        self.window.under_way()
    }

    /// The next request: a connect, a retry, or, when there is a time that it is wanted for, a new
    /// one. `None` when there is nothing to send or no room.
    pub(super) fn next(
        &mut self,
        plan: &Plan,
        now_ns: u64,
        wanted_ns: Option<u64>,
    ) -> Option<Outgoing> {
        if self.window.free() == 0 {
            return None;
        }
        let renew = self.connection.is_none_or(|connection| connection.renew_at_ns <= now_ns);
        if renew && !self.connecting {
            self.connecting = true;
            let none = ConnectionId(0);
            return self.open(Asks::Connect, self.connect_retries, (now_ns, now_ns), none, false);
        }
        let connection = self.connection?.id;
        if let Some((asks, retries, since_ns)) = self.retries.pop() {
            return self.open(asks, retries, (now_ns, since_ns), connection, false);
        }
        let since_ns = wanted_ns?;
        let asks = self.decide(plan);
        self.open(asks, 0, (now_ns, since_ns), connection, true)
    }

    fn open(
        &mut self,
        asks: Asks,
        retries: u8,
        (sent_ns, since_ns): (u64, u64),
        connection: ConnectionId,
        fresh: bool,
    ) -> Option<Outgoing> {
        let transaction = self.window.open(Attempt { asks, retries, sent_ns, since_ns })?;
        Some(Outgoing { transaction, asks, connection, retry: retries > 0, fresh })
    }

    /// Chooses the next request: announces of one peer after another, with scrapes in between.
    fn decide(&mut self, plan: &Plan) -> Asks {
        self.announces += 1;
        if plan.scrape_every.is_some_and(|every| self.announces > every) {
            self.announces = 0;
            let hashes = self.peers.len().min(plan.hashes).min(SCRAPE_HASHES_MAX);
            return Asks::Scrape { first: self.next_peer as u32, hashes: hashes as u16 };
        }
        let index = self.next_peer;
        self.next_peer = (index + 1) % self.peers.len();
        let peer = &mut self.peers[index];
        let event = if !peer.active {
            (peer.active, peer.complete) = (true, peer.seeds);
            Event::Started
        } else if plan.churn > 0.0 && self.random.f64() < plan.churn {
            // Half of what ends for a leecher ends well; a seeder can only leave.
            if peer.complete || self.random.bool() {
                peer.active = false;
                Event::Stopped
            } else {
                peer.complete = true;
                Event::Completed
            }
        } else {
            Event::None
        };
        Asks::Announce { peer: index as u32, event, complete: peer.complete }
    }

    /// Writes a request to the start of `out` and returns its length.
    pub(super) fn write(&self, plan: &Plan, outgoing: &Outgoing, out: &mut [u8]) -> usize {
        let (connection_id, transaction) = (outgoing.connection, outgoing.transaction);
        match outgoing.asks {
            Asks::Connect => emit_connect(out, transaction),
            Asks::Announce { peer, event, complete } => {
                let peer = &self.peers[peer as usize];
                AnnounceRequest {
                    connection_id,
                    transaction,
                    info_hash: plan.info_hash(peer.torrent),
                    peer_id: self.peer_id,
                    downloaded: if complete { TORRENT_BYTES } else { TORRENT_BYTES / 2 },
                    left: if complete { 0 } else { TORRENT_BYTES / 2 },
                    uploaded: 0,
                    event_code: event.code(),
                    ip: 0,
                    key: self.key,
                    numwant: if event == Event::Stopped { 0 } else { plan.numwant },
                    port: peer.port,
                }
                .emit(out)
            }
            Asks::Scrape { first, hashes } => {
                let peers = self.peers.iter().cycle().skip(first as usize);
                let hashes = peers.take(usize::from(hashes));
                let hashes = hashes.map(|peer| plan.info_hash(peer.torrent));
                emit_scrape(out, connection_id, transaction, hashes)
            }
        }
    }

    /// Notes that `outgoing` was handed over for sending.
    pub(super) fn sent(outgoing: &Outgoing, stats: &mut Stats) {
        stats.sent(outgoing.operation(), outgoing.bytes(), outgoing.retry);
    }

    /// Withdraws a request that was not sent after all; it is due again.
    pub(super) fn not_sent(&mut self, outgoing: &Outgoing, stats: &mut Stats) {
        stats.not_sent(outgoing.operation(), outgoing.bytes(), outgoing.retry);
        let Some(attempt) = self.window.abandon(outgoing.transaction) else { return };
        match attempt.asks {
            Asks::Connect => self.connecting = false,
            asks => self.retries.push((asks, attempt.retries, attempt.since_ns)),
        }
    }

    /// Checks a datagram from the tracker.
    pub(super) fn receive(&mut self, plan: &Plan, now_ns: u64, payload: &[u8], stats: &mut Stats) {
        let transaction = payload.get(response_field::TRANSACTION);
        let Some(transaction) = transaction.and_then(|bytes| bytes.try_into().ok()) else {
            return stats.stray(Stray::Unreadable);
        };
        let attempt = match self.window.answer(TransactionId(transaction)) {
            Match::Open(attempt) => attempt,
            Match::Duplicate => return stats.stray(Stray::Duplicate),
            Match::Late => return stats.stray(Stray::Late),
            Match::Unknown => return stats.stray(Stray::WrongTransaction),
        };
        let operation = operation(attempt.asks);
        self.connecting &= operation != Operation::Connect;
        stats.received(operation, payload.len());
        match verify(payload, plan.family(), expected(plan, attempt.asks)) {
            Ok(brings) => {
                stats.succeeded(operation, now_ns.saturating_sub(attempt.since_ns));
                self.take(brings, now_ns, stats);
            }
            Err(failure) => {
                stats.failed(operation, failure);
                self.refused(failure, payload, plan, stats);
            }
        }
    }

    fn take(&mut self, brings: Brings, now_ns: u64, stats: &mut Stats) {
        match brings {
            Brings::Connection(id) => {
                // Not all clients at once, although all have connected at once.
                let early_ns = self.random.u64(..RENEW_SPREAD_NS);
                let renew_at_ns = now_ns + RENEW_AFTER_NS - early_ns;
                self.connection = Some(Connection { id, renew_at_ns });
                self.connect_retries = 0;
            }
            Brings::Peers(count) => stats.peers_received += count as u64,
            Brings::Entries => {}
        }
    }

    /// An error most often means that the tracker does not know the connection ID any more.
    fn refused(&mut self, failure: Failure, payload: &[u8], plan: &Plan, stats: &mut Stats) {
        if failure != Failure::ErrorResponse {
            return;
        }
        if let Ok(Response::Error { message, .. }) = Response::parse(payload, plan.family()) {
            stats.message(message);
        }
        self.renew();
    }

    fn renew(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.renew_at_ns = 0;
        }
    }

    /// Times out requests that have waited too long: 15 * 2^n seconds in BEP 15, here `timeout` *
    /// 2^n. With `again` they are due again. True when something timed out.
    pub(super) fn expire(
        &mut self,
        plan: &Plan,
        now_ns: u64,
        again: bool,
        stats: &mut Stats,
    ) -> bool {
        if self.window.under_way() == 0 {
            return false;
        }
        let timeout_ns = plan.timeout.as_nanos() as u64;
        let (mut expired, mut stale) = (false, false);
        let Self { window, retries, connecting, connect_retries, .. } = self;
        let is_over = |attempt: &Attempt| {
            let wait_ns = timeout_ns.saturating_mul(1 << attempt.retries.min(RETRIES_MAX));
            attempt.sent_ns.saturating_add(wait_ns) <= now_ns
        };
        window.expire(is_over, |attempt| {
            expired = true;
            stats.failed(operation(attempt.asks), Failure::Timeout);
            let number = attempt.retries.saturating_add(1).min(RETRIES_MAX);
            if attempt.asks == Asks::Connect {
                (*connecting, *connect_retries) = (false, number);
            } else {
                // Lost twice: perhaps the connection ID is what the tracker does not like.
                stale |= number > 1;
                if again {
                    retries.push((attempt.asks, number, attempt.since_ns));
                }
            }
        });
        if stale {
            self.renew();
        }
        expired
    }
}

fn operation(asks: Asks) -> Operation {
    match asks {
        Asks::Connect => Operation::Connect,
        Asks::Announce { .. } => Operation::Announce,
        Asks::Scrape { .. } => Operation::Scrape,
    }
}

fn expected(plan: &Plan, asks: Asks) -> Expected {
    match asks {
        Asks::Connect => Expected::Connect,
        // Who leaves wants no peers, but trackers differ in what they make of a numwant of 0.
        Asks::Announce { event: Event::Stopped, .. } => Expected::Announce { peers_max: None },
        Asks::Announce { .. } => {
            Expected::Announce { peers_max: usize::try_from(plan.numwant).ok() }
        }
        Asks::Scrape { hashes, .. } => Expected::Scrape { entries: usize::from(hashes) },
    }
}

pub(super) const CONNECT_BYTES: usize = 16;
pub(super) const ANNOUNCE_BYTES: usize = 98;

/// BEP 15: trackers answer for about this many hashes.
const SCRAPE_HASHES_MAX: usize = 70;

/// The highest n of BEP 15's 15 * 2^n.
const RETRIES_MAX: u8 = 8;

/// Trackers accept a connection ID for two minutes (BEP 15): it is renewed somewhat before.
const RENEW_AFTER_NS: u64 = 115_000_000_000;
const RENEW_SPREAD_NS: u64 = 10_000_000_000;

const TORRENT_BYTES: u64 = 1 << 30;

const _: () = assert!(RESPONSE_HEADER_BYTES == response_field::TRANSACTION.end);

#[cfg(test)]
mod tests;
