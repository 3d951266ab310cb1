//! Workers that meet at one shard.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::explore;
use crate::io::{DatagramService, Sent};
use crate::io::{Now, Packet, ReceivePool, RecordedTransmit, ReplyPath, SocketId};
use crate::telemetry::Counters;
use crate::tracker::core::TrackerSettings;
use crate::tracker::core::access_list::AccessList;
use crate::tracker::core::policy::{Policy, SharedPolicy};
use crate::tracker::core::source_limits::{Decision, RateLimit, SourceLimitSettings, SourceLimits};
use crate::tracker::store::{Secrets, Shards};
use crate::tracker::udp::connection_id::ConnectionIds;
use crate::tracker::udp::handler::{Tracker, TrackerParts};

const NOW: Now = Now::from_unix(Duration::from_secs(1_700_000_000));

#[derive(Clone)]
struct Process {
    shards: Arc<Shards>,
    policy: SharedPolicy,
    ids: ConnectionIds,
}

impl Process {
    fn new() -> Self {
        let settings = TrackerSettings::default();
        let ids = ConnectionIds::new([7; 16], settings.connection_lifetime_s);
        let secrets = Secrets::from_seed(&[7; Secrets::SEED_BYTES]);
        let policy = SharedPolicy::new(Policy { settings, access: AccessList::default() }, [1, 2]);
        Self { shards: Arc::new(Shards::new(1, &secrets)), policy, ids }
    }

    /// What a worker answers when this client announces itself as a leecher.
    fn announce(&self, worker: usize, from: &str, info_hash: u8) -> Sent {
        let from: SocketAddr = from.parse().unwrap();
        let id = self.ids.issue(NOW, from.ip());
        // BEP 15: connection ID, action 1, transaction ID, info hash, peer ID, downloaded, left,
        // uploaded, event 2, IP, key, numwant, port.
        let mut request = id.0.to_be_bytes().to_vec();
        request.extend([0, 0, 0, 1, 1, 2, 3, 4]);
        request.extend([info_hash; 20]);
        request.extend([0; 20]);
        request.extend([0; 8]);
        request.extend([0, 0, 0, 0, 0, 0, 0, 9]);
        request.extend([0; 8]);
        request.extend([0, 0, 0, 2]);
        request.extend([0; 8]);
        request.extend([0xff; 4]);
        request.extend(from.port().to_be_bytes());

        let counters = Arc::new(Counters::default());
        let (shards, policy) = (Arc::clone(&self.shards), self.policy.clone());
        let ids = self.ids.clone();
        let mut tracker = Tracker::new(TrackerParts { worker, shards, policy, ids, counters });
        let pool = ReceivePool::new(1, 2048);
        let buffer = pool.fill(&request).unwrap();
        let path = ReplyPath::new(SocketId(0), from, None);
        let mut tx = RecordedTransmit::default();
        tracker.on_datagram(
            NOW,
            &Packet { path, payload: buffer.bytes(), buffer: &buffer },
            &mut tx,
        );
        assert_eq!(tx.sent.len(), 1);
        tx.sent.remove(0)
    }
}

fn leechers(reply: &Sent) -> u32 {
    u32::from_be_bytes(*reply.bytes[12..].first_chunk().unwrap())
}

#[test]
fn of_two_that_announce_at_once_the_second_learns_of_the_first() {
    explore("one torrent, two workers", || {
        let process = Process::new();
        let elsewhere = {
            let process = process.clone();
            thread::spawn(move || process.announce(1, "10.0.0.1:1001", 7))
        };
        let here = process.announce(0, "10.0.0.2:1002", 7);
        let mut counts = [leechers(&here), leechers(&elsewhere.join().unwrap())];
        counts.sort_unstable();
        assert_eq!(counts, [1, 2], "one saw itself alone, the other both");
        let gauges = process.shards.gauges().next().unwrap();
        assert_eq!((gauges.torrents(), gauges.peers()), (1, 2));
    });
}

#[test]
fn gauges_agree_with_the_shard_when_all_have_let_go() {
    explore("gauges", || {
        let process = Process::new();
        let elsewhere = {
            let process = process.clone();
            thread::spawn(move || drop(process.announce(1, "10.0.0.1:1001", 7)))
        };
        let peers = process.shards.gauges().next().unwrap().peers();
        assert!(peers <= 1);
        drop(process.announce(0, "[fd00::2]:1002", 8));
        elsewhere.join().unwrap();
        let shard = process.shards.lock(0);
        let held = (shard.ipv4.peers(), shard.ipv6.peers());
        drop(shard);
        let gauges = process.shards.gauges().next().unwrap();
        assert_eq!((gauges.peers_ipv4(), gauges.peers_ipv6()), held);
        assert_eq!(held, (1, 1));
    });
}

#[test]
fn requests_at_once_never_pass_a_limit() {
    explore("one source at two workers", || {
        let limit = RateLimit { per_s: 1, burst: 2 };
        let settings = SourceLimitSettings { announces: limit, connects: limit, table_sources: 8 };
        let limits = SourceLimits::new(settings, [1, 2]);
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        let elsewhere = {
            let limits = limits.clone();
            thread::spawn(move || {
                [0; 2].map(|_| limits.announce(NOW, source) == Decision::Accepted)
            })
        };
        let here = limits.announce(NOW, source) == Decision::Accepted;
        let [one, two] = elsewhere.join().unwrap();
        let accepted = [here, one, two].into_iter().filter(|accepted| *accepted).count();
        assert_eq!(accepted, 2, "as many as the burst allows");
    });
}
