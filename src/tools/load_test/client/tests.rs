//! What a client sends, hears and gives up, in a time of the tests' own.

use std::time::Duration;

use super::*;
use crate::tools::load_test::plan::tests::plan;
use crate::wire::bep15::Request;
use crate::wire::bep15::response::{
    AnnounceHeader, ScrapeEntry, ScrapeWriter, emit_connect as answer_connect, emit_error,
};

const MS: u64 = 1_000_000;
const ID: ConnectionId = ConnectionId(0x1122_3344_5566_7788);

/// One client and its figures, asked and answered by hand.
struct Bench {
    plan: Plan,
    client: Client,
    stats: Stats,
    now_ns: u64,
}

impl Bench {
    fn new(plan: Plan) -> Self {
        let picker = Picker::new(plan.torrents, plan.popularity);
        let client = Client::new(&plan, 0, &picker);
        Self { plan, client, stats: Stats::new(1), now_ns: 1_000_000 * MS }
    }

    fn connected(plan: Plan) -> Self {
        let mut bench = Self::new(plan);
        let connect = bench.next().unwrap();
        bench.answer_connect(&connect);
        bench
    }

    /// The next request, sent at once.
    fn next(&mut self) -> Option<Outgoing> {
        let outgoing = self.client.next(&self.plan, self.now_ns, Some(self.now_ns))?;
        Client::sent(&outgoing, &mut self.stats);
        Some(outgoing)
    }

    fn bytes(&self, outgoing: &Outgoing) -> Vec<u8> {
        let mut bytes = vec![0; 2048];
        let length = self.client.write(&self.plan, outgoing, &mut bytes);
        assert_eq!(length, outgoing.bytes());
        bytes.truncate(length);
        bytes
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.client.receive(&self.plan, self.now_ns, bytes, &mut self.stats);
    }

    fn answer_connect(&mut self, outgoing: &Outgoing) {
        assert_eq!(outgoing.asks, Asks::Connect);
        let mut bytes = [0; 16];
        answer_connect(&mut bytes, outgoing.transaction, ID);
        self.receive(&bytes);
    }

    fn answer_announce(&mut self, outgoing: &Outgoing) {
        let (transaction, interval_s) = (outgoing.transaction, 1800);
        let mut bytes = [0; 20];
        AnnounceHeader { transaction, interval_s, leechers: 1, seeders: 0 }.emit(&mut bytes);
        self.receive(&bytes);
    }

    fn pass(&mut self, time: Duration) {
        self.now_ns += time.as_nanos() as u64;
    }

    fn expire(&mut self, again: bool) -> bool {
        self.client.expire(&self.plan, self.now_ns, again, &mut self.stats)
    }

    fn event(&mut self) -> Event {
        let outgoing = self.next().unwrap();
        let Asks::Announce { event, .. } = outgoing.asks else { panic!("{outgoing:?}") };
        self.answer_announce(&outgoing);
        event
    }
}

#[test]
fn a_client_connects_first_and_announces_each_peer_as_started() {
    let mut bench = Bench::new(plan());
    let connect = bench.next().unwrap();
    assert!(matches!(Request::parse(&bench.bytes(&connect)), Ok(Request::Connect(_))));
    assert!(bench.next().is_none(), "nothing before it is answered");
    bench.pass(Duration::from_millis(3));
    bench.answer_connect(&connect);
    let stats = bench.stats.of(Operation::Connect);
    assert_eq!((stats.sent, stats.succeeded, stats.latency.len()), (1, 1, 1));
    assert!(stats.latency.max().abs_diff(3 * MS) < 3 * MS / 100, "{}", stats.latency.max());
    // Three peers, then round again.
    for event in [Event::Started, Event::Started, Event::Started, Event::None, Event::None] {
        let outgoing = bench.next().unwrap();
        let bytes = bench.bytes(&outgoing);
        let Ok(Request::Announce(announce)) = Request::parse(&bytes) else { panic!("{bytes:?}") };
        assert_eq!((announce.connection_id(), announce.event()), (ID, event));
        assert_eq!((announce.numwant(), bytes.len()), (50, ANNOUNCE_BYTES));
        assert_ne!(announce.port(), 0);
        bench.answer_announce(&outgoing);
    }
    assert_eq!(bench.stats.of(Operation::Announce).succeeded, 5);
}

#[test]
fn no_more_is_under_way_than_the_window_holds() {
    let mut bench = Bench::connected(plan());
    let sent: Vec<_> = std::iter::from_fn(|| bench.next()).collect();
    assert_eq!((sent.len(), bench.client.under_way(), bench.client.free()), (4, 4, 0));
    bench.answer_announce(&sent[2]);
    assert!(bench.next().is_some() && bench.next().is_none());
    // Without a time that one is wanted for there is no new request.
    bench.answer_announce(&sent[0]);
    assert!(bench.client.next(&bench.plan, bench.now_ns, None).is_none());
}

#[test]
fn scrapes_come_between_announces() {
    let mut bench = Bench::connected(Plan { scrape_every: Some(3), ..plan() });
    let mut scrapes = 0;
    for _ in 0..20 {
        let outgoing = bench.next().unwrap();
        if outgoing.operation() == Operation::Announce {
            bench.answer_announce(&outgoing);
            continue;
        }
        scrapes += 1;
        let bytes = bench.bytes(&outgoing);
        let Ok(Request::Scrape(scrape)) = Request::parse(&bytes) else { panic!("{bytes:?}") };
        assert_eq!(scrape.hashes().len(), 3);
        let mut answer = [0; 44];
        let mut writer = ScrapeWriter::new(&mut answer, outgoing.transaction);
        (0..3).for_each(|_| writer.push(ScrapeEntry::default()).unwrap());
        let length = writer.finish();
        bench.receive(&answer[..length]);
    }
    assert_eq!(scrapes, 5);
    assert_eq!(bench.stats.of(Operation::Scrape).succeeded, 5);
}

#[test]
fn downloads_complete_stop_and_start_again() {
    let (peers, clients) = (1, 1);
    let plan = Plan { churn: 0.5, peers, clients, hashes: 1, seeders: 0.0, ..plan() };
    let mut bench = Bench::connected(plan);
    let events: Vec<Event> = (0..300).map(|_| bench.event()).collect();
    assert_eq!(events[0], Event::Started);
    for event in [Event::None, Event::Completed, Event::Stopped] {
        assert!(events.contains(&event), "{event:?} never came");
    }
    let mut completed = false;
    for pair in events.windows(2) {
        assert_eq!(pair[1] == Event::Started, pair[0] == Event::Stopped, "{pair:?}");
        assert!(pair[0] != Event::Completed || !completed, "completed twice");
        completed = (completed || pair[0] == Event::Completed) && pair[0] != Event::Stopped;
    }
}

#[test]
fn what_is_unanswered_is_repeated_after_ever_longer_waits() {
    let mut bench = Bench::connected(plan());
    let first = bench.next().unwrap();
    let mut waited = Vec::new();
    for _ in 0..3 {
        let start = bench.now_ns;
        while !bench.expire(true) {
            bench.pass(Duration::from_millis(100));
        }
        waited.push((bench.now_ns - start) / MS);
        // A connect may come first: the ID is renewed when an answer fails to come twice.
        let mut again = bench.next().unwrap();
        if again.asks == Asks::Connect {
            bench.answer_connect(&again);
            again = bench.next().unwrap();
        }
        assert_eq!(again.asks, first.asks);
        assert_ne!(again.transaction, first.transaction);
        assert!(again.retry && !again.fresh);
    }
    assert_eq!(waited, [1000, 2000, 4000]);
    let stats = bench.stats.of(Operation::Announce);
    assert_eq!((stats.sent, stats.retries, stats.failed()), (4, 3, 3));
    assert_eq!(stats.failures[Failure::Timeout as usize], 3);
    bench.answer_announce(&first);
    assert_eq!(bench.stats.strays[Stray::Late as usize], 1);
    // In the end nothing is repeated.
    bench.pass(Duration::from_secs(8));
    assert!(bench.expire(false));
    assert_eq!(bench.client.under_way(), 0);
}

#[test]
fn a_lost_connect_is_repeated() {
    let mut bench = Bench::new(plan());
    bench.next().unwrap();
    bench.pass(Duration::from_secs(1));
    assert!(bench.expire(true));
    let again = bench.next().unwrap();
    assert!(again.asks == Asks::Connect && again.retry);
    bench.pass(Duration::from_millis(1900));
    assert!(!bench.expire(true), "the second wait is two seconds");
    bench.answer_connect(&again);
    assert!(bench.next().is_some());
}

#[test]
fn connection_ids_are_renewed_before_two_minutes_without_a_pause() {
    let mut bench = Bench::connected(plan());
    bench.pass(Duration::from_secs(104));
    let outgoing = bench.next().unwrap();
    assert_eq!(outgoing.operation(), Operation::Announce);
    bench.pass(Duration::from_secs(12));
    let connect = bench.next().unwrap();
    assert_eq!(connect.asks, Asks::Connect);
    // The old one holds until the new one is there.
    assert_eq!(bench.next().unwrap().connection, ID);
    bench.answer_connect(&connect);
    assert_eq!(bench.next().unwrap().operation(), Operation::Announce);
}

#[test]
fn an_error_is_a_failure_and_a_reason_to_connect_again() {
    let mut bench = Bench::connected(plan());
    let outgoing = bench.next().unwrap();
    let mut bytes = [0; 100];
    let length = emit_error(&mut bytes, outgoing.transaction, "unknown connection ID");
    bench.receive(&bytes[..length]);
    let failures = bench.stats.of(Operation::Announce).failures;
    assert_eq!(failures[Failure::ErrorResponse as usize], 1);
    assert_eq!(bench.stats.messages, ["unknown connection ID"]);
    assert_eq!(bench.next().unwrap().asks, Asks::Connect);
}

#[test]
fn strays_are_told_apart() {
    let mut bench = Bench::connected(plan());
    let outgoing = bench.next().unwrap();
    let mut foreign = outgoing;
    foreign.transaction.0[0] ^= 0x80;
    bench.answer_announce(&foreign);
    bench.answer_announce(&outgoing);
    bench.answer_announce(&outgoing);
    bench.receive(&[0; 7]);
    let strays = Stray::ALL.iter().map(|stray| bench.stats.strays[*stray as usize]);
    assert_eq!(strays.collect::<Vec<_>>(), [1, 1, 0, 0, 1]);
    assert_eq!(bench.stats.of(Operation::Announce).succeeded, 1);
    assert_eq!(bench.stats.of(Operation::Announce).failed(), 0);
}

#[test]
fn latency_counts_from_the_time_that_the_schedule_wanted() {
    let mut bench = Bench::connected(Plan { rate: Some(1.0), ..plan() });
    let wanted_ns = bench.now_ns;
    bench.pass(Duration::from_millis(200));
    let outgoing = bench.client.next(&bench.plan, bench.now_ns, Some(wanted_ns)).unwrap();
    bench.pass(Duration::from_millis(1));
    bench.answer_announce(&outgoing);
    let max = bench.stats.of(Operation::Announce).latency.max();
    assert!(max.abs_diff(201 * MS) < 2 * MS, "{max}");
}

#[test]
fn what_did_not_leave_is_due_again() {
    let mut bench = Bench::connected(plan());
    let outgoing = bench.next().unwrap();
    bench.client.not_sent(&outgoing, &mut bench.stats);
    assert_eq!((bench.stats.of(Operation::Announce).sent, bench.stats.no_slot), (0, 1));
    assert_eq!(bench.client.under_way(), 0);
    let again = bench.next().unwrap();
    assert_eq!((again.asks, again.retry), (outgoing.asks, false));
}
