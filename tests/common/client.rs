//! A client of the tracker, as strict as any real one: what it does not expect is a failure.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use ringtide::tracker::core::InfoHash;
use ringtide::wire::bep15::request::{AnnounceRequest, emit_connect, emit_scrape};
use ringtide::wire::bep15::response::ScrapeEntry;
use ringtide::wire::bep15::{ConnectionId, Family, Response, TransactionId};

use super::{DEADLINE, uninterrupted};

/// What an announce asks; the rest of the request is filled in.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub info_hash: InfoHash,
    pub port: u16,
    pub left: u64,
    pub event: u32,
    pub numwant: i32,
    pub ip: u32,
    pub peer_id: [u8; 20],
}

impl Ask {
    /// A leecher on `port`, no event, numwant left to the tracker.
    pub fn leecher(info_hash: InfoHash, port: u16) -> Self {
        Self { info_hash, port, left: 1000, event: 0, numwant: -1, ip: 0, peer_id: PEER_ID }
    }

    /// A seeder on `port`, no event, numwant left to the tracker.
    pub fn seeder(info_hash: InfoHash, port: u16) -> Self {
        Self { left: 0, ..Self::leecher(info_hash, port) }
    }

    pub fn completed(self) -> Self {
        Self { event: 1, left: 0, ..self }
    }

    pub fn started(self) -> Self {
        Self { event: 2, ..self }
    }

    pub fn stopped(self) -> Self {
        Self { event: 3, ..self }
    }

    pub fn event(self, event: u32) -> Self {
        Self { event, ..self }
    }

    pub fn numwant(self, numwant: i32) -> Self {
        Self { numwant, ..self }
    }
}

const PEER_ID: [u8; 20] = *b"-RT0001-abcdefghijkl";

/// The answer to an announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    pub interval_s: u32,
    pub seeders: u32,
    pub leechers: u32,
    pub peers: Vec<SocketAddr>,
    /// The whole reply's length.
    pub bytes: usize,
}

impl Announced {
    pub fn counts(&self) -> (u32, u32) {
        (self.seeders, self.leechers)
    }

    /// The ports of the peers, sorted.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.peers.iter().map(SocketAddr::port).collect();
        ports.sort_unstable();
        ports
    }
}

/// One client: a socket of its own and, once asked for, a connection ID.
pub struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    transactions: Cell<u32>,
    id: Cell<Option<ConnectionId>>,
}

impl Client {
    /// A client on the loopback address of `server`'s family.
    pub fn new(server: SocketAddr) -> Self {
        Self::at(if server.is_ipv4() { "127.0.0.1" } else { "::1" }, server)
    }

    /// A client at the address `source`.
    pub fn at(source: &str, server: SocketAddr) -> Self {
        let source: IpAddr = source.parse().unwrap();
        Self::with(UdpSocket::bind((source, 0)).unwrap(), server)
    }

    /// A client on a socket that is there already.
    pub fn with(socket: UdpSocket, server: SocketAddr) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        // Clients do not share transaction IDs, so that a reply to another one is noticed.
        let first = u32::from(socket.local_addr().unwrap().port()) << 16;
        Self { socket, server, transactions: Cell::new(first), id: Cell::new(None) }
    }

    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Forgets the connection ID and uses this one.
    pub fn use_id(&self, id: ConnectionId) {
        self.id.set(Some(id));
    }

    /// The connection ID; connects first where there is none.
    pub fn id(&self) -> ConnectionId {
        self.id.get().unwrap_or_else(|| self.connect())
    }

    /// A number that no other request has.
    pub fn transaction(&self) -> TransactionId {
        let number = self.transactions.get();
        self.transactions.set(number.wrapping_add(1));
        TransactionId(number.to_be_bytes())
    }

    pub fn send(&self, request: &[u8]) {
        assert_eq!(self.socket.send_to(request, self.server).unwrap(), request.len());
    }

    /// The next reply, which has to come from the address that was asked.
    #[track_caller]
    pub fn receive(&self) -> Vec<u8> {
        let mut reply = vec![0; 65_536];
        let received = uninterrupted(|| self.socket.recv_from(&mut reply));
        let (length, from) = received.expect("no reply");
        assert_eq!((from.ip(), from.port()), (self.server.ip(), self.server.port()));
        reply.truncate(length);
        reply
    }

    /// Sends a request and returns the next reply. Nothing is lost on loopback: it is sent once.
    #[track_caller]
    pub fn exchange(&self, request: &[u8]) -> Vec<u8> {
        self.send(request);
        self.receive()
    }

    /// Asks for a connection ID and keeps it.
    ///
    /// The reply being the next one also shows that nothing before went answered: where a test
    /// sends what must not be answered, this is its proof.
    #[track_caller]
    pub fn connect(&self) -> ConnectionId {
        let sent = self.transaction();
        let mut request = [0; 16];
        emit_connect(&mut request, sent);
        match self.parse(&self.exchange(&request)) {
            Response::Connect { transaction, connection_id } => {
                assert_eq!(transaction, sent);
                self.id.set(Some(connection_id));
                connection_id
            }
            other => panic!("not a connect response: {other:?}"),
        }
    }

    /// An announce request with a transaction ID of its own.
    pub fn announce_request(&self, ask: &Ask) -> [u8; 98] {
        let mut request = [0; 98];
        let length = AnnounceRequest {
            connection_id: self.id(),
            transaction: self.transaction(),
            info_hash: ask.info_hash,
            peer_id: ask.peer_id,
            downloaded: 0,
            left: ask.left,
            uploaded: 0,
            event_code: ask.event,
            ip: ask.ip,
            key: 0xdead_beef,
            numwant: ask.numwant,
            port: ask.port,
        }
        .emit(&mut request);
        assert_eq!(length, request.len());
        request
    }

    #[track_caller]
    pub fn announce(&self, ask: &Ask) -> Announced {
        let request = self.announce_request(ask);
        let reply = self.exchange(&request);
        self.announced(&reply, &request)
    }

    /// Reads the answer to an announce.
    #[track_caller]
    pub fn announced(&self, reply: &[u8], request: &[u8]) -> Announced {
        match self.parse(reply) {
            Response::Announce { header, peers } => {
                assert_eq!(header.transaction.0, request[12..16]);
                Announced {
                    interval_s: header.interval_s,
                    seeders: header.seeders,
                    leechers: header.leechers,
                    peers: peers.iter().collect(),
                    bytes: reply.len(),
                }
            }
            other => panic!("not an announce response: {other:?}"),
        }
    }

    /// Announces and returns the error message that has to come back.
    #[track_caller]
    pub fn announce_refused(&self, ask: &Ask) -> String {
        let request = self.announce_request(ask);
        let reply = self.exchange(&request);
        match self.parse(&reply) {
            Response::Error { transaction, message } => {
                assert_eq!(transaction.0, request[12..16]);
                assert!(reply.len() <= request.len());
                String::from_utf8(message.to_vec()).unwrap()
            }
            other => panic!("not an error response: {other:?}"),
        }
    }

    pub fn scrape_request(&self, hashes: &[InfoHash]) -> Vec<u8> {
        let mut request = vec![0; 16 + 20 * hashes.len()];
        let length =
            emit_scrape(&mut request, self.id(), self.transaction(), hashes.iter().copied());
        assert_eq!(length, request.len());
        request
    }

    #[track_caller]
    pub fn scrape(&self, hashes: &[InfoHash]) -> Vec<ScrapeEntry> {
        let request = self.scrape_request(hashes);
        match self.parse(&self.exchange(&request)) {
            Response::Scrape { transaction, entries } => {
                assert_eq!(transaction.0, request[12..16]);
                entries.iter().collect()
            }
            other => panic!("not a scrape response: {other:?}"),
        }
    }

    /// Scrapes one torrent: seeders, completed, leechers.
    #[track_caller]
    pub fn scrape_one(&self, info_hash: InfoHash) -> (u32, u32, u32) {
        let [entry] = self.scrape(&[info_hash])[..] else { panic!("not one entry") };
        (entry.seeders, entry.completed, entry.leechers)
    }

    pub fn family(&self) -> Family {
        Family::of(self.server.ip())
    }

    #[track_caller]
    fn parse<'a>(&self, reply: &'a [u8]) -> Response<'a> {
        assert!(reply.len() <= self.family().reply_bytes_max(), "{} bytes", reply.len());
        Response::parse(reply, self.family()).unwrap()
    }
}

/// An info hash that looks like any other, different for each number.
pub fn hash(number: u32) -> InfoHash {
    let mut bytes = [0; 20];
    fastrand::Rng::with_seed(u64::from(number) + 1).fill(&mut bytes);
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    InfoHash(bytes)
}
