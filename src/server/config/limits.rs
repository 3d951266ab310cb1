//! The ranges of keys that more than one place needs: an entry of the table, a flag, the broker.

use crate::tracker::core::TrackerSettings;
use crate::values::limit::{Bytes, Limit, Seconds};

/// The size of the kernel's `cpu_set_t`: core numbers stay below it.
const CORES_MAX: usize = 1024;

pub(crate) const WORKERS: Limit<usize> = Limit {
    min: 0,
    max: CORES_MAX,
    because: "each worker is a thread for one core, and the kernel's CPU masks hold 1024 cores",
};

pub(crate) const CORE: Limit<usize> =
    Limit { min: 0, max: CORES_MAX - 1, because: "the kernel's CPU masks hold 1024 cores" };

pub(crate) const REPORT_INTERVAL: Limit<Seconds> = Limit {
    min: Seconds(0),
    max: Seconds(86_400),
    because: "0s is never, and a line a day is rare enough",
};

pub(crate) const ANNOUNCE_INTERVAL: Limit<Seconds> = Limit {
    min: Seconds(10),
    max: Seconds(7200),
    because: "clients asked more often are a flood, and with the jitter it must stay within the \
              3h that a peer can be kept",
};

pub(crate) const PEER_TIMEOUT: Limit<Seconds> = Limit {
    min: Seconds(1),
    max: Seconds(TrackerSettings::PEER_TIMEOUT_S_MAX),
    because: "the age of a peer is kept in 14 bits of seconds",
};

pub(crate) const SOCKET_BUFFER: Limit<Bytes> = Limit {
    min: Bytes(4 << 10),
    max: Bytes(512 << 20),
    because: "less holds no burst, and the kernel keeps twice the value in 31 bits",
};

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: Limit<u16> = Limit { min: 0, max: 1000, because: "of this" };

    #[test]
    fn a_range_includes_both_ends() {
        assert_eq!(ANNOUNCE_INTERVAL.parse("10s"), Ok(Seconds(10)));
        assert_eq!(ANNOUNCE_INTERVAL.parse("2h"), Ok(Seconds(7200)));
        assert_eq!(COUNT.parse("1000"), Ok(1000));
        assert_eq!(SOCKET_BUFFER.parse("512MiB"), Ok(Bytes(512 << 20)));
    }

    #[test]
    fn a_value_outside_is_told_range_and_reason() {
        for text in ["9s", "121m", "200years", "99999999999999999999h"] {
            let error = ANNOUNCE_INTERVAL.parse(text).unwrap_err();
            assert!(error.starts_with("allowed is 10s to 2h, because "), "{text}: {error}");
        }
        for text in ["1001", "-1", "70000", "99999999999999999999"] {
            let error = COUNT.parse(text).unwrap_err();
            assert!(error.starts_with("allowed is 0 to 1000, because "), "{text}: {error}");
        }
    }

    #[test]
    fn a_value_of_another_kind_is_told_the_kind() {
        assert!(ANNOUNCE_INTERVAL.parse("10").unwrap_err().contains("needs its unit"));
        assert!(ANNOUNCE_INTERVAL.parse("10500ms").unwrap_err().contains("whole seconds"));
        let error = COUNT.parse("many").unwrap_err();
        assert_eq!(error, "must be a whole number; allowed is 0 to 1000");
        assert!(SOCKET_BUFFER.parse("8MB").unwrap_err().contains("MiB"));
    }
}
