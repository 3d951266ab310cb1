use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::io::{ReceivePool, RecordedTransmit, SentForward, SocketId};
use crate::relay::golden::{
    IPV4, IPV4_EMPTY, IPV4_FRAGMENT_FIRST, IPV4_PLAIN, IPV4_SUPER, IPV6, IPV6_FRAGMENTS,
    IPV6_PLAIN, plain, virtio,
};
use crate::relay::stats::FlowSnapshot;
use crate::relay::table::{LATENCY_BUCKETS, OutputState};
use crate::sys::address::PacketAuxData;
use crate::telemetry::SizesSnapshot;

const INPUT: SocketId = SocketId(3);

fn output(socket: u16, tag: u32) -> TableOutput {
    TableOutput {
        socket: Some(SocketId(socket)),
        to: None,
        ipv6: false,
        segment_max: 1472,
        payload_max: 65_507,
        keep_ttl: false,
        keep_dscp: false,
        state: Arc::new(OutputState { tag, ..OutputState::default() }),
    }
}

fn rule(outputs: Vec<TableOutput>) -> TableRule {
    TableRule {
        sources: Box::default(),
        keeps_ttl: outputs.iter().any(|output| output.keep_ttl),
        keeps_dscp: outputs.iter().any(|output| output.keep_dscp),
        counters: Arc::default(),
        outputs,
    }
}

/// A relay with one rule for each group of the golden frames.
struct Bench {
    relay: Relay,
    shared: Arc<SharedTable>,
    tx: RecordedTransmit,
    pool: ReceivePool,
}

impl Bench {
    fn new(rules: Vec<TableRule>) -> Self {
        Self::with(rules, Offload::Auto)
    }

    fn with(rules: Vec<TableRule>, offload: Offload) -> Self {
        let shared = Arc::new(SharedTable::default());
        shared.publish(table(rules, offload, 1));
        let relay = Relay::new(Arc::clone(&shared));
        let (tx, pool) = (RecordedTransmit::default(), ReceivePool::new(256, 4096));
        Self { relay, shared, tx, pool }
    }

    fn now() -> Now {
        Now::from_unix(Duration::from_secs(1000))
    }

    fn arrive(&mut self, bytes: &[u8]) {
        self.arrive_with(bytes, None);
    }

    fn arrive_at(&mut self, bytes: &[u8], received_ns: u64) {
        self.arrive_with(bytes, Some(PacketAuxData { received_ns, ..PacketAuxData::default() }));
    }

    fn arrive_with(&mut self, bytes: &[u8], auxiliary: Option<PacketAuxData>) {
        let buffer = self.pool.fill(bytes).unwrap();
        let frame = Frame::received(INPUT, &buffer, 0..bytes.len(), auxiliary, false, false);
        self.relay.on_frame(Self::now(), &frame, &mut self.tx);
    }

    fn flush(&mut self) -> Vec<SentForward> {
        self.relay.on_flush(Self::now(), &mut self.tx);
        std::mem::take(&mut self.tx.forwarded)
    }

    /// Ends a forward of "ringtide" as often as `datagrams` says.
    fn ended(&mut self, sent: &SentForward, result: Result<usize, i32>) {
        let buffer = self.pool.fill(&sent.bytes).unwrap();
        let slice = BufferSlice { buffer, range: 0..sent.bytes.len() };
        let forwarded =
            SendCompletion { tag: sent.tag, result, slices: &[slice], options: sent.options };
        self.relay.on_forwarded(Self::now(), &forwarded, &mut self.tx);
    }

    fn sent_by(&self, rule: usize, output: usize) -> FlowSnapshot {
        self.relay.table.rules[rule].outputs[output].state.counters.snapshot()
    }
}

fn table(rules: Vec<TableRule>, offload: Offload, generation: u64) -> RelayTable {
    let fragments_held_max = 16;
    let mut table =
        RelayTable { generation, offload, fragments_held_max, rules, ..RelayTable::default() };
    for (index, group) in ["239.1.1.1:5001", "[ff15::1]:5001"].into_iter().enumerate() {
        let key = InputKey::new(INPUT, group.parse().unwrap());
        if index < table.rules.len() {
            table.inputs.insert(key, vec![index]);
        }
    }
    table
}

fn ipv4() -> Vec<u8> {
    plain(IPV4, IPV4_PLAIN)
}

#[test]
fn datagrams_of_a_flow_leave_together_by_every_output() {
    let mut bench = Bench::new(vec![rule(vec![output(7, 1), output(8, 2)])]);
    for _ in 0..3 {
        bench.arrive(&ipv4());
    }
    assert_eq!(bench.tx.forwarded, [], "nothing leaves before the flush");
    let sent = bench.flush();
    assert_eq!(sent.len(), 2);
    for (sent, socket) in sent.iter().zip([7, 8]) {
        assert_eq!((sent.socket, sent.slices), (SocketId(socket), 3));
        assert_eq!(
            (&sent.bytes[..], sent.options.segment_bytes),
            (&b"ringtide".repeat(3)[..], Some(8))
        );
        assert_eq!((sent.options.ttl, sent.options.tos), (None, None));
    }
    bench.ended(&sent[0], Ok(24));
    assert_eq!(bench.sent_by(0, 0).packets, 3);
    assert_eq!((bench.sent_by(0, 0).sends, bench.sent_by(0, 0).bytes), (1, 24));
    assert_eq!(bench.relay.table.rules[0].counters.snapshot().packets, 3);
    assert_eq!(bench.pool.held(), 0);
}

#[test]
fn a_rule_whose_batch_was_full_is_open_once() {
    let mut bench = Bench::new(vec![rule(vec![output(7, 1), output(8, 2)])]);
    assert_eq!(bench.relay.sends_per_frame_max(), 2);
    for _ in 0..=3 * BATCH_DATAGRAMS_MAX {
        bench.arrive(&ipv4());
        assert_eq!(bench.relay.open, [0]);
        assert_eq!(bench.relay.sends_per_frame_max(), 4, "one open batch, and one frame more");
    }
    assert_eq!(bench.tx.forwarded.len(), 6);
    assert_eq!(bench.flush().len(), 8);
    assert_eq!((bench.relay.open.len(), bench.relay.sends_per_frame_max()), (0, 2));
}

#[test]
fn a_send_is_timed_from_the_oldest_frame_in_it() {
    let mut bench = Bench::new(vec![rule(vec![output(7, 1)])]);
    let table =
        RelayTable { latency: true, ..table(vec![rule(vec![output(7, 1)])], Offload::Auto, 2) };
    bench.shared.publish(table);
    bench.relay.on_tick(Bench::now(), &mut bench.tx);
    let frames = BATCH_DATAGRAMS_MAX as u64 + 1;
    for microsecond in 1..=frames {
        bench.arrive_at(&ipv4(), microsecond * 1000);
    }
    assert_eq!(bench.tx.forwarded.len(), 1, "a full batch went, and one frame waits");
    assert_eq!(bench.flush().len(), 2);
    assert!(bench.relay.awaits_submission());
    bench.relay.on_submitted((frames + 1) * 1000);
    assert!(!bench.relay.awaits_submission());
    let timed = bench.relay.table.rules[0].outputs[0].state.latency_us.snapshot();
    let mut expected = SizesSnapshot::<LATENCY_BUCKETS>::default();
    expected.add(frames);
    expected.add(1);
    assert_eq!(timed, expected);
}

#[test]
fn nothing_awaits_submission_unless_sends_are_timed() {
    let mut bench = Bench::new(vec![rule(vec![output(7, 1)])]);
    bench.arrive_at(&ipv4(), 1000);
    assert_eq!(bench.flush().len(), 1);
    assert!(!bench.relay.awaits_submission());
}

#[test]
fn where_outputs_take_different_lengths_there_is_room_for_each_datagram() {
    let narrow = TableOutput { segment_max: 4, ..output(8, 2) };
    let mut bench = Bench::new(vec![rule(vec![output(7, 1), narrow])]);
    assert_eq!(bench.relay.sends_per_frame_max(), 1 + BATCH_DATAGRAMS_MAX);
    (0..BATCH_DATAGRAMS_MAX - 1).for_each(|_| bench.arrive(&ipv4()));
    assert_eq!(bench.relay.sends_per_frame_max(), 2 * (1 + BATCH_DATAGRAMS_MAX));
    assert_eq!(bench.flush().len(), BATCH_DATAGRAMS_MAX, "one whole, the others cut");
}

#[test]
fn where_segments_were_refused_there_is_room_for_each_datagram() {
    let mut bench = Bench::new(vec![rule(vec![output(7, 1)])]);
    assert_eq!(bench.relay.sends_per_frame_max(), 1);
    bench.arrive(&ipv4());
    bench.arrive(&ipv4());
    let sent = bench.flush();
    bench.ended(&sent[0], Err(libc::EINVAL));
    assert_eq!(bench.relay.sends_per_frame_max(), BATCH_DATAGRAMS_MAX);
}

#[test]
fn where_super_packets_must_be_cut_there_is_room_for_each_datagram() {
    let narrow = || vec![rule(vec![TableOutput { segment_max: 7, ..output(7, 1) }])];
    let mut bench = Bench::new(narrow());
    assert_eq!(bench.relay.sends_per_frame_max(), 1);
    bench.arrive(&ipv4());
    assert_eq!(bench.flush().len(), 1);
    assert_eq!(bench.relay.sends_per_frame_max(), 1, "nothing was cut yet");
    bench.arrive(&frame_of(&virtio(1, 5, 8, 34), IPV4, IPV4_SUPER));
    assert_eq!(bench.flush().len(), 3);
    assert_eq!(bench.relay.sends_per_frame_max(), BATCH_DATAGRAMS_MAX);
    bench.shared.publish(table(narrow(), Offload::Auto, 2));
    bench.relay.on_tick(Bench::now(), &mut bench.tx);
    assert_eq!(bench.relay.sends_per_frame_max(), 1, "other rules, other sends");
}

#[test]
fn every_fragment_of_a_datagram_that_is_dropped_is_counted() {
    let mut bench = Bench::new(vec![rule(Vec::new()), rule(vec![output(8, 2)])]);
    let mut frames = fragments();
    *frames[1].last_mut().unwrap() ^= 1;
    frames.iter().for_each(|frame| bench.arrive(frame));
    assert_eq!(bench.flush(), []);
    let dropped = bench.shared.unmatched.snapshot();
    assert_eq!((dropped.dropped(RelayDrop::Corrupt), dropped.dropped_total()), (3, 3));
}

#[test]
fn super_packets_stay_whole_and_flows_keep_their_own_batches() {
    let mut bench = Bench::new(vec![rule(vec![output(7, 1)]), rule(vec![output(8, 2)])]);
    let whole = frame_of(&virtio(1, 5, 8, 34), IPV4, IPV4_SUPER);
    bench.arrive(&ipv4());
    bench.arrive(&plain(IPV6, IPV6_PLAIN));
    bench.arrive(&whole);
    let sent = bench.flush();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].bytes, b"ringtideringtideringtidering");
    assert_eq!((sent[0].socket, sent[0].options.segment_bytes), (SocketId(7), Some(8)));
    assert_eq!((sent[1].socket, &sent[1].bytes[..]), (SocketId(8), &b"ringtide"[..]));
    assert_eq!(sent[1].options.segment_bytes, None);
}

#[test]
fn without_offload_each_datagram_leaves_by_itself() {
    let mut bench = Bench::with(vec![rule(vec![output(7, 1)])], Offload::Off);
    bench.arrive(&frame_of(&virtio(1, 5, 8, 34), IPV4, IPV4_SUPER));
    bench.arrive(&ipv4());
    let sent = bench.flush();
    let bytes: Vec<_> = sent.iter().map(|sent| &sent.bytes[..]).collect();
    assert_eq!(bytes, [&b"ringtide"[..], b"ringtide", b"ring", b"ringtide"]);
    assert!(sent.iter().all(|sent| sent.options.segment_bytes.is_none()));
}

#[test]
fn a_refused_segment_size_loses_nothing_and_is_remembered() {
    for error in [libc::EINVAL, libc::EIO, libc::EMSGSIZE] {
        let mut bench = Bench::new(vec![rule(vec![output(7, 1)])]);
        bench.arrive(&ipv4());
        bench.arrive(&ipv4());
        let sent = bench.flush();
        bench.ended(&sent[0], Err(error));
        let again = std::mem::take(&mut bench.tx.forwarded);
        assert_eq!(again.len(), 2);
        assert!(
            again
                .iter()
                .all(|sent| sent.bytes == b"ringtide" && sent.options.segment_bytes.is_none())
        );
        bench.ended(&again[0], Ok(8));
        bench.ended(&again[1], Ok(8));
        assert_eq!((bench.sent_by(0, 0).packets, bench.sent_by(0, 0).dropped_total()), (2, 0));
        bench.arrive(&ipv4());
        bench.arrive(&ipv4());
        assert_eq!(bench.flush().len(), 2, "from now on singly");
    }
}

#[test]
fn a_refusal_of_an_earlier_datagram_is_answered_with_one_more_try() {
    let mut bench = Bench::new(vec![rule(vec![output(7, 1)])]);
    bench.arrive(&ipv4());
    let sent = bench.flush();
    bench.ended(&sent[0], Err(libc::ECONNREFUSED));
    let again = std::mem::take(&mut bench.tx.forwarded);
    assert_eq!(again.len(), 1);
    bench.ended(&again[0], Err(libc::ECONNREFUSED));
    assert_eq!(bench.tx.forwarded, []);
    assert_eq!(bench.sent_by(0, 0).dropped(RelayDrop::SendError), 1);
}

#[test]
fn errors_are_counted_by_what_they_mean() {
    for (error, reason) in [
        (libc::EAGAIN, RelayDrop::SocketFull),
        (libc::ENOBUFS, RelayDrop::SocketFull),
        (libc::EMSGSIZE, RelayDrop::Oversized),
        (libc::ENETDOWN, RelayDrop::OutputDown),
        (libc::EPERM, RelayDrop::SendError),
    ] {
        let mut bench = Bench::new(vec![rule(vec![output(7, 1)])]);
        bench.arrive(&ipv4());
        let sent = bench.flush();
        bench.ended(&sent[0], Err(error));
        assert_eq!(bench.sent_by(0, 0).dropped(reason), 1, "{error}");
    }
}

#[test]
fn what_is_kept_goes_with_the_send_and_parts_batches() {
    let mut keeping = output(7, 1);
    (keeping.keep_ttl, keeping.keep_dscp) = (true, true);
    let mut bench = Bench::new(vec![rule(vec![keeping, output(8, 2)])]);
    bench.arrive(&ipv4());
    let sent = bench.flush();
    assert_eq!((sent[0].options.ttl, sent[0].options.tos), (Some(7), Some(0xb8)));
    assert_eq!((sent[1].options.ttl, sent[1].options.tos), (None, None));
}

#[test]
fn what_no_rule_or_output_takes_is_counted() {
    let mut listed = rule(vec![output(7, 1)]);
    listed.sources = ["10.0.0.2".parse().unwrap()].into();
    let mut bench = Bench::new(vec![listed]);
    bench.arrive(&ipv4());
    bench.arrive(&plain(IPV6, IPV6_PLAIN));
    bench.arrive(&[0; 24]);
    assert_eq!(bench.flush(), []);
    let unmatched = bench.shared.unmatched.snapshot();
    for reason in [RelayDrop::Source, RelayDrop::NoRule, RelayDrop::NotUdp] {
        assert_eq!(unmatched.dropped(reason), 1, "{reason:?}");
    }
    let mut down = output(7, 1);
    down.socket = None;
    let mut short = output(8, 2);
    short.payload_max = 4;
    let mut bench = Bench::new(vec![rule(vec![down, short])]);
    bench.arrive(&ipv4());
    bench.arrive(&plain(IPV4, IPV4_EMPTY));
    assert_eq!(bench.flush().len(), 1, "the empty datagram, by the short output");
    assert_eq!(bench.sent_by(0, 0).dropped(RelayDrop::OutputDown), 2);
    assert_eq!(bench.sent_by(0, 1).dropped(RelayDrop::Oversized), 1);
}

#[test]
fn a_new_table_is_taken_up_at_a_tick_and_forwards_find_their_output() {
    let mut bench = Bench::new(vec![rule(vec![output(7, 1)])]);
    bench.arrive(&ipv4());
    let sent = bench.flush();
    let state = Arc::clone(&bench.relay.table.rules[0].outputs[0].state);
    let moved = TableOutput { state, ..output(9, 1) };
    let rules = vec![rule(vec![output(8, 2), moved])];
    bench.shared.publish(table(rules, Offload::Auto, 2));
    assert_eq!(bench.shared.seen(), 1);
    bench.relay.on_tick(Bench::now(), &mut bench.tx);
    assert_eq!(bench.shared.seen(), 2);
    bench.ended(&sent[0], Ok(8));
    assert_eq!(bench.sent_by(0, 1).packets, 1);
}

fn fragments() -> [Vec<u8>; 3] {
    IPV6_FRAGMENTS.map(|packet| plain(IPV6, packet))
}

#[test]
fn fragments_leave_as_one_datagram_behind_what_came_before() {
    let mut keeping = output(8, 2);
    (keeping.keep_ttl, keeping.keep_dscp) = (true, true);
    let mut bench = Bench::new(vec![rule(vec![output(7, 1)]), rule(vec![keeping, output(9, 3)])]);
    let [first, second, last] = fragments();
    bench.arrive(&last);
    bench.arrive(&plain(IPV6, IPV6_PLAIN));
    bench.arrive(&first);
    bench.flush();
    assert_eq!(bench.pool.held(), 2);
    bench.arrive(&plain(IPV6, IPV6_PLAIN));
    bench.arrive(&second);
    bench.arrive(&plain(IPV6, IPV6_PLAIN));
    let sent: Vec<_> = bench.flush().into_iter().filter(|sent| sent.tag == 2).collect();
    let bytes: Vec<_> = sent.iter().map(|sent| &sent.bytes[..]).collect();
    assert_eq!(bytes, [&b"ringtide"[..], b"ringtide relays it", b"ringtide"]);
    assert_eq!((sent[1].slices, sent[1].options.segment_bytes), (3, None));
    assert_eq!((sent[1].options.ttl, sent[1].options.tos), (Some(7), Some(0xb8)));
    let taken = bench.relay.table.rules[1].counters.snapshot();
    assert_eq!((taken.packets, taken.bytes), (4, 3 * 8 + 18));
    assert_eq!(bench.shared.unmatched.snapshot().dropped_total(), 0);
    assert_eq!(bench.pool.held(), 0);
}

#[test]
fn a_datagram_in_parts_stays_one_when_it_is_sent_again() {
    let mut bench = Bench::new(vec![rule(Vec::new()), rule(vec![output(8, 2)])]);
    fragments().iter().for_each(|frame| bench.arrive(frame));
    let sent = bench.flush();
    let buffer = bench.pool.fill(&sent[0].bytes).unwrap();
    let slices = [0..4, 4..4, 4..18].map(|range| BufferSlice { buffer: buffer.clone(), range });
    let forwarded = SendCompletion {
        tag: sent[0].tag,
        result: Err(libc::ECONNREFUSED),
        slices: &slices,
        options: SendOptions::default(),
    };
    bench.relay.on_forwarded(Bench::now(), &forwarded, &mut bench.tx);
    let again = std::mem::take(&mut bench.tx.forwarded);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].bytes, b"ringtide relays it");
}

#[test]
fn fragments_that_no_rule_takes_are_not_kept() {
    let mut listed = rule(vec![output(8, 2)]);
    listed.sources = ["fd00::2".parse().unwrap()].into();
    for (rules, reason) in [
        (vec![rule(Vec::new())], RelayDrop::NoRule),
        (vec![rule(Vec::new()), listed], RelayDrop::Source),
    ] {
        let mut bench = Bench::new(rules);
        let [first, second, last] = fragments();
        bench.arrive(&second);
        bench.arrive(&first);
        bench.arrive(&last);
        assert_eq!(bench.shared.unmatched.snapshot().dropped(reason), 3, "{reason:?}");
        assert_eq!(bench.pool.held(), 0);
    }
}

#[test]
fn fragments_that_never_become_whole_are_counted() {
    let fragments_dropped = |shared: &SharedTable| {
        let counted = shared.unmatched.snapshot();
        assert_eq!(counted.dropped_total(), counted.dropped(RelayDrop::Fragment));
        counted.dropped_total()
    };
    let mut bench = Bench::new(vec![rule(Vec::new()), rule(vec![output(8, 2)])]);
    let [first, second, _] = fragments();
    bench.arrive(&plain(IPV4, IPV4_FRAGMENT_FIRST));
    assert_eq!(fragments_dropped(&bench.shared), 1, "the kernel puts those together, or none");
    bench.arrive(&first);
    bench.relay.on_tick(Bench::now().after(Duration::from_secs(4)), &mut bench.tx);
    assert_eq!((fragments_dropped(&bench.shared), bench.pool.held()), (1, 1));
    bench.relay.on_tick(Bench::now().after(Duration::from_secs(5)), &mut bench.tx);
    assert_eq!((fragments_dropped(&bench.shared), bench.pool.held()), (2, 0));

    // A table without a rule over IPv6 takes none.
    bench.arrive(&first);
    let mut none = table(vec![rule(Vec::new())], Offload::Auto, 2);
    none.fragments_held_max = 0;
    bench.shared.publish(none);
    bench.relay.on_tick(Bench::now(), &mut bench.tx);
    assert_eq!((fragments_dropped(&bench.shared), bench.pool.held()), (3, 0));
    bench.arrive(&second);
    assert_eq!((fragments_dropped(&bench.shared), bench.pool.held()), (4, 0));

    // So does the end of a worker.
    let mut bench = Bench::new(vec![rule(Vec::new()), rule(vec![output(8, 2)])]);
    bench.arrive(&first);
    let shared = Arc::clone(&bench.shared);
    drop(bench.relay);
    assert_eq!((fragments_dropped(&shared), bench.pool.held()), (1, 0));
}

fn frame_of(virtio: &[u8], ethertype: [u8; 2], packet: &[u8]) -> Vec<u8> {
    crate::relay::golden::frame(virtio, ethertype, packet)
}

/// What was on its way when its output was taken out of force is counted all the same, whatever
/// becomes of it.
#[test]
fn forwards_of_an_output_that_left_are_counted_there() {
    let mut bench = Bench::new(vec![rule(vec![output(8, 1), output(9, 2)])]);
    let sends: [_; 2] = std::array::from_fn(|_| {
        bench.arrive(&ipv4());
        bench.flush()
    });
    let [stays, left] = [0, 1].map(|at| bench.relay.table.rules[0].outputs[at].state.clone());
    let output = TableOutput { state: Arc::clone(&stays), ..output(8, 1) };
    bench.shared.publish(table(vec![rule(vec![output])], Offload::Auto, 2));
    bench.relay.on_tick(Bench::now(), &mut bench.tx);
    for (sends, result) in sends.iter().zip([Ok(8), Err(libc::ENOBUFS)]) {
        assert_eq!(bench.relay.in_flight.leaving(), 1);
        sends.iter().for_each(|sent| bench.ended(sent, result));
    }
    for figures in [stays.counters.snapshot(), left.counters.snapshot()] {
        let lost = figures.dropped(RelayDrop::SocketFull);
        assert_eq!((figures.packets, figures.bytes, lost), (1, 8, 1));
    }
    assert_eq!(bench.relay.in_flight.leaving(), 0);
}
