//! Frames through the whole relay.
//!
//! Input: a byte of settings, then frames behind their virtio headers, each behind five bytes:
//! choices (see [`World::step`]), how sends in flight end, zeros that follow in units of 256
//! bytes, and the frame's length.

use std::sync::Arc;
use std::time::Duration;

use ringtide::io::{
    FORWARD_SLICES_MAX, Frame, FrameMeta, FrameService, Now, PacketAuxData, ReceivePool, SocketId,
};
use ringtide::relay::Datagram;
use ringtide::relay::handler::Relay;
use ringtide::relay::rule::Offload;
use ringtide::relay::stats::{FlowCounters, RelayDrop};
use ringtide::relay::table::{
    InputKey, OutputState, RelayTable, SharedTable, TableOutput, TableRule,
};

use super::input::{Input, bit};
use super::transmit::Slots;

const FRAMES_MAX: usize = 256;
/// As an engine's: a virtio header, an Ethernet header and the largest IP packet fit.
const BUFFER_BYTES: usize = 65_600;
/// More than a batch, the largest one held back for fragments and what slots hold.
const BUFFERS: u16 = 1024;
/// What the rules below need for a frame of 64 datagrams, and for closing their batches.
const SLOTS: usize = 512;
const INPUT: SocketId = SocketId(3);
const START: Now = Now::from_unix(Duration::from_secs(1_700_000_000));
/// In a frame behind its virtio header of 10 bytes.
const ETHERTYPE: usize = 22;
const IPV4: usize = 24;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(input.byte());
    for _ in 0..FRAMES_MAX {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.finish();
}

/// One relay with two rules, over IPv4 and IPv6.
pub struct World {
    relay: Relay,
    shared: Arc<SharedTable>,
    rules: [Arc<FlowCounters>; 2],
    outputs: [Vec<Arc<OutputState>>; 2],
    pool: ReceivePool,
    slots: Slots,
    now: Now,
    frames: u64,
    /// Of what no rule took, and the fragments among all frames.
    whole_drops: u64,
    fragments: u64,
}

impl World {
    pub fn new(choices: u8) -> Self {
        let outputs = [vec![state(1), state(2)], vec![state(3), state(4), state(5)]];
        let ipv4 = vec![
            output(&outputs[0][0], Some(7), 1472),
            TableOutput { keep_ttl: true, keep_dscp: true, ..output(&outputs[0][1], Some(8), 4) },
        ];
        let ipv6 = vec![
            output(&outputs[1][0], Some(9), 1452),
            output(&outputs[1][1], None, 1452),
            TableOutput { payload_max: 1000, ..output(&outputs[1][2], Some(10), 1000) },
        ];
        let listed = bit(choices, 1).then_some("10.0.0.1".parse().unwrap());
        let table = RelayTable {
            generation: 1,
            offload: if bit(choices, 0) { Offload::Off } else { Offload::Auto },
            latency: bit(choices, 4),
            fragments_held_max: [16, 3, 0, 64][usize::from(choices >> 2 & 3)],
            inputs: ["239.1.1.1:5001", "[ff15::1]:5001"]
                .iter()
                .enumerate()
                .map(|(rule, to)| (InputKey::new(INPUT, to.parse().unwrap()), vec![rule]))
                .collect(),
            rules: vec![rule(ipv4, listed.into_iter().collect()), rule(ipv6, Box::default())],
        };
        let rules = [0, 1].map(|rule: usize| Arc::clone(&table.rules[rule].counters));
        let shared = Arc::<SharedTable>::default();
        shared.publish(table);
        Self {
            relay: Relay::new(Arc::clone(&shared)),
            shared,
            rules,
            outputs,
            pool: ReceivePool::new(BUFFERS, BUFFER_BYTES),
            slots: Slots::new(SLOTS),
            now: START,
            frames: 0,
            whole_drops: 0,
            fragments: 0,
        }
    }

    /// Choices: bits 0 and 1 what the socket says beside the frame, bit 2 truncated, bit 3 sent by
    /// this host, bit 4 the end of an iteration behind it, bit 5 sends that end, bit 6 a tick and
    /// a second behind it, bit 7 a right IPv4 header checksum.
    fn step(&mut self, input: &mut Input<'_>) {
        let (choices, ends, zeros) = (input.byte(), input.byte(), input.byte());
        let word = input.word();
        let length = usize::from(word);
        let mut bytes = input.take(length).to_vec();
        bytes.resize((bytes.len() + 256 * usize::from(zeros)).min(BUFFER_BYTES), 0);
        bytes.truncate(BUFFER_BYTES);
        if bit(choices, 7) {
            put_header_checksum(&mut bytes);
        }
        let auxiliary = [
            None,
            Some(PacketAuxData { vlan: true, ..PacketAuxData::default() }),
            Some(PacketAuxData {
                checksum_valid: true,
                received_ns: 1,
                ..PacketAuxData::default()
            }),
            Some(PacketAuxData { checksum_pending: true, ..PacketAuxData::default() }),
        ][usize::from(choices & 3)];
        self.arrive(&bytes, auxiliary, bit(choices, 3), bit(choices, 2));
        if bit(choices, 5) {
            for _ in 0..=ends & 0xf {
                self.slots.end_one(&mut self.relay, self.now, error(ends >> 4));
            }
        }
        if bit(choices, 4) {
            self.relay.on_flush(self.now, &mut self.slots);
            if self.relay.awaits_submission() {
                self.relay.on_submitted(u64::from(word) << 10);
            }
        }
        if bit(choices, 6) {
            self.relay.on_flush(self.now, &mut self.slots);
            self.now = self.now.after(Duration::from_secs(1));
            self.relay.on_tick(self.now, &mut self.slots);
        }
    }

    /// Hands a frame to the relay as an engine would, and checks what becomes of it.
    fn arrive(
        &mut self,
        bytes: &[u8],
        auxiliary: Option<PacketAuxData>,
        outgoing: bool,
        truncated: bool,
    ) {
        let (meta, frame) = FrameMeta::split(bytes, auxiliary, outgoing, truncated);
        let parsed = Datagram::parse(frame, &meta);
        let is_fragment = matches!(parsed, Err(RelayDrop::Fragment));
        // Frames wait until there is room for all that they may send. Before a fragment nothing
        // else may hold a buffer, so that those of fragments can be told.
        if is_fragment || self.slots.free < self.relay.sends_per_frame_max() {
            self.settle();
        }
        assert!(self.slots.free >= self.relay.sends_per_frame_max(), "too few slots for a frame");
        let (taken, dropped, held) = (self.taken(), self.dropped(), self.pool.held());
        let refused = self.slots.refused;
        let buffer = self.pool.fill(bytes).expect("a buffer at home");
        let range = 0..bytes.len();
        let frame = Frame::received(INPUT, &buffer, range, auxiliary, outgoing, truncated);
        self.relay.on_frame(self.now, &frame, &mut self.slots);
        drop(buffer);
        self.frames += 1;
        let (taken, dropped) = (self.taken() - taken, self.dropped() - dropped);
        match parsed {
            Ok(datagram) => {
                assert_eq!(taken + dropped * datagram.count() as u64, datagram.count() as u64);
                self.whole_drops += dropped;
                if datagram.count() <= FORWARD_SLICES_MAX {
                    assert_eq!(self.slots.refused, refused, "room was promised to be enough");
                }
            }
            Err(_) if is_fragment => self.check_fragment(taken, dropped, held),
            Err(_) => {
                assert_eq!((taken, dropped), (0, 1), "one reason for each frame");
                self.whole_drops += 1;
            }
        }
    }

    /// A fragment is kept, or it is counted, by itself or with the datagram that it completed.
    fn check_fragment(&mut self, taken: u64, dropped: u64, held: usize) {
        self.fragments += 1;
        self.settle();
        let gone = (held + 1).checked_sub(self.pool.held()).expect("one frame more") as u64;
        match taken {
            0 => assert_eq!(dropped, gone, "each that goes is counted"),
            // Others may have been given up for the room of the last one.
            _ => assert!(taken == 1 && dropped < gone, "{dropped} drops of {gone} fragments"),
        }
    }

    /// The end of an iteration, and of all sends.
    fn settle(&mut self) {
        self.relay.on_flush(self.now, &mut self.slots);
        self.slots.end_all(&mut self.relay, self.now);
        assert_eq!(self.slots.free, SLOTS, "a slot is missing");
    }

    /// What was taken was sent or dropped, by each output, and every buffer is at home.
    fn finish(mut self) {
        self.settle();
        let held = self.pool.held() as u64;
        assert!(held <= self.fragments, "only fragments wait");
        let dropped = self.dropped();
        let Self { relay, shared, .. } = self;
        drop(relay);
        assert_eq!(self.pool.held(), 0, "a buffer is missing");
        assert_eq!(self.pool.free(), usize::from(BUFFERS));
        let total = shared.unmatched.snapshot().dropped_total();
        assert_eq!(total - dropped, held, "what still waits is counted");
        assert!(total - self.whole_drops <= self.fragments, "no frame is counted twice");
        for (rule, outputs) in self.rules.iter().zip(&self.outputs) {
            let taken = rule.snapshot();
            for output in outputs {
                let sent = output.counters.snapshot();
                let ended = sent.packets + sent.dropped_total();
                assert_eq!(ended, taken.packets, "output {}", output.tag);
                assert!(sent.bytes <= taken.bytes, "output {}", output.tag);
            }
        }
    }

    fn taken(&self) -> u64 {
        self.rules.iter().map(|rule| rule.snapshot().packets).sum()
    }

    fn dropped(&self) -> u64 {
        self.shared.unmatched.snapshot().dropped_total()
    }
}

fn state(tag: u32) -> Arc<OutputState> {
    Arc::new(OutputState { tag, ..OutputState::default() })
}

fn output(state: &Arc<OutputState>, socket: Option<u16>, segment_max: usize) -> TableOutput {
    TableOutput {
        socket: socket.map(SocketId),
        to: None,
        ipv6: false,
        segment_max,
        payload_max: 65_507,
        keep_ttl: false,
        keep_dscp: false,
        state: Arc::clone(state),
    }
}

fn rule(outputs: Vec<TableOutput>, sources: Box<[std::net::IpAddr]>) -> TableRule {
    TableRule {
        sources,
        keeps_ttl: outputs.iter().any(|output| output.keep_ttl),
        keeps_dscp: outputs.iter().any(|output| output.keep_dscp),
        counters: Arc::default(),
        outputs,
    }
}

fn error(choice: u8) -> Option<i32> {
    let errors = [
        libc::EINVAL,
        libc::EIO,
        libc::EMSGSIZE,
        libc::ECONNREFUSED,
        libc::EAGAIN,
        libc::ENOBUFS,
        libc::ENETDOWN,
        libc::EPERM,
    ];
    errors.get(usize::from(choice)).copied()
}

/// RFC 791: the one's complement of the one's complement sum of the header's 16-bit words.
fn put_header_checksum(frame: &mut [u8]) {
    if frame.get(ETHERTYPE..IPV4) != Some(&[8, 0]) {
        return;
    }
    let Some(first) = frame.get(IPV4) else { return };
    let header_bytes = 4 * usize::from(first & 0xf);
    let Some(header) = frame.get_mut(IPV4..IPV4 + header_bytes) else { return };
    let Some(checksum) = header.get_mut(10..12) else { return };
    checksum.fill(0);
    let words =
        header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    header[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
