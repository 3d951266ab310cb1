//! The life of peers in swarms.

use std::net::{IpAddr, SocketAddr};

use ringtide::telemetry::Counter;

use crate::common::{Ask, Client, Running, hash};

fn both_families() -> Running {
    Running::start(|settings| {
        settings.tracker.as_mut().unwrap().listen.push("[::1]:0".parse().unwrap())
    })
}

#[test]
fn a_first_announce_byte_by_byte() {
    let running = Running::start(|settings| {
        settings.tracker.as_mut().unwrap().settings.announce_interval_s = 1801;
        settings.tracker.as_mut().unwrap().settings.announce_jitter_s = 0;
    });
    let client = running.client();
    let request = client.announce_request(&Ask::leecher(hash(1), 6881));
    let mut expected = vec![0, 0, 0, 1];
    expected.extend(&request[12..16]);
    expected.extend([0, 0, 7, 9, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(client.exchange(&request), expected);
    let request = client.announce_request(&Ask::seeder(hash(1), 0x1234));
    let mut expected = vec![0, 0, 0, 1];
    expected.extend(&request[12..16]);
    expected.extend([0, 0, 7, 9, 0, 0, 0, 1, 0, 0, 0, 1, 127, 0, 0, 1, 0x1a, 0xe1]);
    assert_eq!(client.exchange(&request), expected);
}

#[test]
fn peers_find_each_other_over_both_families_and_not_across() {
    let running = both_families();
    for (listen, source) in [(0, "127.0.0.1"), (1, "::1")] {
        let source: IpAddr = source.parse().unwrap();
        let clients = [0, 1].map(|_| Client::new(running.address(listen)));
        // The same torrent and ports in both families: nothing of the other one shows.
        let first = clients[0].announce(&Ask::leecher(hash(1), 1001).started());
        assert_eq!((first.counts(), first.peers.len()), ((0, 1), 0));
        assert!((1800..=1920).contains(&first.interval_s), "{}", first.interval_s);
        let second = clients[1].announce(&Ask::seeder(hash(1), 1002).started());
        assert_eq!(second.counts(), (1, 1));
        assert_eq!(second.peers, [SocketAddr::new(source, 1001)]);
        let again = clients[0].announce(&Ask::leecher(hash(1), 1001));
        assert_eq!(again.peers, [SocketAddr::new(source, 1002)]);
        assert_eq!(again.interval_s, first.interval_s, "a peer's interval stays");
    }
    assert_eq!(running.holdings(), (2, 4), "torrents and peers of both families");
    let total = running.stop();
    assert_eq!(total.get(Counter::AnnouncesIpv4), 3);
    assert_eq!(total.get(Counter::AnnouncesIpv6), 3);
    assert_eq!(total.get(Counter::AnnounceResponses), 6);
    assert_eq!(total.get(Counter::RequestsAtOwner), 6);
}

#[test]
fn a_peer_starts_completes_once_and_stops() {
    let running = both_families();
    for listen in [0, 1] {
        let client = Client::new(running.address(listen));
        let peer = Ask::leecher(hash(1), 1001);
        client.announce(&Ask::leecher(hash(1), 1002));
        assert_eq!(client.announce(&peer.started()).counts(), (0, 2));
        assert_eq!(client.scrape_one(hash(1)), (0, 0, 2));
        // Clients repeat what they think was lost: with the same bytes, or as a new request.
        let completed = client.announce_request(&peer.completed());
        for _ in 0..3 {
            let reply = client.exchange(&completed);
            assert_eq!(client.announced(&reply, &completed).counts(), (1, 1));
        }
        assert_eq!(client.announce(&peer.completed()).counts(), (1, 1));
        assert_eq!(client.scrape_one(hash(1)), (1, 1, 1));
        for _ in 0..2 {
            let stopped = client.announce(&peer.stopped());
            assert_eq!((stopped.counts(), stopped.peers.len()), ((0, 1), 0));
        }
        assert_eq!(client.scrape_one(hash(1)), (0, 1, 1));
        client.announce(&Ask::leecher(hash(1), 1002).stopped());
        assert_eq!(client.scrape_one(hash(1)), (0, 0, 0), "the torrent went with its last peer");
    }
    assert_eq!(running.holdings(), (0, 0));
    assert_eq!(running.stop().get(Counter::Completed), 2);
}

#[test]
fn stopping_what_never_started_changes_nothing() {
    let running = Running::start(|_| {});
    let client = running.client();
    assert_eq!(client.announce(&Ask::leecher(hash(1), 1).stopped()).counts(), (0, 0));
    assert_eq!(running.holdings(), (0, 0));
}

#[test]
fn a_seeder_is_told_of_leechers_and_a_leecher_of_both() {
    let running = both_families();
    for listen in [0, 1] {
        let client = Client::new(running.address(listen));
        for port in 1001..=1003 {
            client.announce(&Ask::leecher(hash(1), port));
        }
        for port in 2001..=2004 {
            client.announce(&Ask::seeder(hash(1), port));
        }
        let seeder = client.announce(&Ask::seeder(hash(1), 2001));
        assert_eq!(seeder.ports(), [1001, 1002, 1003]);
        assert_eq!(seeder.counts(), (4, 3));
        let leecher = client.announce(&Ask::leecher(hash(1), 1001));
        assert_eq!(leecher.ports(), [1002, 1003, 2001, 2002, 2003, 2004]);
        assert_eq!(leecher.counts(), (4, 3));
        // A leecher that was counted among the seeders before: counts and lists follow.
        assert_eq!(client.announce(&Ask::leecher(hash(1), 2004)).counts(), (3, 4));
        assert_eq!(client.announce(&Ask::seeder(hash(1), 2001)).ports(), [1001, 1002, 1003, 2004]);
    }
}

#[test]
fn port_0_is_answered_and_never_stored() {
    let running = Running::start(|_| {});
    let client = running.client();
    let alone = client.announce(&Ask::leecher(hash(1), 0).started());
    assert_eq!((alone.counts(), alone.peers.len()), ((0, 1), 0));
    assert_eq!(running.holdings(), (0, 0), "no torrent either");
    client.announce(&Ask::seeder(hash(1), 1001));
    let visitor = client.announce(&Ask::leecher(hash(1), 0));
    assert_eq!((visitor.counts(), visitor.ports()), ((1, 1), vec![1001]));
    assert_eq!(client.announce(&Ask::seeder(hash(1), 1001)).peers, []);
    client.announce(&Ask::leecher(hash(1), 0).completed());
    assert_eq!(client.scrape_one(hash(1)), (1, 0, 0));
    assert_eq!(running.holdings(), (1, 1));
    assert_eq!(running.stop().get(Counter::UnstoredPortZero), 3);
}

#[test]
fn a_tail_of_options_is_fine() {
    let running = Running::start(|_| {});
    let client = running.client();
    client.announce(&Ask::seeder(hash(1), 1001));
    let ask = Ask::leecher(hash(1), 1002);
    // BEP 41: URL data of 9 bytes, then no operation, then the end of options.
    let url = b"\x02\x09/announce\x01\x00";
    for tail in [&url[..], b"\x02", b"\x02\xff/cut off", &[0xff; 1900]] {
        let request = [&client.announce_request(&ask)[..], tail].concat();
        let reply = client.announced(&client.exchange(&request), &request);
        assert_eq!((reply.counts(), reply.ports()), ((1, 1), vec![1001]));
    }
}

#[test]
fn paused_and_unknown_events_are_ordinary_announces() {
    let running = Running::start(|_| {});
    let client = running.client();
    client.announce(&Ask::leecher(hash(1), 1001));
    for event in [4, 99, u32::MAX] {
        let reply = client.announce(&Ask::leecher(hash(1), 1002).event(event));
        assert_eq!((reply.counts(), reply.ports()), ((0, 2), vec![1001]), "event {event}");
    }
    assert_eq!(client.scrape_one(hash(1)), (0, 0, 2));
}

#[test]
fn the_claimed_address_is_ignored() {
    let running = Running::start(|_| {});
    let client = running.client();
    client.announce(&Ask { ip: 0x0a00_0001, ..Ask::leecher(hash(1), 1001) });
    let reply = client.announce(&Ask::leecher(hash(1), 1002));
    assert_eq!(reply.peers, ["127.0.0.1:1001".parse().unwrap()]);
}

#[test]
fn a_peer_is_its_address_and_port() {
    let running = Running::start(|settings| {
        settings.tracker.as_mut().unwrap().listen = vec!["0.0.0.0:0".parse().unwrap()];
    });
    let server = (std::net::Ipv4Addr::LOCALHOST, running.address(0).port()).into();
    let [near, far] = ["127.0.0.2", "127.0.0.3"].map(|source| Client::at(source, server));
    near.announce(&Ask::leecher(hash(1), 1001));
    assert_eq!(far.announce(&Ask::leecher(hash(1), 1001)).counts(), (0, 2));
    assert_eq!(far.announce(&Ask::leecher(hash(1), 1002)).counts(), (0, 3));
    // Nobody else can take a peer away.
    assert_eq!(far.announce(&Ask::leecher(hash(1), 1001).stopped()).counts(), (0, 2));
    let left = far.announce(&Ask::leecher(hash(1), 1002));
    assert_eq!(left.peers, ["127.0.0.2:1001".parse().unwrap()]);
}
