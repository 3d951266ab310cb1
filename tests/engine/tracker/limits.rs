//! Caps on what is stored, and how it goes away again.

use ringtide::server::config::Settings;
use ringtide::telemetry::Counter;

use crate::common::{Ask, Client, Running, eventually, hash};

fn capped(cap: impl FnOnce(&mut Settings)) -> (Running, [Client; 2]) {
    let running = Running::start(|settings| {
        settings.tracker.as_mut().unwrap().listen.push("[::1]:0".parse().unwrap());
        cap(settings);
    });
    let clients = [0, 1].map(|listen| Client::new(running.address(listen)));
    (running, clients)
}

#[test]
fn torrents_over_the_cap_are_answered_and_counted_and_not_stored() {
    let (running, clients) =
        capped(|settings| settings.tracker.as_mut().unwrap().settings.torrents_max = 2);
    // The cap is one of each family: a full IPv4 leaves room for IPv6.
    for client in &clients {
        for torrent in 1..=4 {
            let reply = client.announce(&Ask::leecher(hash(torrent), 1001));
            assert_eq!((reply.counts(), reply.peers.len()), ((0, 1), 0), "torrent {torrent}");
        }
        assert_eq!(client.scrape_one(hash(3)), (0, 0, 0));
        // Torrents that are there take more peers.
        assert_eq!(client.announce(&Ask::leecher(hash(2), 1002)).ports(), [1001]);
    }
    assert_eq!(running.holdings(), (4, 6));
    // One that goes makes room for another.
    clients[0].announce(&Ask::leecher(hash(1), 1001).stopped());
    clients[0].announce(&Ask::leecher(hash(3), 1001));
    assert_eq!(clients[0].scrape_one(hash(3)), (0, 0, 1));
    assert_eq!(running.stop().get(Counter::UnstoredTorrentCap), 4);
}

#[test]
fn peers_over_the_cap_are_answered_and_counted_and_not_stored() {
    let (running, clients) =
        capped(|settings| settings.tracker.as_mut().unwrap().settings.peers_max = 3);
    for client in &clients {
        client.announce(&Ask::leecher(hash(1), 1001));
        client.announce(&Ask::leecher(hash(1), 1002));
        client.announce(&Ask::leecher(hash(2), 1001));
        // A full tracker still serves those that it cannot keep, and updates those it has.
        let visitor = client.announce(&Ask::seeder(hash(1), 1003).completed());
        assert_eq!((visitor.counts(), visitor.ports()), ((1, 2), vec![1001, 1002]));
        assert_eq!(client.announce(&Ask::leecher(hash(3), 1001)).counts(), (0, 1));
        assert_eq!(client.announce(&Ask::leecher(hash(1), 1002).completed()).ports(), [1001]);
        assert_eq!(client.scrape_one(hash(1)), (1, 1, 1), "the visitor's completed is not counted");
    }
    assert_eq!(running.holdings(), (4, 6));
    let total = running.stop();
    assert_eq!(total.get(Counter::UnstoredPeerCap), 4);
    assert_eq!(total.get(Counter::Completed), 2);
}

#[test]
fn peers_over_a_torrents_cap_are_answered_and_counted_and_not_stored() {
    let cap = |settings: &mut Settings| {
        settings.tracker.as_mut().unwrap().settings.peers_per_torrent_max = 2
    };
    let (running, clients) = capped(cap);
    for client in &clients {
        for port in 1001..=1005 {
            let reply = client.announce(&Ask::leecher(hash(1), port));
            assert_eq!(reply.peers.len(), usize::from(port - 1001).min(2));
        }
        assert_eq!(client.announce(&Ask::leecher(hash(2), 1001)).counts(), (0, 1));
        assert_eq!(client.scrape_one(hash(1)), (0, 0, 2));
    }
    assert_eq!(running.holdings(), (4, 6));
    assert_eq!(running.stop().get(Counter::UnstoredSwarmCap), 6);
}

#[test]
fn peers_expire_and_empty_torrents_go_away() {
    let (running, clients) =
        capped(|settings| settings.tracker.as_mut().unwrap().settings.peer_timeout_s = 1);
    for client in &clients {
        for torrent in 0..20 {
            // Lists and tables: torrents of 1 to 20 peers, and one of many.
            let peers = if torrent == 19 { 400 } else { torrent as u16 + 1 };
            for port in 1..=peers {
                client.announce(&Ask::seeder(hash(torrent), port));
            }
        }
    }
    let stored: u64 = 2 * ((1..=19).sum::<u64>() + 400);
    eventually("everything to expire", || (running.holdings() == (0, 0)).then_some(()));
    let hashes: Vec<_> = (0..20).map(hash).collect();
    for client in &clients {
        assert!(client.scrape(&hashes).iter().all(|entry| *entry == Default::default()));
    }
    assert_eq!(running.count(Counter::PeersExpired), stored);
    running.stop();
}
