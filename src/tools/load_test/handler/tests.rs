//! The clients of a worker against answers made by hand, without a ring.

use super::*;
use crate::io::{ReceivePool, RecordedTransmit, Sent};
use crate::tools::load_test::plan::tests::plan;
use crate::wire::bep15::response::{AnnounceHeader, emit_connect};
use crate::wire::bep15::{ConnectionId, Request};

/// A worker's clients, the tracker that answers them, and the time.
struct Bench {
    load: Load,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    tx: RecordedTransmit,
    now: Now,
    pool: ReceivePool,
}

impl Bench {
    fn new(plan: Plan) -> Self {
        let (progress, stop) = (Arc::new(Progress::default()), Arc::new(AtomicBool::new(false)));
        let load = Load::new(&Arc::new(plan), (0, 1), Arc::clone(&progress), Arc::clone(&stop));
        let now = Now::from_unix(Duration::from_secs(1000));
        let tx = RecordedTransmit::default();
        Self { load, progress, stop, tx, now, pool: ReceivePool::new(4, 2048) }
    }

    fn flush(&mut self) -> Vec<Sent> {
        self.load.on_flush(self.now, &mut self.tx);
        std::mem::take(&mut self.tx.sent)
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.load.on_tick(self.now, &mut self.tx);
    }

    /// Answers a request as a tracker does.
    fn answer(&mut self, request: &Sent) {
        let mut bytes = [0; 20];
        let length = match Request::parse(&request.bytes).unwrap() {
            Request::Connect(connect) => {
                emit_connect(&mut bytes, connect.transaction, ConnectionId(7))
            }
            Request::Announce(announce) => {
                let transaction = announce.transaction();
                AnnounceHeader { transaction, interval_s: 1, leechers: 1, seeders: 1 }
                    .emit(&mut bytes)
            }
            Request::Scrape(_) => panic!("no scrapes here"),
        };
        let buffer = self.pool.fill(&bytes[..length]).unwrap();
        let packet = Packet { path: request.path, payload: buffer.bytes(), buffer: &buffer };
        self.load.on_datagram(self.now, &packet, &mut self.tx);
    }

    fn connect_all(&mut self) -> Vec<Sent> {
        let connects = self.flush();
        assert!(connects.iter().all(|sent| sent.bytes.len() == 16));
        connects.iter().for_each(|connect| self.answer(connect));
        self.flush()
    }

    fn finished(&self) -> Finished {
        self.progress.take().expect("a result")
    }
}

#[test]
fn every_client_has_its_socket_and_fills_its_window() {
    let mut bench = Bench::new(plan());
    let announces = bench.connect_all();
    assert_eq!(announces.len(), 4 * 4);
    for (index, client) in announces.chunks(4).enumerate() {
        assert!(client.iter().all(|sent| usize::from(sent.path.socket().0) == index));
        assert!(client.iter().all(|sent| sent.bytes.len() == ANNOUNCE_BYTES));
    }
    assert!(bench.flush().is_empty());
    // One answer lingers, the second one makes half a window.
    bench.answer(&announces[0]);
    assert!(bench.flush().is_empty());
    assert!(bench.load.next_deadline().is_some());
    bench.answer(&announces[1]);
    assert_eq!(bench.flush().len(), 2);
    // Nobody waits for ever for a second one.
    bench.answer(&announces[4]);
    bench.now = bench.now.after(Duration::from_nanos(LINGER_NS));
    assert_eq!(bench.flush().len(), 1);
}

#[test]
fn a_schedule_sends_in_time_and_knows_when_it_is_due_next() {
    let mut bench = Bench::new(Plan { rate: Some(100.0), coalesce: false, ..plan() });
    // The connects, and the first client's first announce, which waits for its connection.
    assert_eq!(bench.connect_all().len(), 1);
    let started = bench.now;
    assert_eq!(bench.load.next_deadline(), Some(started.after(Duration::from_micros(2500))));
    bench.now = started.after(Duration::from_millis(10));
    assert_eq!(bench.flush().len(), 4);
    assert_eq!(bench.load.packets_wanted(), 1);
}

#[test]
fn a_run_ends_with_what_it_counted() {
    let mut bench = Bench::new(plan());
    let announces = bench.connect_all();
    bench.now = bench.now.after(Duration::from_millis(900));
    announces.iter().for_each(|announce| bench.answer(announce));
    let announces = bench.flush();
    announces.iter().skip(1).for_each(|announce| bench.answer(announce));
    bench.now = bench.now.after(Duration::from_millis(100));
    assert!(bench.flush().is_empty(), "the time for new requests is over");
    assert!(bench.progress.sent_all.load(Ordering::Acquire) && !bench.progress.is_done());
    assert_eq!(bench.load.next_deadline(), None);
    bench.pass(Duration::from_millis(899));
    assert!(!bench.progress.is_done(), "one answer may still come");
    bench.pass(Duration::from_millis(101));
    let Finished { stats, sending } = bench.finished();
    assert_eq!(sending, Duration::from_secs(1));
    let total = stats.total();
    assert_eq!((total.sent, total.succeeded, total.failed(), stats.unsent), (36, 35, 1, 0));
    // What comes then is nobody's.
    bench.answer(&announces[0]);
}

#[test]
fn a_run_can_be_stopped_early() {
    let mut bench = Bench::new(Plan { rate: Some(1000.0), in_flight: 1, ..plan() });
    let announces = bench.connect_all();
    bench.now = bench.now.after(Duration::from_millis(10));
    bench.flush();
    bench.stop.store(true, Ordering::Release);
    announces.iter().for_each(|announce| bench.answer(announce));
    bench.pass(Duration::from_secs(2));
    bench.pass(Duration::from_secs(2));
    let Finished { stats, .. } = bench.finished();
    // Forty were due by then, with room for one at a time.
    assert!(stats.unsent > 30, "{}", stats.unsent);
}

#[test]
fn another_address_is_no_answer() {
    let mut bench = Bench::new(plan());
    let mut connect = bench.flush().remove(0);
    let mut wrong = connect.path.client();
    wrong.set_port(1);
    connect.path = ReplyPath::new(connect.path.socket(), wrong, None);
    bench.answer(&connect);
    assert_eq!(bench.load.stats.strays[Stray::WrongSource as usize], 1);
    assert_eq!(bench.load.stats.total().succeeded, 0);
}
