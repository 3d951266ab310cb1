//! Saved swarms. Input: a byte of choices (bit 0 puts right checksums in place, bit 1 sets small
//! caps), then the file.

use std::time::Duration;

use ringtide::io::Now;
use ringtide::server::persist::swarm_file::{SwarmWriter, header};
use ringtide::server::persist::swarms::read;
use ringtide::tracker::core::TrackerSettings;
use ringtide::tracker::store::{Ipv4, Ipv6, Secrets, Shards, Walk};

use super::input::bit;

/// What [`ringtide::server::persist::swarm_file`] documents.
const HEADER_BYTES: usize = 24;
const BLOCK_HEAD_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;
/// A little after the seeds were saved.
const NOW_S: u64 = 0x1_0203_0405 + 60;

pub fn run(data: &[u8]) {
    let Some((choices, file)) = data.split_first() else { return };
    let mut file = file.to_vec();
    if bit(*choices, 0) {
        seal(&mut file);
    }
    let mut settings = TrackerSettings::default();
    if bit(*choices, 1) {
        (settings.torrents_max, settings.peers_max, settings.peers_per_torrent_max) = (2, 4, 2);
    }
    let now = Now::from_unix(Duration::from_secs(NOW_S));
    let shards = shards(7);
    let result = read(&file[..], &shards, &settings, now);
    let stored = peers(&shards);
    let torrents: usize = shards.gauges().map(|gauges| gauges.torrents()).sum();
    assert!(torrents <= stored, "no torrent without a peer");
    // Each of two shards has half of a cap, rounded up, for each address family.
    assert!(stored as u64 <= settings.peers_max.div_ceil(2).saturating_mul(4));
    // Each has an entry of eight bytes at the least.
    assert!(stored <= file.len() / 8, "{stored} peers from {} bytes", file.len());
    let Ok(loaded) = result else { return };
    assert!(stored as u64 <= loaded.peers, "a peer that is there twice is stored once");

    let saved = save(&shards, now);
    let again = self::shards(8);
    let loaded = read(&saved[..], &again, &TrackerSettings::default(), now).expect("as saved");
    assert_eq!((loaded.peers, loaded.expired, loaded.refused), (stored as u64, 0, 0));
    assert_eq!(peers(&again), stored);
}

fn shards(seed: u8) -> Shards {
    Shards::new(2, &Secrets::from_seed(&[seed; Secrets::SEED_BYTES]))
}

fn peers(shards: &Shards) -> usize {
    shards.gauges().map(|gauges| gauges.peers()).sum()
}

/// A file of everything in `shards`.
fn save(shards: &Shards, now: Now) -> Vec<u8> {
    let mut writer = SwarmWriter::new(now);
    for shard in 0..shards.len() {
        let shard = shards.lock(shard);
        shard.ipv4.walk(&mut Walk::default(), usize::MAX, |piece| writer.push::<Ipv4>(piece));
        shard.ipv6.walk(&mut Walk::default(), usize::MAX, |piece| writer.push::<Ipv6>(piece));
    }
    writer.end();
    [&header(now)[..], writer.take()].concat()
}

/// Puts right every checksum that the lengths lead to.
fn seal(file: &mut [u8]) {
    let Some((head, mut rest)) = file.split_at_mut_checked(HEADER_BYTES) else { return };
    put_checksum(head);
    while let Some(length) = rest.first_chunk().map(|length| u32::from_be_bytes(*length)) {
        let whole = (length as usize).saturating_add(BLOCK_HEAD_BYTES + CHECKSUM_BYTES);
        let Some((block, behind)) = rest.split_at_mut_checked(whole) else { return };
        put_checksum(block);
        rest = behind;
    }
}

fn put_checksum(bytes: &mut [u8]) {
    let (content, checksum) = bytes.split_at_mut(bytes.len() - CHECKSUM_BYTES);
    checksum.copy_from_slice(&crc32fast::hash(content).to_be_bytes());
}
