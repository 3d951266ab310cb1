//! What is counted per rule and per output. Each worker writes its own; readers add them up.

use std::sync::atomic::Ordering;

use crate::sync::AtomicU64;

/// Why a datagram or frame was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelayDrop {
    /// No rule wants it.
    NoRule,
    /// It is not UDP over IPv4 or IPv6.
    NotUdp,
    /// It is cut short, or its lengths contradict each other.
    Malformed,
    /// A checksum is wrong.
    Corrupt,
    /// It is a fragment that could not be put together.
    Fragment,
    /// It carries a VLAN tag.
    Tagged,
    /// Its source is not in the rule's list.
    Source,
    /// This host sent it itself.
    Looped,
    /// An output held too many receive buffers, or no transmit slot was free.
    NoBuffer,
    /// The output's socket buffer was full.
    SocketFull,
    /// The kernel refused to send it.
    SendError,
    /// It is longer than a datagram to that output can be.
    Oversized,
    /// The output is down: its interface is missing or its socket cannot be opened.
    OutputDown,
    /// The worker panicked while it handled it.
    Panic,
    /// It was received, but not handled before the worker stopped, was restarted, or let go of the
    /// socket.
    Shutdown,
}

impl RelayDrop {
    /// Every reason, in order.
    pub const ALL: [Self; 15] = [
        Self::NoRule,
        Self::NotUdp,
        Self::Malformed,
        Self::Corrupt,
        Self::Fragment,
        Self::Tagged,
        Self::Source,
        Self::Looped,
        Self::NoBuffer,
        Self::SocketFull,
        Self::SendError,
        Self::Oversized,
        Self::OutputDown,
        Self::Panic,
        Self::Shutdown,
    ];

    /// The name used in logs, JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRule => "no_rule",
            Self::NotUdp => "not_udp",
            Self::Malformed => "malformed",
            Self::Corrupt => "corrupt",
            Self::Fragment => "fragment",
            Self::Tagged => "vlan_tagged",
            Self::Source => "source_not_listed",
            Self::Looped => "looped",
            Self::NoBuffer => "no_buffer",
            Self::SocketFull => "socket_full",
            Self::SendError => "send_error",
            Self::Oversized => "oversized",
            Self::OutputDown => "output_down",
            Self::Panic => "panic",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Packets, bytes and drops of one input, rule or output on one worker, which is the only writer.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct FlowCounters {
    packets: AtomicU64,
    bytes: AtomicU64,
    sends: AtomicU64,
    last_seen_s: AtomicU64,
    drops: [AtomicU64; RelayDrop::ALL.len()],
}

impl FlowCounters {
    /// Counts datagrams that went through, and their payload.
    pub fn passed(&self, packets: u64, bytes: u64) {
        add(&self.packets, packets);
        add(&self.bytes, bytes);
    }

    /// Counts one trip into the kernel, however many datagrams it carried.
    pub fn sent(&self) {
        add(&self.sends, 1);
    }

    /// Notes when something last went through, in seconds since the Unix epoch.
    pub fn seen(&self, now_s: u64) {
        self.last_seen_s.store(now_s, Ordering::Relaxed);
    }

    /// Counts datagrams that were dropped.
    pub fn dropped(&self, reason: RelayDrop, packets: u64) {
        add(&self.drops[reason as usize], packets);
    }

    /// The figures as they are now.
    pub fn snapshot(&self) -> FlowSnapshot {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        FlowSnapshot {
            packets: read(&self.packets),
            bytes: read(&self.bytes),
            sends: read(&self.sends),
            last_seen_s: read(&self.last_seen_s),
            drops: self.drops.each_ref().map(read),
        }
    }
}

fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// Figures of one moment, of one worker or of several added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowSnapshot {
    /// Datagrams that went through.
    pub packets: u64,
    /// Their payload in bytes.
    pub bytes: u64,
    /// Trips into the kernel that carried them.
    pub sends: u64,
    /// When one last went through, in seconds since the Unix epoch; 0 for never.
    pub last_seen_s: u64,
    drops: [u64; RelayDrop::ALL.len()],
}

impl FlowSnapshot {
    /// The sum of two workers' figures.
    pub fn plus(mut self, other: Self) -> Self {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.sends += other.sends;
        self.last_seen_s = self.last_seen_s.max(other.last_seen_s);
        self.drops.iter_mut().zip(other.drops).for_each(|(sum, part)| *sum += part);
        self
    }

    /// These figures with so many more dropped.
    pub fn with_dropped(mut self, reason: RelayDrop, packets: u64) -> Self {
        self.drops[reason as usize] += packets;
        self
    }

    /// How many datagrams were dropped for one reason.
    pub fn dropped(&self, reason: RelayDrop) -> u64 {
        self.drops[reason as usize]
    }

    /// How many datagrams were dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().sum()
    }
}
