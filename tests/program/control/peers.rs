//! Which programs peers run, and how many peers torrents have.

use crate::common::asking::Controlled;
use crate::common::{Ask, Client, eventually, hash};

#[test]
fn programs_and_sizes_are_counted_where_that_is_wanted() {
    let process = Controlled::start("client_statistics = true\ntorrent_sizes_interval = \"1s\"\n");
    let client = Client::new(process.binary.serving());
    let id = |text: &str| *text.as_bytes().first_chunk().unwrap();
    for (torrent, port, peer_id) in [
        (1, 1, id("-qB4650-abcdefghijkl")),
        // The same peer again is no new one.
        (1, 1, id("-qB4650-abcdefghijkl")),
        (1, 2, id("-qB4520-abcdefghijkl")),
        (1, 3, id("M7-9-0--abcdefghijkl")),
        (2, 1, [0; 20]),
    ] {
        client.announce(&Ask { peer_id, ..Ask::leecher(hash(torrent), port) });
    }
    let stats = eventually("the sizes of both torrents", || {
        let stats = process.ctl_json("stats");
        (stats["tracker"]["torrent_sizes"]["ipv4"]["sum"] == 4).then_some(stats)
    });
    let clients = &stats["tracker"]["clients"];
    let programs = serde_json::json!({ "qBittorrent": 2, "BitTorrent": 1, "other": 1 });
    assert_eq!(clients["programs"], programs);
    let prefixes = serde_json::json!({ "-qB4650-": 1, "-qB4520-": 1, "M7-9-0--": 1 });
    assert_eq!(clients["prefixes"], prefixes);
    let buckets = stats["tracker"]["torrent_sizes"]["ipv4"]["buckets"].as_array().unwrap();
    assert_eq!(buckets[..4], [1, 0, 1, 0]);
    let (_, metrics) = process.get("/metrics");
    for line in [
        "ringtide_new_peers_total{client=\"qBittorrent\"} 2",
        "ringtide_torrent_peers_bucket{le=\"1.0\",family=\"ipv4\"} 1",
        "ringtide_torrent_peers_bucket{le=\"4.0\",family=\"ipv4\"} 2",
        "ringtide_torrent_peers_sum{family=\"ipv4\"} 4.0",
        "ringtide_torrent_peers_count{family=\"ipv6\"} 0",
    ] {
        assert!(metrics.lines().any(|present| present == line), "{line}: {metrics}");
    }
    let text = process.ctl_text("stats");
    for part in ["qBittorrent", "50.0", "torrents by peers", "3 to 4"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Counting ends with a reload.
    let file = process.read("r.toml").replace("client_statistics = true\n", "");
    std::fs::write(process.path("r.toml"), file).unwrap();
    process.ctl_text("config reload");
    assert_eq!(process.ctl_json("stats")["tracker"]["clients"], serde_json::Value::Null);
}

#[test]
fn neither_is_counted_unless_told() {
    let process = Controlled::start("");
    let client = Client::new(process.binary.serving());
    client.announce(&Ask::leecher(hash(1), 1));
    let stats = process.ctl_json("stats");
    assert_eq!(stats["tracker"]["clients"], serde_json::Value::Null);
    assert_eq!(stats["tracker"]["torrent_sizes"], serde_json::Value::Null);
    let (_, metrics) = process.get("/metrics");
    assert!(!metrics.contains("ringtide_new_peers") && !metrics.contains("torrent_peers"));
}
