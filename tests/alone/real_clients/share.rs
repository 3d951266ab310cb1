//! The content that a scenario transfers, and its torrent.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::real_clients::host::{eventually, succeed};

/// Files of pseudo-random bytes in directories of their own, removed at the end.
pub(crate) struct Share {
    root: TempDir,
    pub(crate) info_hash: [u8; 20],
}

/// Whether a torrent forbids clients every source of peers but the tracker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Private,
    /// A magnet link needs this: nobody hands out a private torrent's metadata.
    Public,
}

impl Share {
    /// Directories, and no content yet.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { root, info_hash: [0; 20] }
    }

    /// Fills the seeder's directory with one file, [`CONTENT`], and writes its torrent.
    pub(crate) fn one_file(&mut self, tracker_url: &str, kind: Kind) {
        self.fill(CONTENT, CONTENT_BYTES);
        self.describe(CONTENT, tracker_url, kind);
    }

    /// Fills the seeder's directory with a directory of these files, and writes its torrent.
    pub(crate) fn directory_of(&mut self, files: &[&str], tracker_url: &str) {
        for name in files {
            self.fill(&format!("several/{name}"), CONTENT_BYTES / files.len());
        }
        self.describe("several", tracker_url, Kind::Private);
    }

    /// A directory of its own for every role.
    pub(crate) fn directory(&self, role: &str) -> PathBuf {
        let directory = self.root.path().join(role);
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    pub(crate) fn torrent(&self) -> PathBuf {
        self.root.path().join("content.torrent")
    }

    /// A magnet link that names the torrent and one tracker.
    pub(crate) fn magnet(&self, tracker_url: &str) -> String {
        let hash: String = self.info_hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let escape = |byte: u8| match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        let tracker: String = tracker_url.bytes().map(escape).collect();
        format!("magnet:?xt=urn:btih:{hash}&tr={tracker}")
    }

    /// Waits until a role has the seeder's bytes in a file; returns its digest and its length.
    pub(crate) fn wait_for_copy(&self, role: &str, file: &str) -> (String, u64) {
        let original = self.directory(SEEDER).join(file);
        let copy = self.directory(role).join(file);
        let length = fs::metadata(&original).unwrap().len();
        let digest = sha256(&original);
        // Most clients give the file its length before its bytes.
        eventually(&format!("the {role}'s copy of {file}"), || {
            let there = fs::metadata(&copy).is_ok_and(|metadata| metadata.len() == length);
            (there && sha256(&copy) == digest).then_some(())
        });
        (digest, length)
    }

    fn fill(&self, name: &str, length: usize) {
        let path = self.directory(SEEDER).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = vec![0; length];
        fastrand::fill(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    fn describe(&mut self, name: &str, tracker_url: &str, kind: Kind) {
        let content = self.directory(SEEDER).join(name);
        let (content, torrent) = (content.to_str().unwrap(), self.torrent());
        let mut arguments = vec![MAKE_TORRENT, "--content", content, "--tracker", tracker_url];
        arguments.extend(["--out", torrent.to_str().unwrap()]);
        if kind == Kind::Public {
            arguments.push("--public");
        }
        let printed = succeed("/usr/bin/python3", &arguments);
        let digits = printed.trim();
        assert_eq!(digits.len(), 40, "{digits}");
        for (index, byte) in self.info_hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).unwrap();
        }
    }
}

fn sha256(path: &Path) -> String {
    let printed = succeed("sha256sum", &["--", path.to_str().unwrap()]);
    printed.split_whitespace().next().unwrap().to_owned()
}

/// The role that has everything from the start.
pub(crate) const SEEDER: &str = "seeder";
pub(crate) const LEECHER: &str = "leecher";
/// The file of a torrent that has one.
pub(crate) const CONTENT: &str = "content.bin";
const CONTENT_BYTES: usize = 4 << 20;
const MAKE_TORRENT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/alone/real_clients/make_torrent.py");
