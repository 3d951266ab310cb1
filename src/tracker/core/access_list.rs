//! Which torrents are served: all, only those on a list, or all but those on a list.
//!
//! The file has one info hash a line, as 40 hex digits or the 64 of a v2 hash. A `#` begins a
//! comment, on a line of its own or after a hash; blank lines, CRLF line ends and a byte order
//! mark are fine.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::values::InfoHash;
use crate::values::info_hash::InfoHashError;

/// What a list means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AccessMode {
    /// Nothing: every torrent is served.
    #[default]
    Off,
    /// Only the torrents on it are served.
    Allow,
    /// The torrents on it are not served.
    Deny,
}

impl AccessMode {
    /// The modes by the names that file and flags use.
    pub const NAMES: [(&str, Self); 3] =
        [("off", Self::Off), ("allow", Self::Allow), ("deny", Self::Deny)];

    /// The name that file and flags use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// A list of torrents and what it means; replaced as a whole when it is loaded again.
///
/// Sorted hashes and an index by their first two bytes: 20 bytes a hash and 256 KiB together,
/// where a hash table takes 24 to 48 bytes a hash. Info hashes are spread evenly, so that with a
/// million of them the index leaves some 15 to search, which lie together in a few cache lines.
/// A list made to be uneven costs a binary search over all of it, 20 steps, and no more.
#[derive(Clone, Debug, Default)]
pub struct AccessList {
    mode: AccessMode,
    hashes: Vec<InfoHash>,
    /// Where the hashes with each prefix begin, and the end of the last; empty for no hashes.
    starts: Vec<u32>,
}

impl AccessList {
    /// Reads a list from a file, of at most [`FILE_BYTES_MAX`] bytes.
    ///
    /// # Errors
    ///
    /// [`AccessListError`], which names the file, and for a bad line its number and the reason.
    pub fn load(path: &Path, mode: AccessMode) -> Result<Self, AccessListError> {
        let name = |mut error: AccessListError| {
            error.file = Some(path.to_owned());
            error
        };
        let text = read_bounded(path).map_err(|problem| name(problem.into()))?;
        Self::parse(&text, mode).map_err(name)
    }

    /// Reads a list from text; a hash that is there twice counts once.
    ///
    /// # Errors
    ///
    /// [`AccessListError`] for the first bad line; it names no file. Lines that are not UTF-8 are
    /// bad lines.
    pub fn parse(text: impl AsRef<[u8]>, mode: AccessMode) -> Result<Self, AccessListError> {
        let text = text.as_ref();
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let mut hashes = Vec::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let bad = |reason| AccessListProblem::Line { line: index + 1, reason };
            if let Some(hash) = parse_line(line).map_err(bad)? {
                hashes.push(hash);
            }
            if hashes.len() > HASHES_MAX {
                return Err(bad(LineProblem::TooMany).into());
            }
        }
        Ok(Self::of(mode, hashes))
    }

    fn of(mode: AccessMode, mut hashes: Vec<InfoHash>) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        hashes.shrink_to_fit();
        Self { mode, starts: index_by_prefix(&hashes), hashes }
    }

    /// This list with some torrents added and others taken off. One that is in both is added.
    ///
    /// # Errors
    ///
    /// [`LineProblem::TooMany`] when it would be longer than [`HASHES_MAX`].
    pub fn changed(&self, add: &[InfoHash], remove: &[InfoHash]) -> Result<Self, LineProblem> {
        let removed: HashSet<&InfoHash> = remove.iter().collect();
        let kept = self.hashes.iter().filter(|hash| !removed.contains(hash));
        let list = Self::of(self.mode, kept.chain(add).copied().collect());
        if list.hashes.len() > HASHES_MAX { Err(LineProblem::TooMany) } else { Ok(list) }
    }

    /// The torrents on it, in order.
    pub fn hashes(&self) -> &[InfoHash] {
        &self.hashes
    }

    /// Whether this torrent may be announced and scraped.
    #[inline]
    pub fn permits(&self, hash: &InfoHash) -> bool {
        match self.mode {
            AccessMode::Off => true,
            AccessMode::Allow => self.contains(hash),
            AccessMode::Deny => !self.contains(hash),
        }
    }

    /// What the list means.
    pub fn mode(&self) -> AccessMode {
        self.mode
    }

    /// How many different torrents are on it.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether no torrent is on it; with [`AccessMode::Allow`] nothing is served then.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether the torrent is on it.
    pub fn contains(&self, hash: &InfoHash) -> bool {
        let prefix = prefix(hash);
        let Some(&[start, end]) = self.starts.get(prefix..prefix + 2) else { return false };
        self.hashes[start as usize..end as usize].binary_search(hash).is_ok()
    }
}

/// The hash on one line without its line feed, if there is one.
pub(crate) fn parse_line(line: &[u8]) -> Result<Option<InfoHash>, LineProblem> {
    let line = str::from_utf8(line).map_err(|_| LineProblem::NotUtf8)?;
    let content = line.split_once('#').map_or(line, |(before, _)| before).trim();
    if content.is_empty() {
        return Ok(None);
    }
    content.parse().map(Some).map_err(LineProblem::Hash)
}

fn index_by_prefix(hashes: &[InfoHash]) -> Vec<u32> {
    if hashes.is_empty() {
        return Vec::new();
    }
    let mut starts = vec![0; PREFIXES + 1];
    for hash in hashes {
        starts[prefix(hash) + 1] += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    starts
}

fn prefix(hash: &InfoHash) -> usize {
    let [high, low, ..] = hash.0;
    usize::from(u16::from_be_bytes([high, low]))
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, AccessListProblem> {
    let mut text = Vec::new();
    let bytes = File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
        .map_err(AccessListProblem::Read)?;
    if bytes as u64 > FILE_BYTES_MAX {
        return Err(AccessListProblem::TooLong);
    }
    Ok(text)
}

/// Why a list could not be used; the one in force stays.
#[derive(Debug, thiserror::Error)]
#[error("access list{}: {problem}", in_file(.file.as_deref()))]
pub struct AccessListError {
    /// The file, when the list came from one.
    pub file: Option<PathBuf>,
    /// What is wrong.
    pub problem: AccessListProblem,
}

impl From<AccessListProblem> for AccessListError {
    fn from(problem: AccessListProblem) -> Self {
        Self { file: None, problem }
    }
}

fn in_file(file: Option<&Path>) -> String {
    file.map(|path| format!(" {}", path.display())).unwrap_or_default()
}

/// What is wrong with a list.
#[derive(Debug, thiserror::Error)]
pub enum AccessListProblem {
    /// The file does not exist, or this user must not read it.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// The file is longer than [`FILE_BYTES_MAX`].
    #[error("longer than 4 GiB")]
    TooLong,
    /// A line that is not as it should be.
    #[error("line {line}: {reason}")]
    Line {
        /// Which one, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: LineProblem,
    },
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// Not text.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// Something other than an info hash before the comment.
    #[error(transparent)]
    Hash(InfoHashError),
    /// One hash more than [`HASHES_MAX`].
    #[error("more than 50,000,000 info hashes")]
    TooMany,
}

/// The longest file that is read: room for [`HASHES_MAX`] hashes with short comments.
pub const FILE_BYTES_MAX: u64 = 4 << 30;
/// The most hashes in a list, repetitions included: 1 GB of memory.
pub const HASHES_MAX: usize = 50_000_000;
/// How many values the first two bytes of a hash can have.
const PREFIXES: usize = 1 << 16;
/// U+FEFF in UTF-8, which some editors put at the start of a file.
const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

#[cfg(test)]
mod tests;
