//! Connecting, and what a connection ID is good for.

use ringtide::server::config::Settings;
use ringtide::telemetry::{Counter, DropReason};
use ringtide::wire::bep15::ConnectionId;

use crate::common::{Ask, Client, Running, eventually, file, hash};

/// Never issued, but for one chance in 2^63.
const WRONG: ConnectionId = ConnectionId(0x0123_4567_89ab_cdef);

#[test]
fn connect_is_answered_with_16_bytes_over_both_families() {
    let running = Running::start(|settings| {
        settings.tracker.as_mut().unwrap().listen.push("[::1]:0".parse().unwrap());
    });
    let mut request =
        vec![0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 0xca, 0xfe, 0xba, 0xbe];
    for listen in [0, 1] {
        let client = Client::new(running.address(listen));
        // Longer is always fine, and does not make the reply longer.
        for length in [16, 17, 100] {
            request.resize(length, 0);
            let reply = client.exchange(&request);
            assert_eq!(reply.len(), 16);
            assert_eq!(reply[..8], [0, 0, 0, 0, 0xca, 0xfe, 0xba, 0xbe]);
        }
    }
    let total = running.stop();
    assert_eq!(total.get(Counter::ConnectsIpv4), 3);
    assert_eq!(total.get(Counter::ConnectsIpv6), 3);
    assert_eq!(total.get(Counter::ConnectResponses), 6);
    assert_eq!(total.get(Counter::BytesReceived), 2 * (16 + 17 + 100));
    assert_eq!(total.get(Counter::BytesSent), 6 * 16);
}

#[test]
fn a_wrong_id_is_dropped_silently() {
    let running = Running::start(|_| {});
    let client = running.client();
    for _ in 0..10 {
        client.use_id(WRONG);
        client.send(&client.announce_request(&Ask::leecher(hash(1), 6881)));
        client.send(&client.scrape_request(&[hash(1), hash(2)]));
        client.connect();
    }
    assert_eq!(running.dropped(DropReason::BadConnectionId), 20);
    assert_eq!(running.holdings(), (0, 0));
    let total = running.stop();
    assert_eq!(total.get(Counter::PacketsSent), 10);
    assert_eq!(total.get(Counter::AnnouncesIpv4) + total.get(Counter::ScrapesIpv4), 0);
}

#[test]
fn a_wrong_id_is_answered_where_wanted_but_not_with_more_than_was_sent() {
    let running = Running::start(|settings| {
        settings.tracker.as_mut().unwrap().settings.answer_bad_connection_ids = true;
    });
    let client = running.client();
    client.use_id(WRONG);
    let announce = client.announce_request(&Ask::leecher(hash(1), 6881)).to_vec();
    for request in [announce, client.scrape_request(&[hash(1)])] {
        let reply = client.exchange(&request);
        assert_eq!(reply[..4], [0, 0, 0, 3]);
        assert_eq!(reply[4..8], request[12..16]);
        assert_eq!(&reply[8..], b"connection ID expired");
        assert!(reply.len() <= request.len());
    }
    let total = running.stop();
    assert_eq!(total.get(Counter::BadConnectionIdsAnswered), 2);
    assert_eq!(total.get(Counter::ErrorResponses), 2);
    assert_eq!(total.dropped_total(), 0);
}

#[test]
fn an_id_belongs_to_an_address_and_not_to_a_port() {
    let running = Running::start(|settings| {
        settings.tracker.as_mut().unwrap().listen = vec!["0.0.0.0:0".parse().unwrap()];
    });
    let server = (std::net::Ipv4Addr::LOCALHOST, running.address(0).port()).into();
    let [owner, neighbour, thief] =
        ["127.0.0.2", "127.0.0.2", "127.0.0.3"].map(|source| Client::at(source, server));
    let id = owner.connect();
    neighbour.use_id(id);
    assert_eq!(neighbour.announce(&Ask::leecher(hash(1), 1)).counts(), (0, 1));
    thief.use_id(id);
    thief.send(&thief.announce_request(&Ask::leecher(hash(1), 2)));
    assert_ne!(thief.connect(), id);
    assert_eq!(thief.announce(&Ask::leecher(hash(1), 2)).counts(), (0, 2));
    assert_eq!(running.stop().dropped(DropReason::BadConnectionId), 1);
}

#[test]
fn an_id_expires() {
    let running = Running::start(|settings| {
        settings.tracker.as_mut().unwrap().settings.connection_lifetime_s = 1;
        settings.tracker.as_mut().unwrap().settings.answer_bad_connection_ids = true;
    });
    let client = running.client();
    let old = client.connect();
    let ask = Ask::leecher(hash(1), 6881);
    let is_refused = || {
        client.use_id(old);
        (client.exchange(&client.announce_request(&ask))[3] == 3).then_some(())
    };
    eventually("the ID to expire", is_refused);
    assert_eq!(client.announce_refused(&ask), "connection ID expired");
    // A new one is as good as the old one was. On a machine that stands still for two seconds
    // it has expired again by the time it is used.
    let is_accepted = || {
        client.connect();
        (client.exchange(&client.announce_request(&ask))[3] == 1).then_some(())
    };
    eventually("an ID that is accepted", is_accepted);
}

#[test]
fn an_id_survives_a_restart_with_a_key_file() {
    let (_directory, key) = file("key", "000102030405060708090a0b0c0d0e0f\n");
    let with_key = |settings: &mut Settings| {
        settings.tracker.as_mut().unwrap().connection_key_file = Some(key.clone().into());
        settings.tracker.as_mut().unwrap().settings.answer_bad_connection_ids = true;
    };
    let ask = Ask::leecher(hash(1), 6881);
    let first = Running::start(with_key);
    let id = first.client().connect();
    first.stop();
    let second = Running::start(with_key);
    let client = second.client();
    client.use_id(id);
    assert_eq!(client.announce(&ask).counts(), (0, 1));
    assert_eq!(second.stop().get(Counter::ConnectsIpv4), 0);

    let another = Running::start(|settings| {
        settings.tracker.as_mut().unwrap().settings.answer_bad_connection_ids = true;
    });
    let client = another.client();
    client.use_id(id);
    assert_eq!(client.announce_refused(&ask), "connection ID expired");
}
