//! Scrapes, from one hash to more than are answered.

use ringtide::telemetry::{Counter, DropReason};
use ringtide::tracker::core::InfoHash;
use ringtide::wire::bep15::response::ScrapeEntry;

use crate::common::{Ask, Client, Running, hash};

/// Torrents 0.. with as many seeders as their number modulo 3, one of which completed, and as
/// many leechers as their number modulo 2.
fn populate(client: &Client, torrents: u32) {
    for number in 0..torrents {
        for port in 0..number % 3 {
            let seeder = Ask::seeder(hash(number), 1000 + port as u16);
            client.announce(&if port == 0 { seeder.completed() } else { seeder });
        }
        if number % 2 == 1 {
            client.announce(&Ask::leecher(hash(number), 2000));
        }
    }
}

fn expected(number: u32) -> ScrapeEntry {
    let seeders = number % 3;
    ScrapeEntry { seeders, completed: seeders.min(1), leechers: number % 2 }
}

fn assert_scrape(client: &Client, numbers: &[u32]) {
    let hashes: Vec<InfoHash> = numbers.iter().map(|number| hash(*number)).collect();
    let entries: Vec<ScrapeEntry> = numbers.iter().map(|number| expected(*number)).collect();
    assert_eq!(client.scrape(&hashes), entries, "{numbers:?}");
}

#[test]
fn up_to_74_torrents_are_answered_in_order_over_both_families() {
    let running = Running::start(|settings| {
        settings.tracker.as_mut().unwrap().listen.push("[::1]:0".parse().unwrap());
    });
    for listen in [0, 1] {
        let client = Client::new(running.address(listen));
        populate(&client, 74);
        let held = running.holdings();
        let all: Vec<u32> = (0..74).collect();
        for count in [1, 2, 3, 60, 73, 74] {
            assert_scrape(&client, &all[..count]);
        }
        let backwards: Vec<u32> = (0..74).rev().collect();
        assert_scrape(&client, &backwards);
        assert_scrape(&client, &[5, 5, 1, 5, 6, 0, 5]);
        // Unknown ones are zeros, and asking for them does not create them.
        let unknown: Vec<InfoHash> = (1000..1074).map(hash).collect();
        assert_eq!(client.scrape(&unknown), [ScrapeEntry::default(); 74]);
        assert_eq!(running.holdings(), held);
    }
    let total = running.stop();
    assert_eq!((total.get(Counter::ScrapesIpv4), total.get(Counter::ScrapesIpv6)), (9, 9));
    assert_eq!(total.get(Counter::ScrapeResponses), 18);
    assert_eq!(total.dropped_total(), 0);
}

/// Transmission asks for 60 torrents at once: 1,216 bytes, and it expects 728 in return.
#[test]
fn sixty_torrents_byte_by_byte() {
    let running = Running::start(|_| {});
    let client = running.client();
    populate(&client, 60);
    let mut request = client.id().0.to_be_bytes().to_vec();
    request.extend([0, 0, 0, 2, 0xca, 0xfe, 0xba, 0xbe]);
    (0..60).for_each(|number| request.extend(hash(number).0));
    assert_eq!(request.len(), 1216);
    let mut reply = vec![0, 0, 0, 2, 0xca, 0xfe, 0xba, 0xbe];
    for number in 0..60u8 {
        let seeders = number % 3;
        reply.extend([0, 0, 0, seeders, 0, 0, 0, seeders.min(1), 0, 0, 0, number % 2]);
    }
    assert_eq!(client.exchange(&request), reply);
    // A hash that was cut off is not answered, and what is left of it does no harm.
    request.truncate(1215);
    reply.truncate(728 - 12);
    assert_eq!(client.exchange(&request), reply);
}

#[test]
fn a_scrape_spans_the_shards_of_all_workers() {
    let running = Running::with_workers(2, |_| {});
    // Several sockets, and so several transaction IDs and flows.
    let clients = [0; 8].map(|_| running.client());
    populate(&clients[0], 74);
    let by_worker: Vec<u64> = running
        .view()
        .counted_by_worker()
        .map(|worker| worker.get(Counter::AnnouncesIpv4))
        .collect();
    assert!(by_worker.iter().all(|announces| *announces > 0), "both own some: {by_worker:?}");
    let all: Vec<u32> = (0..74).collect();
    for (turn, client) in clients.iter().enumerate() {
        let (head, tail) = all.split_at(9 * turn);
        assert_scrape(client, &[tail, head].concat());
    }
    running.stop();
}

#[test]
fn what_is_over_the_maximum_is_left_out() {
    for (maximum, asked, answered) in [(74, 75, 74), (74, 101, 74), (3, 74, 3), (100, 101, 100)] {
        let running = Running::start(|settings| {
            settings.tracker.as_mut().unwrap().settings.scrape_hashes_max = maximum;
        });
        let client = running.client();
        populate(&client, 4);
        let hashes: Vec<InfoHash> = (0..asked).map(hash).collect();
        let entries = client.scrape(&hashes);
        assert_eq!(entries.len(), answered);
        assert!((0..3).map(expected).eq(entries[..3].iter().copied()));
        running.stop();
    }
}

#[test]
fn a_scrape_without_a_whole_hash_is_dropped() {
    let running = Running::start(|_| {});
    let client = running.client();
    let request = client.scrape_request(&[hash(1)]);
    for length in [16, 17, 35] {
        client.send(&request[..length]);
    }
    client.connect();
    assert_eq!(running.stop().dropped(DropReason::ScrapeWithoutHash), 3);
}
