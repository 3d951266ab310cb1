//! A link: what it does to frames, and what it has done.

use std::ops::Range;

use fastrand::Rng;

use super::coverage::{Coverage, Seen};
use super::frames::{Made, spoil};

/// Where a link leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    Node(usize),
    Receiver(usize),
}

/// What a link is like.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) far: Far,
    pub(crate) loss_percent: u8,
    pub(crate) repeat_percent: u8,
    pub(crate) spoil_percent: u8,
    pub(crate) latency_ms: Range<u64>,
    /// Frames stay in order.
    pub(crate) in_order: bool,
    /// The longest IP packet in one piece.
    pub(crate) mtu: usize,
    /// Whether super-packets stay whole, as they do between network namespaces.
    pub(crate) keeps_super_packets: bool,
    /// Whether its device takes `UDP_SEGMENT`.
    pub(crate) cuts: bool,
    /// Sends to it that fail.
    pub(crate) error_percent: u8,
    pub(crate) ledger: Ledger,
}

/// In datagrams, and fragments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) arrived: u64,
}

impl Link {
    /// What of a frame arrives, and after how long.
    pub(crate) fn carry(
        &mut self,
        made: Made,
        rng: &mut Rng,
        seen: &mut Coverage,
    ) -> Vec<(u64, Made)> {
        let count = made.truth.count();
        self.ledger.sent += count;
        if rng.u8(..100) < self.loss_percent {
            self.ledger.lost += count;
            seen.note(Seen::Lost);
            return Vec::new();
        }
        let mut copies = 1;
        while copies < COPIES_MAX && rng.u8(..100) < self.repeat_percent {
            seen.note(Seen::Repeated);
            self.ledger.repeated += count;
            copies += 1;
        }
        let mut carried = Vec::new();
        for _ in 0..copies {
            let mut made = made.clone();
            if !made.covered.is_empty() && rng.u8(..100) < self.spoil_percent {
                seen.note(Seen::Spoiled);
                spoil(&mut made, rng.usize(..), rng.u8(..8));
            }
            let latency = if self.in_order {
                self.latency_ms.start
            } else {
                rng.u64(self.latency_ms.clone())
            };
            carried.push((latency, made));
        }
        carried
    }

    /// How a send of datagrams of this size to it ends.
    pub(crate) fn fate(&self, size: Option<usize>, rng: &mut Rng) -> Option<i32> {
        if let Some(packet_bytes) = size {
            if packet_bytes > self.mtu {
                return Some(libc::EINVAL);
            }
            if !self.cuts {
                return Some([libc::EIO, libc::EINVAL, libc::EMSGSIZE][rng.usize(..3)]);
            }
        }
        (rng.u8(..100) < self.error_percent).then(|| ERRORS[rng.usize(..ERRORS.len())])
    }

    /// What was sent arrived or was lost.
    pub(crate) fn check(&self) {
        let Ledger { sent, lost, repeated, arrived } = self.ledger;
        assert_eq!(sent + repeated, lost + arrived, "a link to {:?}", self.far);
    }
}

/// The most copies of one frame.
const COPIES_MAX: u8 = 4;

/// How sends fail that do not fail for their segments.
const ERRORS: [i32; 12] = [
    libc::EAGAIN,
    libc::ENOBUFS,
    libc::EPERM,
    libc::ENETUNREACH,
    libc::ENETDOWN,
    libc::ENODEV,
    libc::ENXIO,
    libc::ENOMEM,
    libc::EMSGSIZE,
    libc::ECONNREFUSED,
    libc::ECONNREFUSED,
    libc::ECONNREFUSED,
];
