//! The ranges of keys that more than one place needs: an entry of the table, a flag, the broker.

use std::time::Duration;

use crate::tracker::core::{RateLimit, SourceLimitSettings, TrackerSettings};
use crate::values::limit::{Bytes, Limit, RingEntries, Seconds};

/// The size of the kernel's `cpu_set_t`: core numbers stay below it.
const CORES_MAX: usize = 1024;

pub(crate) const WORKERS: Limit<usize> = Limit {
    min: 0,
    max: CORES_MAX,
    because: "each worker is a thread for one core, and the kernel's CPU masks hold 1024 cores",
};

pub(crate) const CORE: Limit<usize> =
    Limit { min: 0, max: CORES_MAX - 1, because: "the kernel's CPU masks hold 1024 cores" };

pub(crate) const REPORT_INTERVAL: Limit<Seconds> =
    Limit { min: Seconds(0), max: Seconds(86_400), because: "0s is off and a day is rare enough" };

pub(crate) const SAVE_INTERVAL: Limit<Seconds> = Limit {
    min: Seconds(0),
    max: Seconds(86_400),
    because: "0s is only in the end, and no peer is kept for a day",
};

pub(crate) const EXPORT_INTERVAL: Limit<Seconds> =
    Limit { min: Seconds(1), max: Seconds(86_400), because: "without `file` there is none at all" };

pub(crate) const TORRENT_SIZES_INTERVAL: Limit<Seconds> = Limit {
    min: Seconds(0),
    max: Seconds(86_400),
    because: "0s is never, and what is a day old tells nothing",
};

pub(crate) const SHUTDOWN_TIMEOUT: Limit<Duration> = Limit {
    min: Duration::ZERO,
    max: Duration::from_secs(60),
    because: "service managers kill what takes longer to stop",
};

pub(crate) const ANNOUNCE_INTERVAL: Limit<Seconds> = Limit {
    min: Seconds(10),
    max: Seconds(7200),
    because: "clients asked more often are a flood, and with the jitter it must stay within the \
              3h that a peer can be kept",
};

pub(crate) const ANNOUNCE_JITTER: Limit<Seconds> = Limit {
    min: Seconds(0),
    max: Seconds(3600),
    because: "with the announce interval it must stay within the 3h that a peer can be kept",
};

pub(crate) const PEER_TIMEOUT: Limit<Seconds> = Limit {
    min: Seconds(1),
    max: Seconds(TrackerSettings::PEER_TIMEOUT_S_MAX),
    because: "the age of a peer is kept in 14 bits of seconds",
};

pub(crate) const CONNECTION_LIFETIME: Limit<Seconds> = Limit {
    min: Seconds(1),
    max: Seconds(3600),
    because: "a connection ID that lives longer protects little against forged sources",
};

pub(crate) const NUMWANT: Limit<u16> =
    Limit { min: 0, max: 1000, because: "no reply of one datagram comes near that many peers" };

pub(crate) const SCRAPE_HASHES_MAX: Limit<u16> = Limit {
    min: 1,
    max: TrackerSettings::SCRAPE_HASHES_MAX,
    because: "the reply must fit one unfragmented datagram",
};

pub(crate) const MEMORY_LIMIT: Limit<Bytes> = Limit {
    min: Bytes(16 << 20),
    max: Bytes(1 << 44),
    because: "with less the storage cannot be divided, and no machine has more",
};

pub(crate) const TORRENTS_MAX: Limit<u64> = Limit {
    min: 1,
    max: 1_000_000_000,
    because: "a cap beyond that protects nothing: their info hashes alone take 20 GB",
};

pub(crate) const PEERS_MAX: Limit<u64> = Limit {
    min: 1,
    max: 4_000_000_000,
    because: "a cap beyond that protects nothing: at 8 bytes each they take 32 GB",
};

pub(crate) const PEERS_PER_TORRENT_MAX: Limit<u32> = Limit {
    min: 1,
    max: 100_000_000,
    because: "a cap beyond that protects nothing: no swarm is that large",
};

pub(crate) const PER_SOURCE: Limit<u32> = Limit {
    min: 0,
    max: RateLimit::PER_S_MAX,
    because: "0 is off, and a source that may ask more often is as good as not limited",
};

pub(crate) const PER_SOURCE_BURST: Limit<u32> = Limit {
    min: 1,
    max: RateLimit::BURST_MAX,
    because: "none at once is none at all, and accounts are kept for days at most",
};

pub(crate) const SOURCE_LIMIT_TABLE: Limit<u32> = Limit {
    min: 1024,
    max: SourceLimitSettings::TABLE_SOURCES_MAX,
    because: "fewer hold no swarm, and that many take 128 MiB for each limit",
};

pub(crate) const SOCKET_BUFFER: Limit<Bytes> = Limit {
    min: Bytes(4 << 10),
    max: Bytes(512 << 20),
    because: "less holds no burst, and the kernel keeps twice the value in 31 bits",
};

pub(crate) const FRAME_BUFFERS: Limit<RingEntries> = Limit {
    min: RingEntries(0),
    max: RingEntries(32_768),
    because: "the kernel's ring of buffers holds 32768 entries",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_includes_both_ends() {
        assert_eq!(ANNOUNCE_INTERVAL.parse("10s"), Ok(Seconds(10)));
        assert_eq!(ANNOUNCE_INTERVAL.parse("2h"), Ok(Seconds(7200)));
        assert_eq!(NUMWANT.parse("1000"), Ok(1000));
        assert_eq!(SOCKET_BUFFER.parse("512MiB"), Ok(Bytes(512 << 20)));
    }

    #[test]
    fn a_value_outside_is_told_range_and_reason() {
        for text in ["9s", "121m", "200years", "99999999999999999999h"] {
            let error = ANNOUNCE_INTERVAL.parse(text).unwrap_err();
            assert!(error.starts_with("allowed is 10s to 2h, because "), "{text}: {error}");
        }
        for text in ["1001", "-1", "70000", "99999999999999999999"] {
            let error = NUMWANT.parse(text).unwrap_err();
            assert!(error.starts_with("allowed is 0 to 1000, because "), "{text}: {error}");
        }
    }

    #[test]
    fn a_value_of_another_kind_is_told_the_kind() {
        assert!(ANNOUNCE_INTERVAL.parse("10").unwrap_err().contains("needs its unit"));
        assert!(ANNOUNCE_INTERVAL.parse("10500ms").unwrap_err().contains("whole seconds"));
        let error = NUMWANT.parse("many").unwrap_err();
        assert_eq!(error, "must be a whole number; allowed is 0 to 1000");
        assert!(SOCKET_BUFFER.parse("8MB").unwrap_err().contains("MiB"));
    }

    #[test]
    fn rings_come_in_powers_of_two() {
        for (text, entries) in [("0", 0), ("16", 16), ("4096", 4096), ("32768", 32_768)] {
            assert_eq!(FRAME_BUFFERS.parse(text), Ok(RingEntries(entries)));
        }
        for text in ["1", "8", "15", "17", "3000", "32767", "32769"] {
            let error = FRAME_BUFFERS.parse(text).unwrap_err();
            assert!(error.starts_with("must be 0 or a power of two from 16"), "{text}: {error}");
            assert!(error.ends_with("allowed is 0 to 32768"), "{text}: {error}");
        }
        assert!(FRAME_BUFFERS.parse("65536").unwrap_err().contains("because"));
    }

    #[test]
    fn interval_and_jitter_together_stay_within_the_longest_peer_timeout() {
        let longest = ANNOUNCE_INTERVAL.max.0 + ANNOUNCE_JITTER.max.0;
        assert!(longest <= PEER_TIMEOUT.max.0);
    }
}
