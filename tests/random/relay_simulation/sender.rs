//! What senders make: datagrams in every form, and things that are none.

use std::rc::Rc;

use fastrand::Rng;
use ringtide::relay::stats::RelayDrop;

use super::coverage::{Coverage, Seen};
use super::frames::{
    Checksum, Head, Made, Payload, fragments, ipv4_fragment, plain, refused, super_packet,
};
use super::scenario::Sender;

impl Sender {
    /// One burst.
    pub(crate) fn burst(
        &self,
        rng: &mut Rng,
        mtu: usize,
        next_identification: &mut u32,
        seen: &mut Coverage,
    ) -> Vec<Made> {
        let tos = if rng.bool() { 0xb9 } else { rng.u8(..) };
        let head =
            Head { source: self.source, destination: self.destination, ttl: rng.u8(2..=64), tos };
        let mut frames = Vec::new();
        let size = self.any_size(rng);
        for _ in 0..rng.usize(1..24) {
            if rng.u8(..100) < self.noise_percent {
                frames.push(self.noise(rng, head, size));
            } else if rng.u8(..100) < self.fragments_percent && head.source.is_ipv6() {
                *next_identification += 1;
                let largest = if rng.u8(..8) == 0 { 65_527 } else { 9000 };
                let payload = any_payload(rng, 1500..=largest);
                frames.extend(fragments(head, &payload, *next_identification, mtu));
            } else if rng.u8(..100) < self.super_percent {
                seen.note(Seen::Pending);
                frames.push(any_super_packet(rng, head));
            } else {
                // As a rule those of a burst are of one size, and so can leave together.
                let same = rng.u8(..8) > 0;
                let bytes = if same { size } else { self.any_size(rng) };
                frames.push(any_plain(rng, head, bytes, seen));
            }
        }
        frames
    }

    fn any_size(&self, rng: &mut Rng) -> usize {
        if rng.u8(..20) == 0 { rng.usize(..8) } else { rng.usize(8..=self.payload_bytes_max) }
    }

    fn noise(&self, rng: &mut Rng, head: Head, bytes: usize) -> Made {
        let payload = any_payload(rng, bytes..=bytes);
        let mut elsewhere = head;
        match rng.u8(..4) {
            0 => {
                elsewhere.destination.set_port(9);
                plain(elsewhere, &payload, Checksum::Right)
            }
            1 if head.source.is_ipv4() => ipv4_fragment(head, &payload),
            _ => {
                let reasons = [
                    RelayDrop::Corrupt,
                    RelayDrop::Looped,
                    RelayDrop::Tagged,
                    RelayDrop::Malformed,
                    RelayDrop::NotUdp,
                ];
                refused(head, &payload, reasons[rng.usize(..reasons.len())], rng.u8(..))
            }
        }
    }
}

fn any_plain(rng: &mut Rng, head: Head, bytes: usize, seen: &mut Coverage) -> Made {
    let payload = any_payload(rng, bytes..=bytes);
    seen.note_if(payload.is_empty(), Seen::Empty);
    let checksum = match rng.u8(..10) {
        0 if head.source.is_ipv4() => Checksum::None,
        1 => Checksum::Vouched,
        2 => Checksum::Pending,
        _ => Checksum::Right,
    };
    seen.note_if(checksum == Checksum::None, Seen::WithoutChecksum);
    seen.note_if(checksum == Checksum::Vouched, Seen::Vouched);
    seen.note_if(checksum == Checksum::Pending, Seen::Pending);
    plain(head, &payload, checksum)
}

/// Datagrams of one size, the last perhaps shorter, that fit into one frame.
fn any_super_packet(rng: &mut Rng, head: Head) -> Made {
    let size = rng.usize(1..=1400);
    let most = if rng.u8(..6) == 0 { 65_000 / size } else { (30_000 / size).min(64) };
    let mut payloads: Vec<Payload> =
        (0..rng.usize(1..=most.clamp(1, 300))).map(|_| any_payload(rng, size..=size)).collect();
    if payloads.len() > 1 && rng.bool() {
        *payloads.last_mut().unwrap() = any_payload(rng, 1..=size);
    }
    super_packet(head, payloads)
}

fn any_payload(rng: &mut Rng, bytes: std::ops::RangeInclusive<usize>) -> Payload {
    let mut payload = vec![0; rng.usize(bytes)];
    rng.fill(&mut payload);
    Rc::from(payload)
}
