//! Limits for each source, from as many sources as the loopback interface has.

use std::time::Instant;

use ringtide::server::config::Settings;
use ringtide::telemetry::{Counter, DropReason};
use ringtide::tracker::core::{RateLimit, SourceLimitSettings};

use crate::common::{Ask, Client, Namespace, Running, eventually, hash, switched_off};

const LIMIT: RateLimit = RateLimit { per_s: 1, burst: 20 };
const ATTEMPTS: u64 = 60;

fn limited(settings: &mut Settings) -> &mut SourceLimitSettings {
    &mut settings.tracker.as_mut().unwrap().settings.source_limits
}

fn announces_limited(settings: &mut Settings) {
    limited(settings).announces = LIMIT;
}

/// Sends as many announces as a burst and two more, and checks that a burst of them was answered
/// and what time brings.
fn exceed(running: &Running, clients: &[Client]) {
    let answered = || running.count(Counter::AnnounceResponses);
    let refused = || running.dropped(DropReason::AnnouncesOverLimit);
    for client in clients {
        client.connect();
    }
    let (answered_before, refused_before, started) = (answered(), refused(), Instant::now());
    for number in 0..ATTEMPTS {
        let client = &clients[number as usize % clients.len()];
        client.send(&client.announce_request(&Ask::leecher(hash(number as u32), 1001)));
    }
    eventually("an end for each announce", || {
        let ends = answered() - answered_before + refused() - refused_before;
        (ends == ATTEMPTS).then_some(())
    });
    let granted = answered() - answered_before;
    let burst = u64::from(LIMIT.burst);
    assert!(granted >= burst, "{granted} of a burst");
    let allowed = burst + u64::from(LIMIT.per_s) * (started.elapsed().as_secs() + 1);
    assert!(granted <= allowed, "{granted}, and {allowed} are allowed");
}

#[test]
fn each_ipv4_address_has_a_burst_of_its_own() {
    let running = Running::start(announces_limited);
    for source in ["127.0.0.1", "127.0.0.2", "127.1.0.1", "127.255.255.254"] {
        exceed(&running, &[Client::at(source, running.address(0))]);
    }
    running.stop();
}

#[test]
fn clients_behind_one_address_share_its_burst() {
    let running = Running::start(announces_limited);
    let client = |_| Client::at("127.0.0.3", running.address(0));
    exceed(&running, &[0, 1, 2].map(client));
    running.stop();
}

/// However a source's torrents, and so its requests, are spread over workers.
#[test]
fn several_workers_grant_together_what_one_would() {
    for steering in [true, false] {
        let running = Running::with_workers(4, |settings| {
            announces_limited(settings);
            settings.tracker.as_mut().unwrap().steering = steering;
        });
        let clients: Vec<_> =
            (0..16).map(|_| Client::at("127.0.0.4", running.address(0))).collect();
        exceed(&running, &clients);
        let busy = running.view().counted_by_worker();
        let busy = busy.filter(|worker| worker.get(Counter::AnnouncesIpv4) > 0).count();
        assert!(busy > 1, "all announces came to one worker");
        running.stop();
    }
}

#[test]
fn each_ipv6_64_has_a_burst_of_its_own() {
    if switched_off() {
        return;
    }
    let namespace = Namespace::new();
    let hosts = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1", "2001:db8:1:1::1"];
    for host in hosts {
        namespace.ip(&format!("addr add {host}/128 dev lo nodad"));
    }
    namespace.run(|| {
        let running = Running::start(|settings| {
            announces_limited(settings);
            settings.tracker.as_mut().unwrap().listen = vec!["[::]:0".parse().unwrap()];
        });
        let address = |host: &str| host.parse::<std::net::Ipv6Addr>().unwrap();
        let client = |host: &str| {
            let server = (address(hosts[0]), running.address(0).port()).into();
            Client::at(host, server)
        };
        exceed(&running, &[client(hosts[0]), client(hosts[1])]);
        exceed(&running, &[client(hosts[2])]);
        exceed(&running, &[client(hosts[3])]);
        running.stop();
    });
}

#[test]
fn scrapes_count_with_announces() {
    let running = Running::start(|settings| {
        limited(settings).announces = RateLimit { per_s: 1, burst: 3 };
    });
    let client = running.client();
    client.announce(&Ask::leecher(hash(1), 1001));
    client.scrape(&[hash(1), hash(2), hash(3)]);
    client.scrape_one(hash(1));
    let scrape = client.scrape_request(&[hash(1)]);
    eventually("a refusal", || {
        client.send(&scrape);
        (running.dropped(DropReason::AnnouncesOverLimit) > 0).then_some(())
    });
    running.stop();
}

#[test]
fn connects_have_a_limit_of_their_own_and_ids_in_hand_stay_good() {
    let running = Running::start(|settings| {
        limited(settings).connects = RateLimit { per_s: 1, burst: 2 };
    });
    let client = running.client();
    client.connect();
    let other = Client::new(running.address(0));
    let mut connect = [0; 16];
    ringtide::wire::bep15::request::emit_connect(&mut connect, other.transaction());
    eventually("a refusal", || {
        other.send(&connect);
        (running.dropped(DropReason::ConnectsOverLimit) > 0).then_some(())
    });
    for port in 1001..1100 {
        client.announce(&Ask::leecher(hash(1), port));
    }
    // Strangers are none the worse for it.
    Client::at("127.0.0.9", running.address(0)).connect();
    assert_eq!(running.stop().dropped(DropReason::AnnouncesOverLimit), 0);
}

#[test]
fn those_who_have_not_proved_their_address_use_nothing_of_its_announces() {
    let running = Running::start(announces_limited);
    let client = Client::at("127.0.0.5", running.address(0));
    let forger = Client::at("127.0.0.5", running.address(0));
    forger.use_id(ringtide::wire::bep15::ConnectionId(7));
    for number in 0..100 {
        forger.send(&forger.announce_request(&Ask::leecher(hash(number), 1002)));
    }
    exceed(&running, &[client]);
    assert_eq!(running.stop().dropped(DropReason::BadConnectionId), 100);
}
