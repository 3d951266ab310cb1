//! The 20 bytes that name a torrent (BEP 3), or the first 20 of a v2 torrent's 32 (BEP 52).

use std::fmt;
use std::str::FromStr;

/// The name of a torrent on the wire.
///
/// As text it is 40 hex digits. [`FromStr`] takes upper and lower case, and also the 64 digits
/// of a v2 hash, of which a tracker only ever sees the first 20 bytes (BEP 52).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct InfoHash(pub [u8; INFO_HASH_BYTES]);

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoHash({self})")
    }
}

impl FromStr for InfoHash {
    type Err = InfoHashError;

    fn from_str(text: &str) -> Result<Self, InfoHashError> {
        let length = text.chars().count();
        if length != DIGITS_V1 && length != DIGITS_V2 {
            return Err(InfoHashError::Length(length));
        }
        let mut hash = [0; INFO_HASH_BYTES];
        for (index, character) in text.chars().enumerate() {
            let digit = hex_digit(character)
                .ok_or(InfoHashError::Digit { position: index + 1, character })?;
            // The digits of a v2 hash past the first 40 are checked and left out.
            if let Some(byte) = hash.get_mut(index / 2) {
                *byte = *byte << 4 | digit;
            }
        }
        Ok(Self(hash))
    }
}

/// Why a text is not an info hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InfoHashError {
    /// Neither of the two lengths; holds the number of characters found.
    #[error("an info hash has 40 hex digits (64 for v2), not {0} characters")]
    Length(usize),
    /// A character that is no hex digit.
    #[error("{character:?} at position {position} is not a hex digit")]
    Digit {
        /// Which character, counted from 1.
        position: usize,
        /// The character itself.
        character: char,
    },
}

/// The value of one hex digit, 0 to 15.
pub(crate) fn hex_digit(character: char) -> Option<u8> {
    character.to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// One info hash.
pub const INFO_HASH_BYTES: usize = 20;
const DIGITS_V1: usize = 2 * INFO_HASH_BYTES;
/// A v2 info hash is a SHA-256.
const DIGITS_V2: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "000102030405060708090a0b0c0d0e0ffffefdfc";
    const HASH: InfoHash =
        InfoHash([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xff, 0xfe, 0xfd, 0xfc]);

    #[test]
    fn forty_digits_in_either_case() {
        assert_eq!(TEXT.parse(), Ok(HASH));
        assert_eq!(TEXT.to_uppercase().parse(), Ok(HASH));
        assert_eq!(HASH.to_string(), TEXT);
        assert_eq!(format!("{HASH:?}"), format!("InfoHash({TEXT})"));
    }

    #[test]
    fn sixty_four_digits_are_truncated() {
        assert_eq!(format!("{TEXT}00112233445566778899AAbb").parse(), Ok(HASH));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let error = |text: &str| text.parse::<InfoHash>().unwrap_err();
        assert_eq!(error(""), InfoHashError::Length(0));
        assert_eq!(error(&TEXT[1..]), InfoHashError::Length(39));
        assert_eq!(error(&"0".repeat(63)), InfoHashError::Length(63));
        let wrong = TEXT.replacen("0a", "0g", 1);
        assert_eq!(error(&wrong), InfoHashError::Digit { position: 22, character: 'g' });
        assert_eq!(error(&wrong).to_string(), "'g' at position 22 is not a hex digit");
        // A character of several bytes counts as one; a sign is no digit.
        assert!(matches!(error(&"é".repeat(40)), InfoHashError::Digit { position: 1, .. }));
        assert!(matches!(error(&"+1".repeat(20)), InfoHashError::Digit { position: 1, .. }));
        // The part of a v2 hash that is left out is still checked.
        let tail = format!("{TEXT}00112233445566778899aabZ");
        assert_eq!(error(&tail), InfoHashError::Digit { position: 64, character: 'Z' });
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 20]) {
            let hash = InfoHash(bytes);
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,70}|[0-9a-fA-Fé]{40}|[0-9a-g]{64}") {
            let hex = text.chars().all(|c| c.is_ascii_hexdigit());
            let length = text.chars().count();
            let valid = hex && (length == 40 || length == 64);
            prop_assert_eq!(text.parse::<InfoHash>().is_ok(), valid);
        }
    }
}
