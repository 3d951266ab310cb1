//! Numbers with a range, and the reason for the range. The configuration file and flags share
//! these.

use std::fmt;
use std::time::Duration;

use super::units::{self, UnitError};

/// The range of one setting and the reason for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit<T> {
    pub(crate) min: T,
    pub(crate) max: T,
    /// Completes the sentence "allowed is MIN to MAX, because …".
    pub(crate) because: &'static str,
}

impl<T: Quantity> Limit<T> {
    /// Reads a value and checks it against the range.
    pub(crate) fn parse(&self, text: &str) -> Result<T, String> {
        match T::from_text(text) {
            Ok(value) if (self.min..=self.max).contains(&value) => Ok(value),
            Ok(_) | Err(QuantityError::TooLarge) => {
                Err(format!("allowed is {self}, because {}", self.because))
            }
            Err(QuantityError::Malformed(reason)) => Err(format!("{reason}; allowed is {self}")),
        }
    }
}

/// The parser of a flag whose value has a range.
pub(crate) fn in_limit<T: Quantity>(limit: Limit<T>) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| limit.parse(text)
}

impl<T: Quantity> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min.to_text(), self.max.to_text())
    }
}

/// A kind of number that settings come in.
pub(crate) trait Quantity: Copy + PartialOrd {
    /// Whether a TOML file writes it in quotes, for the sake of its unit.
    const QUOTED: bool;
    /// What it is called in messages.
    const NAME: &'static str;

    fn from_text(text: &str) -> Result<Self, QuantityError>;
    fn to_text(self) -> String;
}

/// Why a text is no [`Quantity`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QuantityError {
    /// It is one, but beyond every range.
    TooLarge,
    /// It is none, for this reason.
    Malformed(String),
}

impl From<UnitError> for QuantityError {
    fn from(error: UnitError) -> Self {
        match error {
            UnitError::TooLarge => Self::TooLarge,
            other => Self::Malformed(other.to_string()),
        }
    }
}

/// Whole seconds, for what the tracker counts in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seconds(pub(crate) u32);

impl Quantity for Seconds {
    const QUOTED: bool = true;
    const NAME: &'static str = "a duration such as \"30s\"";

    fn from_text(text: &str) -> Result<Self, QuantityError> {
        let duration = units::parse_duration(text)?;
        if duration.subsec_nanos() != 0 {
            return Err(QuantityError::Malformed("must be whole seconds".to_owned()));
        }
        u32::try_from(duration.as_secs()).map(Self).map_err(|_| QuantityError::TooLarge)
    }

    fn to_text(self) -> String {
        units::format_duration(Duration::from_secs(self.0.into()))
    }
}

impl Quantity for Duration {
    const QUOTED: bool = true;
    const NAME: &'static str = "a duration such as \"30s\"";

    fn from_text(text: &str) -> Result<Self, QuantityError> {
        Ok(units::parse_duration(text)?)
    }

    fn to_text(self) -> String {
        units::format_duration(self)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) usize);

impl Quantity for Bytes {
    const QUOTED: bool = true;
    const NAME: &'static str = "a size such as \"4MiB\"";

    fn from_text(text: &str) -> Result<Self, QuantityError> {
        let bytes = units::parse_size(text)?;
        usize::try_from(bytes).map(Self).map_err(|_| QuantityError::TooLarge)
    }

    fn to_text(self) -> String {
        units::format_size(self.0 as u64)
    }
}

/// A number of buffers in a ring, which comes in powers of two; 0 leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RingEntries(pub(crate) u16);

impl Quantity for RingEntries {
    const QUOTED: bool = false;
    const NAME: &'static str = u16::NAME;

    fn from_text(text: &str) -> Result<Self, QuantityError> {
        match u16::from_text(text)? {
            entries @ (0 | 16..) if entries == 0 || entries.is_power_of_two() => Ok(Self(entries)),
            _ => {
                let reason = "must be 0 or a power of two from 16 on".to_owned();
                Err(QuantityError::Malformed(reason))
            }
        }
    }

    fn to_text(self) -> String {
        self.0.to_text()
    }
}

macro_rules! count_quantity {
    ($($integer:ty),+) => {$(
        impl Quantity for $integer {
            const QUOTED: bool = false;
            const NAME: &'static str = "a whole number";

            fn from_text(text: &str) -> Result<Self, QuantityError> {
                text.parse().map_err(|_| match text.parse::<i128>() {
                    Ok(_) => QuantityError::TooLarge,
                    Err(_) => QuantityError::Malformed("must be a whole number".to_owned()),
                })
            }

            fn to_text(self) -> String {
                self.to_string()
            }
        }
    )+};
}

count_quantity!(u8, u16, u32, u64, usize, i32);

pub(crate) const TTL: Limit<u8> = Limit {
    min: 1,
    max: 255,
    because: "the field has 8 bits, and with 0 a datagram would not leave this host",
};

pub(crate) const DSCP: Limit<u8> =
    Limit { min: 0, max: 63, because: "the field has 6 bits (RFC 2474)" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_come_in_powers_of_two() {
        const RING: Limit<RingEntries> =
            Limit { min: RingEntries(0), max: RingEntries(32_768), because: "of this" };
        for (text, entries) in [("0", 0), ("16", 16), ("4096", 4096), ("32768", 32_768)] {
            assert_eq!(RING.parse(text), Ok(RingEntries(entries)));
        }
        for text in ["1", "8", "15", "17", "3000", "32767", "32769"] {
            let error = RING.parse(text).unwrap_err();
            assert!(error.starts_with("must be 0 or a power of two from 16"), "{text}: {error}");
            assert!(error.ends_with("allowed is 0 to 32768"), "{text}: {error}");
        }
        assert!(RING.parse("65536").unwrap_err().contains("because"));
    }
}
