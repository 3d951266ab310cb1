//! One client: it connects, announces one torrent and scrapes as BEP 15 says, with the habits,
//! good and bad, that real clients have.

use std::net::{IpAddr, SocketAddr};

use fastrand::Rng;
use ringtide::tracker::core::InfoHash;
use ringtide::wire::bep15::request::{AnnounceRequest, emit_connect, emit_scrape};
use ringtide::wire::bep15::{ConnectionId, Response, TransactionId};

use super::coverage::{Coverage, Seen};
use super::issued::family;
use super::scenario::{Scenario, any_address, any_hash};

/// What a client acts with: the time, the dice, and where to put what it does.
pub(crate) struct Desk<'a> {
    pub(crate) now_ms: u64,
    pub(crate) rng: &'a mut Rng,
    pub(crate) scenario: &'a Scenario,
    pub(crate) seen: &'a mut Coverage,
    /// Datagrams to send, with their sources.
    pub(crate) out: Vec<(SocketAddr, Vec<u8>)>,
    /// When to wake the client, instead of any earlier plan.
    pub(crate) wake_ms: Option<u64>,
}

impl Desk<'_> {
    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(..100) < percent
    }
}

/// What a client always does, whatever the others do.
#[derive(Clone, Copy)]
struct Habits {
    /// Keeps connection IDs for several times their lifetime.
    stubborn: bool,
    /// Makes connection IDs up.
    forger: bool,
    /// Sends its first try from the other address, with the ID of this one.
    two_homes: bool,
    /// Cannot be reached: announces port 0.
    unreachable: bool,
    /// Appends BEP 41 options.
    options: bool,
    /// Says `paused` instead of nothing (BEP 21).
    partial_seed: bool,
}

impl Habits {
    fn draw(rng: &mut Rng) -> Self {
        let mut one_in = |many| rng.u8(..many) == 0;
        Self {
            stubborn: one_in(6),
            forger: one_in(30),
            two_homes: one_in(8),
            unreachable: one_in(15),
            options: one_in(3),
            partial_seed: one_in(12),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// With this event.
    Announce(u32),
    Scrape,
    Nothing,
}

/// A request that waits for its answer.
struct Pending {
    transaction: TransactionId,
    connecting: bool,
    attempt: u32,
}

pub(crate) struct Client {
    /// The addresses it sends from; the first is its own, the second the other home's.
    pub(crate) sources: [SocketAddr; 2],
    torrent: InfoHash,
    port: u16,
    left: u64,
    habits: Habits,
    id: Option<(ConnectionId, u64)>,
    pending: Option<Pending>,
    goal: Goal,
    /// Announces before it goes, and how often it comes back.
    stay: u32,
    returns: u32,
    /// Plans made before are void: only a wake-up of this number counts.
    pub(crate) generation: u32,
}

impl Client {
    pub(crate) fn draw(number: usize, scenario: &Scenario, rng: &mut Rng) -> Self {
        let address = any_address(rng, scenario.clients);
        let other = loop {
            let other = any_address(rng, scenario.clients);
            if other.is_ipv4() == address.is_ipv4() {
                break if rng.bool() { neighbour(address) } else { other };
            }
        };
        let port = 10_000 + number as u16;
        let mapped = rng.u8(..6) == 0;
        let sources = [address, other].map(|ip| SocketAddr::new(as_seen(ip, mapped), port));
        let habits = Habits::draw(rng);
        // Skewed, so that a few torrents have most of the peers.
        let torrent =
            rng.usize(..scenario.torrents.len()).min(rng.usize(..scenario.torrents.len()));
        Self {
            sources,
            torrent: scenario.torrents[torrent],
            // Clients behind one address sometimes announce the same port.
            port: if habits.unreachable { 0 } else { 6881 + rng.u16(..200) },
            left: if rng.u8(..3) == 0 { 0 } else { rng.u64(1..) },
            habits,
            id: None,
            pending: None,
            goal: Goal::Announce(STARTED),
            stay: rng.u32(2..9),
            returns: rng.u32(..3),
            generation: 0,
        }
    }

    /// The time has come for what was planned, or no answer came in time.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>) {
        match self.pending.take() {
            Some(pending) if pending.attempt + 1 >= ATTEMPTS_MAX => {
                desk.seen.note(Seen::GaveUp);
                self.leave(desk);
            }
            Some(pending) => {
                desk.seen.note(Seen::Retransmitted);
                self.ask(desk, pending.attempt + 1);
            }
            None => self.ask(desk, 0),
        }
    }

    /// A datagram from the tracker.
    pub(crate) fn receive(&mut self, desk: &mut Desk<'_>, bytes: &[u8]) {
        let response = Response::parse(bytes, family(self.sources[0])).unwrap();
        let connecting = match &self.pending {
            Some(pending) if pending.transaction == response.transaction() => pending.connecting,
            // An answer to a request that was answered or given up before.
            _ => return,
        };
        self.pending = None;
        match response {
            Response::Connect { connection_id, .. } => {
                assert!(connecting);
                desk.seen.note_if(self.id.is_some(), Seen::IdRenewed);
                self.id = Some((connection_id, desk.now_ms));
                self.ask(desk, 0);
            }
            Response::Announce { header, .. } => self.announced(desk, header.interval_s),
            Response::Scrape { .. } => self.plan(desk, Goal::Announce(NOTHING), 40_000),
            Response::Error { .. } => {
                self.id = None;
                self.stay = self.stay.saturating_sub(1);
                if self.stay == 0 {
                    return self.leave(desk);
                }
                self.plan(desk, self.goal, 30_000);
            }
        }
    }

    fn announced(&mut self, desk: &mut Desk<'_>, interval_s: u32) {
        if self.goal == Goal::Announce(STOPPED) {
            return self.leave(desk);
        }
        self.stay = self.stay.saturating_sub(1);
        let interval_ms = u64::from(interval_s) * 1000;
        if self.stay > 0 {
            let goal = self.next_goal(desk);
            let soon = goal != Goal::Announce(NOTHING) && desk.rng.bool();
            let wait_ms = if soon { desk.rng.u64(..interval_ms) } else { interval_ms };
            return self.plan(desk, goal, wait_ms);
        }
        if desk.chance(desk.scenario.vanishing_percent) {
            desk.seen.note(Seen::Vanished);
            return self.leave(desk);
        }
        let wait_ms = desk.rng.u64(..interval_ms);
        self.plan(desk, Goal::Announce(STOPPED), wait_ms);
    }

    /// What to do at the next opportunity. Downloads complete, now and then twice or with bytes
    /// still missing; files are lost again; nobody is told why.
    fn next_goal(&mut self, desk: &mut Desk<'_>) -> Goal {
        match desk.rng.u8(..100) {
            0..25 if self.left > 0 => {
                self.left = 0;
                Goal::Announce(COMPLETED)
            }
            25..30 => Goal::Announce(COMPLETED),
            30..34 if self.left == 0 => {
                self.left = desk.rng.u64(1..);
                Goal::Announce(NOTHING)
            }
            34..37 => Goal::Announce(desk.rng.u32(5..)),
            37..39 => Goal::Announce(STARTED),
            39..52 => Goal::Scrape,
            _ => Goal::Announce(if self.habits.partial_seed { PAUSED } else { NOTHING }),
        }
    }

    /// Goes, and perhaps comes back, when its peer is gone or not.
    fn leave(&mut self, desk: &mut Desk<'_>) {
        self.goal = Goal::Nothing;
        if self.returns == 0 {
            return;
        }
        self.returns -= 1;
        self.stay = desk.rng.u32(2..5);
        desk.seen.note(Seen::CameBack);
        let away_ms = desk.rng.u64(..2 * desk.scenario.timeout_ms());
        let event = if desk.rng.bool() { STARTED } else { NOTHING };
        self.plan(desk, Goal::Announce(event), away_ms);
    }

    fn plan(&mut self, desk: &mut Desk<'_>, goal: Goal, wait_ms: u64) {
        self.goal = goal;
        desk.wake_ms = Some(desk.now_ms + wait_ms);
    }

    /// Sends what the goal takes: a connect first, if there is no valid connection ID.
    fn ask(&mut self, desk: &mut Desk<'_>, attempt: u32) {
        let mut transaction = TransactionId::default();
        desk.rng.fill(&mut transaction.0);
        let id = self.usable_id(desk);
        let bytes = match (id, self.goal) {
            (_, Goal::Nothing) => return,
            (None, _) => connect(desk.rng, transaction),
            (Some(id), Goal::Announce(event)) => self.announce(desk.rng, id, transaction, event),
            (Some(id), Goal::Scrape) => self.scrape(desk, id, transaction),
        };
        let elsewhere = self.habits.two_homes && id.is_some() && attempt == 0;
        desk.out.push((self.sources[usize::from(elsewhere)], bytes));
        self.pending = Some(Pending { transaction, connecting: id.is_none(), attempt });
        desk.wake_ms = Some(desk.now_ms + (RETRY_MS << attempt));
    }

    fn usable_id(&self, desk: &mut Desk<'_>) -> Option<ConnectionId> {
        if self.habits.forger {
            return Some(ConnectionId(desk.rng.u64(..)));
        }
        let lifetime_s = u64::from(desk.scenario.rules.settings.connection_lifetime_s);
        let keep_ms = lifetime_s * if self.habits.stubborn { 3000 } else { 1000 };
        let (id, received_ms) = self.id?;
        (desk.now_ms - received_ms < keep_ms).then_some(id)
    }

    fn announce(
        &self,
        rng: &mut Rng,
        connection_id: ConnectionId,
        transaction: TransactionId,
        event_code: u32,
    ) -> Vec<u8> {
        let request = AnnounceRequest {
            connection_id,
            transaction,
            info_hash: self.torrent,
            peer_id: *b"-RT0001-simulated-00",
            downloaded: rng.u64(..),
            left: self.left,
            uploaded: rng.u64(..),
            event_code,
            ip: rng.u32(..),
            key: rng.u32(..),
            numwant: any_numwant(rng),
            port: self.port,
        };
        let mut bytes = vec![0; 98];
        assert_eq!(request.emit(&mut bytes), 98);
        if self.habits.options {
            bytes.extend(b"\x02\x0c/announce?a=\x01\x00");
        }
        bytes
    }

    fn scrape(&self, desk: &mut Desk<'_>, id: ConnectionId, transaction: TransactionId) -> Vec<u8> {
        let rng = &mut *desk.rng;
        let count = [1, 1, 1, 2, 60, 74, rng.usize(1..=100)][rng.usize(..7)];
        let torrents = &desk.scenario.torrents;
        let hashes: Vec<_> = (0..count)
            .map(|_| match rng.u8(..4) {
                0 => any_hash(rng),
                1 => self.torrent,
                _ => torrents[rng.usize(..torrents.len())],
            })
            .collect();
        let mut bytes = vec![0; 16 + 20 * count];
        assert_eq!(emit_scrape(&mut bytes, id, transaction, hashes), bytes.len());
        if rng.u8(..8) == 0 {
            bytes.extend(vec![7; rng.usize(1..20)]);
        }
        bytes
    }
}

fn connect(rng: &mut Rng, transaction: TransactionId) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    assert_eq!(emit_connect(&mut bytes, transaction), 16);
    if rng.u8(..20) == 0 {
        bytes.extend([0; 5]);
    }
    bytes
}

pub(crate) fn any_numwant(rng: &mut Rng) -> i32 {
    [-1, 0, 1, 30, 50, 200, i32::MAX, i32::MIN, 400, rng.i32(..)][rng.usize(..10)]
}

/// The next address, in the same IPv6 /64.
fn neighbour(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() ^ 0x1_0000).into()),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() ^ 0x1_0000).into()),
    }
}

/// The address as a socket for both families shows it, or as it is.
fn as_seen(address: IpAddr, mapped: bool) -> IpAddr {
    match address {
        IpAddr::V4(address) if mapped => address.to_ipv6_mapped().into(),
        address => address,
    }
}

const NOTHING: u32 = 0;
const COMPLETED: u32 = 1;
const STARTED: u32 = 2;
const STOPPED: u32 = 3;
const PAUSED: u32 = 4;
/// Retransmission n comes 15 * 2^n seconds after the one before.
const RETRY_MS: u64 = 15_000;
/// BEP 15 lets clients go on to n = 8, more than an hour; these give up earlier.
const ATTEMPTS_MAX: u32 = 6;
