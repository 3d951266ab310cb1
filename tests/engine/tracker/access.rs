//! The access list on announces and scrapes.

use std::fs;
use std::path::PathBuf;

use ringtide::server::config::{AccessConfig, AccessMode};
use ringtide::telemetry::Counter;
use ringtide::wire::bep15::response::ScrapeEntry;
use tempfile::TempDir;

use crate::common::{Ask, Running, file, hash};

const REFUSAL: &str = "this tracker does not serve this torrent";

/// A tracker with an access list, which the test can write again.
struct Guarded {
    running: Running,
    list: PathBuf,
    _directory: TempDir,
}

impl Guarded {
    fn start(mode: AccessMode, text: &str) -> Self {
        let (directory, path) = file("list", text);
        let list = PathBuf::from(path);
        let access = AccessConfig { mode, file: list.clone() };
        let running =
            Running::start(|settings| settings.tracker.as_mut().unwrap().access = Some(access));
        Self { running, list, _directory: directory }
    }

    fn reload(&self, text: &str) -> Result<usize, String> {
        fs::write(&self.list, text).unwrap();
        let reloaded = self.running.serving().reload(&self.running.settings);
        reloaded.map_err(|error| error.to_string())
    }
}

#[test]
fn only_allowed_torrents_are_served() {
    // The second as the hash of a v2 torrent, of which the wire has the first 20 bytes.
    let rest = "f".repeat(24);
    let text = format!("# served\n{}\r\n\n{}{rest} # v2\n", hash(1), hash(2));
    let guarded = Guarded::start(AccessMode::Allow, &text);
    let client = guarded.running.client();
    for number in [1, 2] {
        assert_eq!(client.announce(&Ask::leecher(hash(number), 1001)).counts(), (0, 1));
    }
    assert_eq!(client.announce_refused(&Ask::leecher(hash(3), 1001)), REFUSAL);
    let served = ScrapeEntry { seeders: 0, completed: 0, leechers: 1 };
    assert_eq!(client.scrape(&[hash(3), hash(2)]), [ScrapeEntry::default(), served]);
    assert_eq!(guarded.running.holdings(), (2, 2));
    let total = guarded.running.stop();
    assert_eq!(total.get(Counter::AnnouncesDenied), 1);
    assert_eq!(total.get(Counter::ErrorResponses), 1);
}

#[test]
fn denied_torrents_are_not_served_even_where_peers_are_stored() {
    let guarded = Guarded::start(AccessMode::Deny, "# nothing is denied yet\n");
    let client = guarded.running.client();
    for number in [1, 2] {
        client.announce(&Ask::leecher(hash(number), 1001));
    }
    assert_eq!(guarded.reload(&format!("{}\n", hash(1))), Ok(1));
    let served = ScrapeEntry { seeders: 0, completed: 0, leechers: 1 };
    assert_eq!(client.scrape(&[hash(1), hash(2)]), [ScrapeEntry::default(), served]);
    assert_eq!(client.announce_refused(&Ask::leecher(hash(1), 1001)), REFUSAL);
    assert_eq!(client.announce(&Ask::leecher(hash(2), 1002)).ports(), [1001]);
    assert_eq!(guarded.reload(""), Ok(0));
    assert_eq!(client.scrape_one(hash(1)), (0, 0, 1));
    guarded.running.stop();
}

#[test]
fn a_bad_list_leaves_the_old_one_in_force() {
    let guarded = Guarded::start(AccessMode::Allow, &format!("{}\n", hash(1)));
    let client = guarded.running.client();
    let error = guarded.reload(&format!("{}\nno hash\n", hash(2))).unwrap_err();
    let place = format!("{}: line 2: ", guarded.list.display());
    assert!(error.contains(&place) && error.contains("40 hex digits"), "{error}");
    assert_eq!(client.announce(&Ask::leecher(hash(1), 1001)).counts(), (0, 1));
    assert_eq!(client.announce_refused(&Ask::leecher(hash(2), 1001)), REFUSAL);
    fs::remove_file(&guarded.list).unwrap();
    assert!(guarded.running.serving().reload(&guarded.running.settings).is_err());
    assert_eq!(client.scrape_one(hash(1)), (0, 0, 1));
}

#[test]
fn a_wrong_id_is_dropped_before_the_list_is_asked() {
    let guarded = Guarded::start(AccessMode::Allow, "");
    let client = guarded.running.client();
    client.use_id(ringtide::wire::bep15::ConnectionId(1));
    client.send(&client.announce_request(&Ask::leecher(hash(1), 1001)));
    client.connect();
    assert_eq!(guarded.running.stop().get(Counter::AnnouncesDenied), 0);
}
