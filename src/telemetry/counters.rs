//! Per-worker counters and the reasons for which a packet is dropped.
//!
//! Each worker owns one [`Counters`] and is its only writer, so an increment is a plain load and
//! store of a relaxed atomic: no locked instruction on the packet path. Readers take a
//! [`Snapshot`] at any time; its figures may be a packet apart.

use std::sync::atomic::Ordering;

use super::bump::bump;
use super::clients::ClientCounters;
use super::loops::LoopStats;
use crate::sync::AtomicU64;

/// Declares an enum whose variants index a row of counters, with a stable name and a description
/// for each.
macro_rules! counted {
    ($(#[$meta:meta])* $enum:ident { $($variant:ident = $name:literal, $help:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $enum { $(#[doc = $help] $variant,)+ }

        impl $enum {
            /// Every variant, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name used in logs, JSON and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence that says what is counted.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }
        }
    };
}

counted! {
    /// What a worker counts, except drops.
    Counter {
        PacketsReceived = "packets_received", "Datagrams taken from sockets.";
        BytesReceived = "bytes_received", "Payload bytes of the datagrams taken from sockets.";
        PacketsSent = "packets_sent", "Datagrams that the kernel accepted for sending.";
        BytesSent = "bytes_sent", "Payload bytes of the datagrams accepted for sending.";
        FramesReceived = "frames_received", "Link-layer frames taken from packet sockets.";
        FramesLostToPanic = "frames_lost_to_panic",
            "Frames that the worker handled when it panicked.";
        FramesLostToShutdown = "frames_lost_to_shutdown",
            "Frames received, but not handled before the worker stopped or closed the socket.";
        Iterations = "iterations", "Iterations of the event loop.";
        ReceiveRearms = "receive_rearms",
            "Receives started: multishot ones of io_uring, or single batches of epoll.";
        ReceiveErrors = "receive_errors",
            "Receives that ended with an error; they start again at the next tick.";
        CompletionQueueOverflows = "completion_queue_overflows",
            "Times the kernel held completions back because the queue was full.";
        WorkerRestarts = "worker_restarts",
            "Times this worker was restarted, after a panic or because its loop broke.";
        ConnectsIpv4 = "connects_ipv4", "Connect requests over IPv4.";
        ConnectsIpv6 = "connects_ipv6", "Connect requests over IPv6.";
        AnnouncesIpv4 = "announces_ipv4", "Announces over IPv4 with a valid connection ID.";
        AnnouncesIpv6 = "announces_ipv6", "Announces over IPv6 with a valid connection ID.";
        ScrapesIpv4 = "scrapes_ipv4", "Scrapes over IPv4 with a valid connection ID.";
        ScrapesIpv6 = "scrapes_ipv6", "Scrapes over IPv6 with a valid connection ID.";
        ConnectResponses = "connect_responses", "Connect responses queued.";
        AnnounceResponses = "announce_responses", "Announce responses queued.";
        ScrapeResponses = "scrape_responses", "Scrape responses queued.";
        ErrorResponses = "error_responses", "Error responses queued.";
        RequestsAtOwner = "requests_at_owner",
            "Announces and single-hash scrapes that arrived at the worker that owns the torrent.";
        RequestsElsewhere = "requests_elsewhere",
            "Announces and single-hash scrapes that arrived at another worker.";
        Completed = "completed", "Downloads reported complete.";
        PeersExpired = "peers_expired", "Peers removed because they stopped announcing.";
        TorrentsEvicted = "torrents_evicted",
            "Torrents evicted for new ones, because the memory limit is reached.";
        PeersEvicted = "peers_evicted", "Peers of evicted torrents.";
        BadConnectionIdsAnswered = "bad_connection_ids_answered",
            "Wrong connection IDs answered with an error, if configured.";
        AnnouncesDenied = "announces_denied", "Announces refused by the access list.";
        UnstoredPortZero = "unstored_port_zero",
            "Announces answered without storing the peer: it announced port 0.";
        UnstoredTorrentCap = "unstored_torrent_cap",
            "Announces answered without storing the peer: the cap on torrents is reached.";
        UnstoredPeerCap = "unstored_peer_cap",
            "Announces answered without storing the peer: the cap on peers is reached.";
        UnstoredSwarmCap = "unstored_swarm_cap",
            "Announces answered without storing the peer: the torrent's own cap is reached.";
        SourcesForgotten = "sources_forgotten",
            "Sources whose use of a limit was forgotten to make room for another source.";
        UnstoredMemoryLimit = "unstored_memory_limit",
            "Announces answered without storing the peer: the memory limit is reached.";
    }
}

counted! {
    /// Why a received datagram got no reply. Every datagram ends as a reply or as one of these.
    DropReason {
        Truncated = "truncated", "Longer than a receive buffer.";
        TooShort = "too_short", "Shorter than its action requires.";
        BadMagic = "bad_magic", "A connect request without the protocol's magic number.";
        UnknownAction = "unknown_action", "An action that the protocol does not define.";
        BadConnectionId = "bad_connection_id",
            "A connection ID that is forged, expired, or was issued to another address.";
        ConnectsOverLimit = "connects_over_limit",
            "A connect request over its source's limit (connects_per_source).";
        AnnouncesOverLimit = "announces_over_limit",
            "An announce or scrape over its source's limit (announces_per_source).";
        ScrapeWithoutHash = "scrape_without_hash", "A scrape without an info hash.";
        BadSource = "bad_source", "A source that cannot be answered, such as port 0.";
        Draining = "draining", "A connect request while ringtide is about to stop.";
        SendSlotsFull = "send_slots_full", "All send slots of the worker were in flight.";
        SocketFull = "socket_full", "The socket's send buffer was full.";
        SendError = "send_error",
            "The kernel refused the send, for example because there is no route.";
        Panic = "panic", "The worker panicked while it handled the datagram.";
        Shutdown = "shutdown", "Received, but not handled before the worker stopped.";
    }
}

const COUNTERS: usize = Counter::ALL.len();
const REASONS: usize = DropReason::ALL.len();

/// One worker's counters, on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    counts: [AtomicU64; COUNTERS],
    drops: [AtomicU64; REASONS],
    loop_stats: LoopStats,
    clients: ClientCounters,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            drops: std::array::from_fn(|_| AtomicU64::new(0)),
            loop_stats: LoopStats::default(),
            clients: ClientCounters::default(),
        }
    }
}

impl Counters {
    /// Adds `amount` to a counter. Only the owning worker may call this.
    #[inline]
    pub fn add(&self, counter: Counter, amount: u64) {
        bump(&self.counts[counter as usize], amount);
    }

    /// Adds one to a counter. Only the owning worker may call this.
    #[inline]
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// The current value of one counter.
    #[inline]
    pub fn get(&self, counter: Counter) -> u64 {
        self.counts[counter as usize].load(Ordering::Relaxed)
    }

    /// Counts one dropped datagram. Only the owning worker may call this.
    #[inline]
    pub fn dropped(&self, reason: DropReason) {
        bump(&self.drops[reason as usize], 1);
    }

    /// Which programs new peers run; counted only if configured.
    pub fn clients(&self) -> &ClientCounters {
        &self.clients
    }

    /// Statistics of the loop's iterations.
    pub fn loop_stats(&self) -> &LoopStats {
        &self.loop_stats
    }

    /// The figures as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Snapshot {
            counts: self.counts.each_ref().map(read),
            drops: self.drops.each_ref().map(read),
        }
    }
}

/// Counters as they were at one moment, of one worker or of several added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    counts: [u64; COUNTERS],
    drops: [u64; REASONS],
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { counts: [0; COUNTERS], drops: [0; REASONS] }
    }
}

impl Snapshot {
    /// The sum over several workers.
    pub fn total<'a>(workers: impl IntoIterator<Item = &'a Counters>) -> Self {
        let mut total = Self::default();
        for worker in workers {
            let one = worker.snapshot();
            total.counts.iter_mut().zip(one.counts).for_each(|(sum, part)| *sum += part);
            total.drops.iter_mut().zip(one.drops).for_each(|(sum, part)| *sum += part);
        }
        total
    }

    /// One counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.counts[counter as usize]
    }

    /// How many datagrams were dropped for one reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// How many datagrams were dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// What happened since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        difference.counts.iter_mut().zip(earlier.counts).for_each(|(now, then)| *now -= then);
        difference.drops.iter_mut().zip(earlier.drops).for_each(|(now, then)| *now -= then);
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_add_up_and_subtract() {
        let workers = [Counters::default(), Counters::default()];
        workers[0].count(Counter::Completed);
        workers[1].add(Counter::Completed, 4);
        let earlier = Snapshot::total(&workers);
        workers[1].dropped(DropReason::BadMagic);
        let later = Snapshot::total(&workers);
        assert_eq!(earlier.get(Counter::Completed), 5);
        assert_eq!(later.since(&earlier).dropped_total(), 1);
        assert_eq!(later.since(&earlier).get(Counter::Completed), 0);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        names.extend(DropReason::ALL.iter().map(|reason| reason.name()));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
