//! The same input through every engine: the same output, results and counters.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Ask, Client, DEADLINE, Started, hash, uninterrupted};
use fastrand::Rng;
use ringtide::io::{
    BufferSlice, DatagramService, Forward, Now, Packet, SendCompletion, SendOptions, ServiceId,
    SocketId, Transmit, TransmitError,
};
use ringtide::io::{Engine, LoopSizes};
use ringtide::telemetry::{Counter, Counters, DropReason, Snapshot};
use ringtide::tracker::core::TrackerSettings;
use ringtide::tracker::core::access_list::AccessList;
use ringtide::tracker::core::policy::{Policy, SharedPolicy};
use ringtide::tracker::store::{Secrets, Shards};
use ringtide::tracker::udp::connection_id::ConnectionIds;
use ringtide::tracker::udp::handler::{Tracker, TrackerParts};

/// Counters that tell how an engine works, not what it did.
const OF_THE_ENGINE: [Counter; 3] =
    [Counter::Iterations, Counter::ReceiveRearms, Counter::CompletionQueueOverflows];

fn assert_same_counts(all: &[(Engine, Snapshot)]) {
    let [(_, first), others @ ..] = all else { panic!("no engine") };
    for (engine, other) in others {
        for counter in Counter::ALL.iter().filter(|counter| !OF_THE_ENGINE.contains(counter)) {
            assert_eq!(other.get(*counter), first.get(*counter), "{} {engine:?}", counter.name());
        }
        for reason in DropReason::ALL {
            let (there, here) = (other.dropped(*reason), first.dropped(*reason));
            assert_eq!(there, here, "{} {engine:?}", reason.name());
        }
    }
}

/// A tracker for which time stands still, so that replies depend on nothing but requests.
struct Timeless(Tracker);

const NOW: Now = Now::from_unix(Duration::from_secs(1_700_000_000));

impl DatagramService for Timeless {
    fn on_datagram<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        self.0.on_datagram(NOW, packet, tx);
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, tx: &mut T) {
        self.0.on_tick(NOW, tx);
    }
}

fn tracker_on(engine: Engine) -> Started {
    let settings =
        TrackerSettings { answer_bad_connection_ids: true, ..TrackerSettings::default() };
    let ids = ConnectionIds::new([7; 16], settings.connection_lifetime_s);
    let policy = SharedPolicy::new(Policy { settings, access: AccessList::default() }, [7; 2]);
    let secrets = Secrets::from_seed(&[7; Secrets::SEED_BYTES]);
    let shards = Arc::new(Shards::new(1, &secrets));
    let make = move |worker, counters| {
        let (shards, policy, ids) = (Arc::clone(&shards), policy.clone(), ids.clone());
        Timeless(Tracker::new(TrackerParts { worker, shards, policy, ids, counters }))
    };
    let listen = ["0.0.0.0:0", "[::]:0"];
    Started::on(engine, 1, &listen, None, LoopSizes::TRACKER, make)
}

/// A request that may be anything. A forged connection ID has a transaction of its own too.
fn request(client: &Client, rng: &mut Rng) -> Vec<u8> {
    let ask = Ask {
        info_hash: hash(rng.u32(..20)),
        port: rng.u16(..50),
        left: rng.u64(..2),
        event: rng.u32(..5),
        numwant: rng.i32(-1..80),
        ip: 0,
        peer_id: rng.u128(..).to_be_bytes().repeat(2)[..20].try_into().unwrap(),
    };
    let mut request = match rng.u32(..4) {
        0 => client.scrape_request(&(0..rng.u32(1..9)).map(hash).collect::<Vec<_>>()),
        _ => client.announce_request(&ask).to_vec(),
    };
    match rng.u32(..8) {
        0 => request[rng.usize(..8)] ^= 1 << rng.u32(..8),
        1 => request.truncate(rng.usize(..request.len())),
        2 => request.resize(rng.usize(2000..9000), 0),
        3 => rng.fill(&mut request),
        _ => {}
    }
    request
}

/// Sends random requests in bursts and returns what comes back to each client, in order.
fn storm(server: &Started, sockets: &[(UdpSocket, usize)]) -> Vec<Vec<Vec<u8>>> {
    let mut rng = Rng::with_seed(7);
    let clients: Vec<Client> = sockets
        .iter()
        .map(|(socket, listen)| {
            let host = socket.local_addr().unwrap().ip();
            Client::with(socket.try_clone().unwrap(), (host, server.port(*listen)).into())
        })
        .collect();
    let mut replies = vec![Vec::new(); clients.len()];
    for _ in 0..200 {
        let at = rng.usize(..clients.len());
        let client = &clients[at];
        client.id();
        for _ in 0..rng.usize(1..40) {
            client.send(&request(client, &mut rng));
        }
        // A connect behind them: what it is answered behind is all there is.
        let transaction = client.transaction().0;
        let magic = [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0];
        client.send(&[&magic[..], &transaction].concat());
        loop {
            let reply = client.receive();
            let is_fence = reply[..8] == [&[0; 4][..], &transaction].concat();
            replies[at].push(reply);
            if is_fence {
                break;
            }
        }
    }
    replies
}

#[test]
fn a_tracker_answers_alike_on_every_engine() {
    // The same sockets for all: replies depend on the clients' addresses.
    let sockets: Vec<(UdpSocket, usize)> = [("127.0.0.1", 0), ("127.0.0.9", 0), ("::1", 1)]
        .map(|(host, listen)| (UdpSocket::bind((host, 0)).unwrap(), listen))
        .into();
    let mut counts = Vec::new();
    let mut answers = Vec::new();
    for engine in Engine::ALL {
        let started = tracker_on(engine);
        answers.push(storm(&started, &sockets));
        counts.push((engine, started.stop_and_check()));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "the answers differ");
    assert_same_counts(&counts);
    let total = &counts[0].1;
    for counter in [
        Counter::AnnouncesIpv4,
        Counter::AnnouncesIpv6,
        Counter::ScrapesIpv4,
        Counter::ScrapesIpv6,
        Counter::BadConnectionIdsAnswered,
        Counter::UnstoredPortZero,
        Counter::Completed,
    ] {
        assert!(total.get(counter) > 0, "{} never happened", counter.name());
    }
    for reason in [DropReason::Truncated, DropReason::TooShort, DropReason::UnknownAction] {
        assert!(total.dropped(reason) > 0, "{} never happened", reason.name());
    }
}

/// What a datagram asks [`Obedient`] to do with it. The rest of it is a number to tell it by.
const COMMANDS: u8 = 9;

/// How a forward ended: its tag, what became of it, and how much was to be sent.
type End = (u32, Result<usize, i32>, usize);

/// Sends in every way there is, as its datagrams ask, and notes how that ends.
struct Obedient {
    /// Kept across datagrams, to be sent together.
    kept: Vec<BufferSlice>,
    ends: Arc<Mutex<Vec<End>>>,
    counters: Arc<Counters>,
}

/// In the tag of a forward that is sent once more when it has ended.
const AGAIN: u32 = 1 << 31;

impl Obedient {
    fn obey(&mut self, packet: &Packet<'_>, tx: &mut impl Transmit) {
        let [command, number @ ..] = packet.payload else { return };
        let tag = u32::from_be_bytes(*number.first_chunk().unwrap());
        let start = packet.payload.as_ptr() as usize - packet.buffer.bytes().as_ptr() as usize;
        let slice = |from: usize, to: usize| {
            let range = start + from..start + to;
            BufferSlice { buffer: packet.buffer.clone(), range }
        };
        let length = packet.payload.len();
        let whole = [slice(0, length)];
        let forward = Forward {
            socket: packet.path.socket(),
            to: Some(packet.path.client()),
            ipv6: packet.path.client().is_ipv6(),
            slices: &whole,
            options: SendOptions::default(),
            tag,
        };
        let cut = |size| SendOptions { segment_bytes: Some(size), ..SendOptions::default() };
        let forwarded = match *command {
            0 => tx.reply(packet.path, |out| {
                out[..length].copy_from_slice(packet.payload);
                length
            }),
            1 => {
                let options = SendOptions { segment_bytes: None, ttl: Some(7), tos: Some(0x88) };
                tx.forward(Forward { options, ..forward })
            }
            2 => {
                let slices = [slice(3, length), slice(0, 1), slice(2, 4)];
                tx.forward(Forward { slices: &slices, ..forward })
            }
            3 => tx.forward(Forward { options: cut(100), ..forward }),
            4 => {
                let unknown = tx.forward(Forward { socket: SocketId(900), ..forward });
                return assert_eq!(unknown, Err(TransmitError::NoSocket));
            }
            // No interface carries it in one piece.
            5 => tx.forward(Forward { options: cut(65_500), ..forward }),
            6 => tx.forward(Forward { to: None, ..forward }),
            7 => tx.forward(Forward { tag: tag | AGAIN, ..forward }),
            _ => {
                // All of one length, so that they can leave as one super-packet.
                self.kept.push(slice(0, 60));
                if self.kept.len() < 8 {
                    return;
                }
                let kept = std::mem::take(&mut self.kept);
                tx.forward(Forward { slices: &kept, options: cut(60), ..forward })
            }
        };
        forwarded.unwrap();
    }
}

impl ringtide::io::Dispatch for Obedient {
    fn on_datagram<T: Transmit>(&mut self, _: ServiceId, _: Now, packet: &Packet<'_>, tx: &mut T) {
        self.obey(packet, tx);
    }

    fn on_forwarded<T: Transmit>(
        &mut self,
        _: ServiceId,
        _: Now,
        forwarded: &SendCompletion<'_>,
        tx: &mut T,
    ) {
        let wanted = forwarded.slices.iter().map(|slice| slice.bytes().len()).sum();
        self.ends.lock().unwrap().push((forwarded.tag, forwarded.result, wanted));
        self.counters.count(Counter::Completed);
        if forwarded.tag & AGAIN != 0 {
            // To where nobody need be: what counts is how it ends.
            let again = Forward {
                socket: SocketId(0),
                to: Some(([127, 0, 0, 1], 9).into()),
                ipv6: false,
                slices: forwarded.slices,
                options: forwarded.options,
                tag: forwarded.tag & !AGAIN,
            };
            tx.forward(again).unwrap();
        }
    }
}

/// Random commands, in bursts, each with a length of its own.
fn command_all(server: &Started, client: &UdpSocket) -> Vec<Vec<u8>> {
    let mut rng = Rng::with_seed(8);
    let address = ("127.0.0.1", server.port(0));
    let mut received = Vec::new();
    let mut number = 0u32;
    for _ in 0..100 {
        for _ in 0..rng.usize(1..30) {
            let mut datagram = vec![rng.u8(..COMMANDS)];
            datagram.extend(number.to_be_bytes());
            datagram.resize(rng.usize(60..900), number as u8);
            client.send_to(&datagram, address).unwrap();
            number += 1;
        }
        // An answered one behind them: all that is to come has come before its reply.
        let fence = [&[0][..], &u32::MAX.to_be_bytes(), &number.to_be_bytes()].concat();
        client.send_to(&fence, address).unwrap();
        loop {
            let mut datagram = vec![0; 2000];
            let length = uninterrupted(|| client.recv(&mut datagram)).unwrap();
            datagram.truncate(length);
            if datagram == fence {
                break;
            }
            received.push(datagram);
        }
    }
    received
}

#[test]
fn sends_leave_and_end_alike_on_every_engine() {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let sizes = LoopSizes { forwards: true, ..LoopSizes::TRACKER };
    let mut counts = Vec::new();
    let mut outputs = Vec::new();
    for engine in Engine::ALL {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let started = Started::on(engine, 1, &["127.0.0.1:0"], None, sizes, {
            let ends = Arc::clone(&ends);
            move |_, counters| Obedient { kept: Vec::new(), ends: Arc::clone(&ends), counters }
        });
        let received = command_all(&started, &client);
        counts.push((engine, started.stop()));
        let mut ends = std::mem::take(&mut *ends.lock().unwrap());
        // An engine may learn of several ends in any order.
        ends.sort_unstable();
        outputs.push((received, ends));
    }
    for pair in outputs.windows(2) {
        assert!(pair[0].0 == pair[1].0, "what arrives differs");
        assert_eq!(pair[0].1, pair[1].1);
    }
    assert_same_counts(&counts);
    let ends = &outputs[0].1;
    assert!(ends.iter().any(|(_, result, _)| result.is_err()), "nothing failed");
    let whole = |(_, result, wanted): &&End| *result == Ok(*wanted);
    assert!(ends.iter().filter(whole).count() > ends.len() / 2);
}
