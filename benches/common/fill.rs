//! Fills a tracker over UDP with a known number of torrents and peers.

use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::time::{Duration, Instant};

use ringtide::wire::bep15::{ANNOUNCE_REQUEST_BYTES, request_field as request};

/// The info hash of torrent `number`: spread over all values, as real ones are. Trackers that
/// choose a table by the first bits would otherwise put all into one.
pub(crate) fn info_hash(number: u32) -> [u8; 20] {
    let mut info_hash = [0; 20];
    let spread = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    info_hash[..8].copy_from_slice(&spread);
    info_hash[8..16].copy_from_slice(&spread);
    info_hash[16..].copy_from_slice(&number.to_be_bytes());
    info_hash
}

/// One client that stands for many peers: its address is theirs, the port is their own.
pub(crate) struct Filler {
    client: UdpSocket,
    announce: [u8; ANNOUNCE_REQUEST_BYTES],
}

impl Filler {
    /// Connects, waiting until the tracker answers.
    pub(crate) fn connect(tracker: SocketAddr) -> Self {
        let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        client.connect(tracker).expect("a connected socket");
        client.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let mut announce = [0; ANNOUNCE_REQUEST_BYTES];
        announce[request::CONNECTION_ID].copy_from_slice(&connection_id(&client));
        announce[11] = 1;
        // Some trackers take 0 for as many as they like.
        announce[request::NUMWANT.end - 1] = 1;
        announce[request::PEER_ID].copy_from_slice(b"-RT0001-000000000000");
        Self { client, announce }
    }

    /// Announces `peers` peers to each of `torrents` torrents, one in four of them seeding, and
    /// returns how many there are. They come in turns, as announces would.
    pub(crate) fn fill(&mut self, torrents: u32, peers: u16) -> u64 {
        for peer in 1..=peers {
            self.announce[request::PORT].copy_from_slice(&peer.to_be_bytes());
            self.announce[request::LEFT.end - 1] = u8::from(!peer.is_multiple_of(4));
            // Some trackers know a peer by its ID.
            let id = request::PEER_ID;
            self.announce[id.end - 2..id.end].copy_from_slice(&peer.to_be_bytes());
            for first in (0..torrents).step_by(WINDOW as usize) {
                self.announce_to(first..(first + WINDOW).min(torrents));
            }
        }
        u64::from(torrents) * u64::from(peers)
    }

    /// Announces one peer to each of `torrents`, and again to all of them when a reply is missing.
    fn announce_to(&mut self, torrents: Range<u32>) {
        let mut reply = [0; REPLY_BYTES];
        for _ in 0..ATTEMPTS_MAX {
            for torrent in torrents.clone() {
                self.announce[request::INFO_HASH].copy_from_slice(&info_hash(torrent));
                self.client.send(&self.announce).expect("loopback takes it");
            }
            if torrents.clone().all(|_| self.is_announced(&mut reply)) {
                return;
            }
        }
        panic!("replies are missing, or refuse");
    }

    /// Whether a reply says so. One that refuses comes from a tracker that has not read its list
    /// of torrents yet.
    fn is_announced(&self, reply: &mut [u8]) -> bool {
        loop {
            match self.client.recv(reply) {
                // Late, from when more than one was asked for.
                Ok(16) if reply[..4] == [0, 0, 0, 0] => {}
                Ok(length) if length >= 20 && reply[..4] == [0, 0, 0, 1] => return true,
                Ok(_) => {
                    std::thread::sleep(REFUSED_PAUSE);
                    return false;
                }
                Err(_) => return false,
            }
        }
    }
}

/// Asks for a connection ID until the tracker answers.
fn connection_id(client: &UdpSocket) -> [u8; 8] {
    let mut reply = [0; REPLY_BYTES];
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        let mut request = [0; 16];
        request[..8].copy_from_slice(&0x0417_2710_1980_u64.to_be_bytes());
        // Refused until the tracker has bound its port.
        let _ = client.send(&request);
        if client.recv(&mut reply).is_ok_and(|length| length == 16) {
            return *reply[8..].first_chunk().expect("16 bytes");
        }
    }
    panic!("the tracker does not answer");
}

const WINDOW: u32 = 200;
const ATTEMPTS_MAX: usize = 100;
const START_TIMEOUT: Duration = Duration::from_secs(10);
const REPLY_BYTES: usize = 2048;
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
