//! The secret behind connection IDs: from a file, so that IDs outlive a restart and several
//! trackers share them, or random.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::values::info_hash::hex_digit;

/// A key that was read from a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyFile {
    /// The key.
    pub key: [u8; KEY_BYTES],
    /// Whether the file's mode lets users other than its owner read or write it, in which case
    /// the caller should warn: who knows the key can forge connection IDs.
    pub too_open: bool,
}

impl fmt::Debug for KeyFile {
    /// Leaves the key out: it must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("too_open", &self.too_open).finish_non_exhaustive()
    }
}

/// Reads a key of 16 bytes: 32 hex digits of either case, with white space around them ignored.
///
/// # Errors
///
/// [`KeyFileError`] names the file and says what is wrong, never what the file holds.
pub fn key_from_file(path: &Path) -> Result<KeyFile, KeyFileError> {
    let file = File::open(path).map_err(|source| KeyFileError::unreadable(path, source))?;
    key_from_open_file(file, path)
}

/// As [`key_from_file`], of a file that is open already; `path` is for messages.
///
/// # Errors
///
/// [`KeyFileError`], likewise.
pub fn key_from_open_file(file: File, path: &Path) -> Result<KeyFile, KeyFileError> {
    let error = |problem| KeyFileError { file: path.to_owned(), problem };
    let (content, mode) =
        read_bounded(file).map_err(|source| KeyFileError::unreadable(path, source))?;
    if content.len() > KEY_FILE_BYTES_MAX {
        return Err(error(KeyFileProblem::TooLong));
    }
    let key = parse_key(&content).map_err(error)?;
    Ok(KeyFile { key, too_open: mode & MODE_OF_OTHERS != 0 })
}

/// What a file with this key holds: the digits and a line end.
pub fn key_text(key: &[u8; KEY_BYTES]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).chain(["\n".to_owned()]).collect()
}

/// Draws a key from the kernel's random source.
///
/// # Errors
///
/// [`RandomKeyError`] on systems that have no such source.
pub fn random_key() -> Result<[u8; KEY_BYTES], RandomKeyError> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(RandomKeyError)?;
    Ok(key)
}

/// The content, up to one byte more than is allowed, and the mode of the file that it is from.
fn read_bounded(file: File) -> io::Result<(Vec<u8>, u32)> {
    let mode = file.metadata()?.permissions().mode();
    let mut content = Vec::new();
    file.take(KEY_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut content)?;
    Ok((content, mode))
}

fn parse_key(content: &[u8]) -> Result<[u8; KEY_BYTES], KeyFileProblem> {
    let digits = content.trim_ascii();
    if digits.len() != 2 * KEY_BYTES {
        return Err(KeyFileProblem::Length(digits.len()));
    }
    let mut key = [0; KEY_BYTES];
    for (index, character) in digits.iter().enumerate() {
        let digit = hex_digit(char::from(*character)).ok_or(KeyFileProblem::Digit(index + 1))?;
        key[index / 2] = key[index / 2] << 4 | digit;
    }
    Ok(key)
}

/// Why a key file could not be used.
#[derive(Debug, thiserror::Error)]
#[error("connection key file {}: {problem}", file.display())]
pub struct KeyFileError {
    /// The file as it was named.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: KeyFileProblem,
}

impl KeyFileError {
    fn unreadable(path: &Path, source: io::Error) -> Self {
        Self { file: path.to_owned(), problem: KeyFileProblem::Read(source) }
    }
}

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileProblem {
    /// It does not exist, or this user must not read it.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// Longer than [`KEY_FILE_BYTES_MAX`].
    #[error("too long for a key: it must hold 32 hex digits")]
    TooLong,
    /// Not 32 characters; holds the number found.
    #[error(
        "must hold 32 hex digits, not {0} characters; `openssl rand -hex 16` writes such a key"
    )]
    Length(usize),
    /// The character at this position, counted from 1, is no hex digit.
    #[error("the character at position {0} is not a hex digit")]
    Digit(usize),
}

/// The system has no source of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot draw a random connection key: {0}; name a key file instead")]
pub struct RandomKeyError(getrandom::Error);

/// The length of a key: that of SipHash.
pub const KEY_BYTES: usize = 16;
/// Room for the digits, a line end and some white space.
pub const KEY_FILE_BYTES_MAX: usize = 128;
/// Read, write and execute for group and world.
const MODE_OF_OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const DIGITS: &str = "000102030405060708090a0B0c0D0eff";
    const KEY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff];

    fn load(content: impl AsRef<[u8]>, mode: u32) -> Result<KeyFile, KeyFileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tracker.key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        key_from_file(&path)
    }

    #[test]
    fn digits_with_and_without_line_end() {
        for end in ["", "\n", "\r\n", "  \n\n"] {
            assert_eq!(load(format!("{DIGITS}{end}"), 0o600).unwrap().key, KEY);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(key_text(&KEY), format!("{}\n", DIGITS.to_lowercase()));
        assert_eq!(load(key_text(&KEY), 0o600).unwrap().key, KEY);
    }

    #[test]
    fn open_modes_are_told() {
        for (mode, too_open) in [(0o400, false), (0o600, false), (0o640, true), (0o604, true)] {
            assert_eq!(load(DIGITS, mode).unwrap().too_open, too_open, "mode {mode:o}");
        }
    }

    #[test]
    fn errors_name_the_file_and_the_fault() {
        let message = |content: &[u8]| load(content, 0o600).unwrap_err().to_string();
        let short = message(b"0011\n");
        assert!(short.contains("tracker.key: must hold 32 hex digits, not 4 char"), "{short}");
        assert!(message(b"").contains("not 0 characters"));
        assert!(message(DIGITS.replace('B', "x").as_bytes()).contains("position 24 is not"));
        assert!(message(&[0xff; 32]).contains("position 1 is not"));
        assert!(message(&[b'0'; 129]).contains("too long"));
        let missing = key_from_file(Path::new("/nonexistent/key")).unwrap_err().to_string();
        assert!(missing.starts_with("connection key file /nonexistent/key: cannot be read: No"));
    }

    #[test]
    fn an_endless_file_is_not_read_to_its_end() {
        let error = key_from_file(Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(error.problem, KeyFileProblem::TooLong));
    }

    #[test]
    fn the_key_stays_out_of_logs() {
        let file = load(DIGITS, 0o600).unwrap();
        assert_eq!(format!("{file:?}"), "KeyFile { too_open: false, .. }");
    }

    #[test]
    fn random_keys_differ() {
        assert_ne!(random_key().unwrap(), random_key().unwrap());
    }
}
