//! Storms of what no client sends: the tracker stays up, accounts for every datagram, amplifies
//! nothing, and has every buffer and slot back.
//!
//! The pools are as small as they can be. A kind of datagram that kept a buffer or a slot would
//! keep all of them long before its storm is over, and nothing would be answered any more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Ask, Client, DEADLINE, Fleet, engine, eventually, hash};
use fastrand::Rng;
use ringtide::io::{Engine, LoopSizes};
use ringtide::telemetry::{Counter, DropReason, Snapshot};
use ringtide::tracker::core::TrackerSettings;

/// One receive buffer for each worker and one spare; one send at a time.
const TINY: LoopSizes = LoopSizes {
    sockets: 4,
    operations: 5,
    submission_entries: 4,
    receive_buffers: 2,
    receive_payload_bytes: 2048,
    send_slots: 1,
    forwards: false,
    segments: false,
    frame_buffers: 1,
};

/// Large enough that nothing runs out, small enough that a storm goes round many times.
const SMALL: LoopSizes =
    LoopSizes { submission_entries: 64, receive_buffers: 64, send_slots: 64, ..TINY };

/// A client that sends anything, in bursts, and checks each reply against its request.
struct Storm<'a> {
    client: &'a Client,
    /// The length of each request that may be answered, by its transaction ID.
    lengths: HashMap<[u8; 4], usize>,
    sent: u64,
    sent_bytes: u64,
    reply_bytes: u64,
}

impl<'a> Storm<'a> {
    fn new(client: &'a Client) -> Self {
        client.socket().set_read_timeout(Some(FENCE_WAIT)).unwrap();
        Self { client, lengths: HashMap::new(), sent: 0, sent_bytes: 0, reply_bytes: 0 }
    }

    /// Sends everything, with a fence after each burst: no socket buffer overflows.
    fn send(&mut self, requests: &[Vec<u8>]) {
        for burst in requests.chunks(BURST) {
            for request in burst {
                self.send_one(request);
            }
            self.fence();
        }
    }

    fn send_one(&mut self, request: &[u8]) {
        if let Some(transaction) = request.get(12..16) {
            let length = self.lengths.entry(transaction.try_into().unwrap()).or_default();
            *length = request.len().max(*length);
        }
        self.client.send(request);
        self.sent += 1;
        self.sent_bytes += request.len() as u64;
    }

    /// Connects until that is answered; what else is answered until then is checked.
    fn fence(&mut self) {
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            let transaction = self.client.transaction().0;
            let magic = [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0];
            self.send_one(&[&magic[..], &transaction].concat());
            let mut reply = [0; 65_536];
            // No reply in time: the fence found no slot.
            while let Ok(length) = self.client.socket().recv(&mut reply) {
                self.check(&reply[..length]);
                if reply[..8] == [&[0; 4][..], &transaction].concat() {
                    return;
                }
            }
        }
        panic!("the tracker went deaf");
    }

    fn check(&mut self, reply: &[u8]) {
        let transaction: [u8; 4] = reply[4..8].try_into().unwrap();
        let request = *self.lengths.get(&transaction).expect("a reply to a request of ours");
        match reply[3] {
            0 => assert_eq!(reply.len(), 16, "a connect response"),
            3 => assert!(reply.len() <= request, "an error of {} bytes", reply.len()),
            1 => assert!(reply.len() <= 1472, "an announce response of {} bytes", reply.len()),
            _ => assert!((reply.len() - 8) / 12 <= (request - 16) / 20, "a scrape response"),
        }
        self.reply_bytes += reply.len() as u64;
    }
}

/// What a lost fence costs. One that is only late is asked again, which does no harm.
const FENCE_WAIT: Duration = Duration::from_millis(20);
const BURST: usize = 64;

fn wrong_ids_answered() -> TrackerSettings {
    TrackerSettings { answer_bad_connection_ids: true, ..TrackerSettings::default() }
}

/// Garbage of every length up to past the longest that is taken, from all zeros to noise.
fn garbage(rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    for length in 0..=2100 {
        let mut noise = vec![0; length];
        rng.fill(&mut noise);
        // Half of it would parse but for the connection ID: the action is a known one.
        let mut nearly = noise.clone();
        if let Some(action) = nearly.get_mut(8..12) {
            action.copy_from_slice(&rng.u32(0..4).to_be_bytes());
        }
        requests.extend([noise, nearly, vec![0; length], vec![0xff; length]]);
    }
    rng.shuffle(&mut requests);
    requests
}

/// Valid requests, cut at every length and with each of their bits flipped.
fn mutilated(client: &Client) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    let connect = [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 1, 2, 3, 4].to_vec();
    let announce = client.announce_request(&Ask::leecher(hash(1), 1001)).to_vec();
    let scrape = client.scrape_request(&[hash(1), hash(2)]);
    for valid in [connect, announce, scrape] {
        requests.extend((0..valid.len()).map(|length| valid[..length].to_vec()));
        for bit in 0..8 * valid.len() {
            let mut flipped = valid.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            requests.push(flipped);
        }
        requests.push(valid);
    }
    requests
}

/// Longer than a receive buffer, some of them valid but for that, up to the longest there is.
fn oversized(client: &Client) -> Vec<Vec<u8>> {
    let announce = client.announce_request(&Ask::leecher(hash(1), 1001));
    [2049, 2050, 2064, 4096, 9000, 65_507]
        .into_iter()
        .flat_map(|length| {
            let mut request = announce.to_vec();
            request.resize(length, 0);
            [request, vec![0xff; length]]
        })
        .collect()
}

/// Stops the fleet once each datagram has come: all are accounted for, and no worker died of any.
fn stop(fleet: Fleet, sent: u64) -> Snapshot {
    // A fence is for one worker; the other may have some left to take.
    let received = || fleet.total().get(Counter::PacketsReceived) == sent;
    eventually("every datagram to come", || received().then_some(()));
    let total = fleet.started.stop_and_check();
    assert_eq!(total.get(Counter::WorkerRestarts), 0);
    assert_eq!(total.get(Counter::CompletionQueueOverflows), 0);
    assert_eq!(total.dropped(DropReason::SendError) + total.dropped(DropReason::Panic), 0);
    total
}

#[test]
fn garbage_earns_no_more_than_it_costs() {
    for settings in [TrackerSettings::default(), wrong_ids_answered()] {
        let answers = settings.answer_bad_connection_ids;
        let fleet = Fleet::start(2, SMALL, settings);
        let client = fleet.client(0);
        let mut storm = Storm::new(&client);
        storm.send(&garbage(&mut Rng::with_seed(1)));
        storm.send(&oversized(&{
            let stranger = fleet.client(0);
            stranger.use_id(ringtide::wire::bep15::ConnectionId(1));
            stranger
        }));
        let (sent, reply_bytes) = (storm.sent, storm.reply_bytes);
        assert!(reply_bytes <= storm.sent_bytes);
        let total = stop(fleet, sent);
        assert!(total.get(Counter::BytesSent) <= total.get(Counter::BytesReceived));
        assert_eq!(total.get(Counter::AnnouncesIpv4) + total.get(Counter::ScrapesIpv4), 0);
        for reason in [
            DropReason::TooShort,
            DropReason::BadMagic,
            DropReason::UnknownAction,
            DropReason::ScrapeWithoutHash,
            DropReason::Truncated,
        ] {
            assert!(total.dropped(reason) > 0, "{} never happened", reason.name());
        }
        assert_eq!(total.get(Counter::BadConnectionIdsAnswered) > 0, answers);
        assert_eq!(total.dropped(DropReason::BadConnectionId) > 0, !answers);
    }
}

#[test]
fn tiny_pools_run_dry_and_recover() {
    let fleet = Fleet::start(1, TINY, wrong_ids_answered());
    for listen in [0, 1] {
        let [raging, honest] = [0, 1].map(|_| fleet.client(listen));
        honest.connect();
        raging.connect();
        let mut storm = Storm::new(&raging);
        let mut rng = Rng::with_seed(2);
        let mut requests = garbage(&mut rng);
        // Each kind many times over, so that none hides behind the few buffers it could keep.
        for _ in 0..3 {
            requests.extend(mutilated(&raging));
            requests.extend(oversized(&raging));
        }
        rng.shuffle(&mut requests);
        storm.send(&requests);
        // One request at a time, and a slot is free for each.
        for number in 0..200 {
            honest.announce(&Ask::leecher(hash(number), 2000));
        }
        let answered: Vec<_> = (0..74).map(hash).collect();
        assert_eq!(honest.scrape(&answered).len(), 74);
    }
    let total = fleet.total();
    assert!(total.get(Counter::ReceiveRearms) > 1000, "buffers never ran out");
    let full = total.dropped(DropReason::SendSlotsFull);
    match engine() {
        Engine::IoUring => assert!(full > 100, "slots never ran out"),
        // What has no slot is sent at once.
        Engine::Epoll => assert_eq!(full, 0),
    }
    assert!(total.dropped(DropReason::Truncated) > 0);
    fleet.started.stop_and_check();
}

#[test]
fn others_are_served_in_the_midst_of_a_storm() {
    let fleet = Fleet::start(2, SMALL, TrackerSettings::default());
    let over = AtomicBool::new(false);
    let (stormed, served) = std::thread::scope(|scope| {
        let rage = |listen: usize| {
            let client = fleet.client(listen);
            let mut requests = [mutilated(&client), oversized(&client)].concat();
            requests.extend(garbage(&mut Rng::with_seed(3)));
            Rng::with_seed(4).shuffle(&mut requests);
            let mut storm = Storm::new(&client);
            storm.send(&requests);
            storm.sent + 1
        };
        let serve = || {
            let clients = [fleet.client(0), fleet.client(1)];
            let mut requests = clients.len() as u64;
            // At least so many, and for as long as the storm lasts.
            for number in 0.. {
                if number >= 500 && over.load(Ordering::Relaxed) {
                    break;
                }
                for client in &clients {
                    let torrent = hash(100 + number % 50);
                    let reply = client.announce(&Ask::leecher(torrent, 2000));
                    assert_eq!((reply.counts(), reply.peers.len()), ((0, 1), 0));
                    assert_eq!(client.scrape_one(torrent), (0, 0, 1));
                    requests += 2;
                }
            }
            requests
        };
        let storms = [0, 1].map(|listen| scope.spawn(move || rage(listen)));
        let server = scope.spawn(serve);
        let stormed: u64 = storms.map(|storm| storm.join().unwrap()).iter().sum();
        over.store(true, Ordering::Relaxed);
        (stormed, server.join().unwrap())
    });
    let total = stop(fleet, stormed + served);
    assert_eq!(total.dropped(DropReason::SendSlotsFull) + total.dropped(DropReason::Shutdown), 0);
}
