//! Durations and sizes as operators write them: a number never goes without its unit.

use std::time::Duration;

/// Why a text is no duration or no size. The message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A bare number as a duration.
    #[error("a duration needs its unit, as in \"{0}s\" or \"{0}m\" ({DURATION_UNITS})")]
    DurationWithoutUnit(String),
    /// A duration that does not parse.
    #[error("not a duration: write it like \"30s\", \"2m\" or \"1h30m\" ({DURATION_UNITS})")]
    NotADuration,
    /// A bare number as a size.
    #[error("a size needs its unit, as in \"{0}KiB\" or \"{0}MiB\" ({SIZE_UNITS})")]
    SizeWithoutUnit(String),
    /// A size in a unit that is not accepted.
    #[error("unknown unit of size \"{0}\" ({SIZE_UNITS})")]
    UnknownSizeUnit(String),
    /// A size that does not parse.
    #[error("not a size: write it like \"1500B\", \"64KiB\" or \"4MiB\" ({SIZE_UNITS})")]
    NotASize,
    /// More than the type behind it holds.
    #[error("too large to represent")]
    TooLarge,
}

/// Reads a duration such as `30s`, `2m` or `1h30m`. Zero is `0s`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let text = text.trim();
    if is_number(text) {
        return Err(UnitError::DurationWithoutUnit(text.to_owned()));
    }
    humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::NumberOverflow => UnitError::TooLarge,
        _ => UnitError::NotADuration,
    })
}

/// Writes a duration in the spelling that [`parse_duration`] reads: `1h30m`.
pub fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}

/// Reads a size such as `4MiB` or `1500B` into bytes. The units are powers of 1,024, the ones
/// that buffers come in.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    if is_number(text) {
        return Err(UnitError::SizeWithoutUnit(text.to_owned()));
    }
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    if digits.is_empty() {
        return Err(UnitError::NotASize);
    }
    let unit = unit.trim_start();
    let Some((_, factor)) = SIZE_FACTORS.iter().find(|(name, _)| *name == unit) else {
        let is_word = unit.chars().all(|c| c.is_ascii_alphabetic());
        return Err(match is_word {
            true => UnitError::UnknownSizeUnit(unit.to_owned()),
            false => UnitError::NotASize,
        });
    };
    // Only digits are left, so that the one thing that can go wrong is their number.
    let number: u64 = digits.parse().map_err(|_| UnitError::TooLarge)?;
    number.checked_mul(*factor).ok_or(UnitError::TooLarge)
}

/// Writes a size in bytes in the largest unit that divides it, as [`parse_size`] reads it.
pub fn format_size(bytes: u64) -> String {
    let fits = |factor: u64| bytes >= factor && bytes.is_multiple_of(factor);
    let (unit, factor) =
        SIZE_FACTORS.iter().rev().find(|(_, factor)| fits(*factor)).unwrap_or(&SIZE_FACTORS[0]);
    format!("{}{unit}", bytes / factor)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

const DURATION_UNITS: &str = "units: ms, s, m, h, d";
const SIZE_UNITS: &str = "units: B, KiB, MiB, GiB";
const SIZE_FACTORS: [(&str, u64); 4] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// A number with thousands separators: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_written() {
        for (text, seconds) in
            [("30s", 30), ("2m", 120), ("1h30m", 5400), ("1h 30m", 5400), ("0s", 0), ("1.5h", 5400)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn a_bare_number_is_told_the_units() {
        let error = parse_duration("45").unwrap_err();
        assert_eq!(error, UnitError::DurationWithoutUnit("45".to_owned()));
        assert!(error.to_string().contains("\"45s\""), "{error}");
        assert!(error.to_string().contains("ms, s, m, h, d"), "{error}");
        assert!(parse_duration("0").is_err());

        let error = parse_size("1500").unwrap_err();
        assert_eq!(error, UnitError::SizeWithoutUnit("1500".to_owned()));
        assert!(error.to_string().contains("B, KiB, MiB, GiB"), "{error}");
    }

    #[test]
    fn nonsense_is_no_duration() {
        for text in ["", " ", "s", "10 parsecs", "-5s", "1h-", "ten"] {
            assert_eq!(parse_duration(text), Err(UnitError::NotADuration), "{text:?}");
        }
        assert_eq!(parse_duration("99999999999999999999h"), Err(UnitError::TooLarge));
    }

    #[test]
    fn sizes_read_as_written() {
        for (text, bytes) in [
            ("0B", 0),
            ("1500B", 1500),
            ("64KiB", 65_536),
            ("4MiB", 4_194_304),
            ("4 MiB", 4_194_304),
            ("2GiB", 2_147_483_648),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn nonsense_is_no_size() {
        for text in ["", "MiB", "-4MiB", "1.5MiB", "4Mi!", "4 M B"] {
            assert_eq!(parse_size(text), Err(UnitError::NotASize), "{text:?}");
        }
        for unit in ["MB", "mib", "k"] {
            let error = parse_size(&format!("4{unit}")).unwrap_err();
            assert_eq!(error, UnitError::UnknownSizeUnit(unit.to_owned()));
        }
        assert_eq!(parse_size("99999999999999999999B"), Err(UnitError::TooLarge));
        assert_eq!(parse_size("18446744073709551615KiB"), Err(UnitError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC*") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }

        #[test]
        fn nearly_right_text_is_answered(
            text in "[0-9]{0,22} ?[a-zA-Zµ.]{0,4}[0-9]{0,3}[smhdKMGiB]?",
        ) {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }

        #[test]
        fn durations_survive_a_round_trip(milliseconds in 0..=1_000_000_000_000_u64) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn sizes_survive_a_round_trip(number in 0..=1_u64 << 33, shift in 0..=30_u32) {
            let bytes = number << shift;
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"), (12_345, "12,345")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
