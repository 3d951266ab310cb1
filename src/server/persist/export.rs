//! The list of all torrents for other programs: one line each, as comma-separated values.
//!
//! ```text
//! family,info_hash,seeders,leechers,completed
//! ipv4,000102030405060708090a0b0c0d0e0f10111213,12,3,7
//! ```
//!
//! A torrent with peers of both families has a line for each, as scrapes tell them apart, too.
//! Lines are in no order.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use tracing::{error, info};

use super::atomic_file::write_aside;
use super::slices::{self, Slices, WalkOptions};
use crate::telemetry::log::LogOnChange;
use crate::tracker::core::InfoHash;
use crate::tracker::store::{Ipv4, Ipv6, PeerFamily, ScrapeCounts, Shards, Torrents, Walk};

/// Writes the list to `path`, aside first. Returns how many lines it has.
///
/// # Errors
/// What the system says; `Interrupted` when the manner's `stop` was set. The file is then as it
/// was.
pub fn export(path: &Path, shards: &Shards, manner: WalkOptions<'_>) -> io::Result<u64> {
    write_aside(path, FILE_MODE, |file| write(file, shards, manner))
}

/// Writes the list that [`export`] puts in place.
pub fn write(to: &mut impl Write, shards: &Shards, manner: WalkOptions<'_>) -> io::Result<u64> {
    to.write_all(HEADER.as_bytes())?;
    let mut exporting = Exporting { gathered: Vec::new(), lines: 0, to };
    slices::over(shards, manner, &mut exporting)?;
    Ok(exporting.lines)
}

/// Writes the list, and says in the log how that went; what `told` knows is not said again.
pub fn export_and_log(
    path: &Path,
    shards: &Shards,
    manner: WalkOptions<'_>,
    told: &mut LogOnChange,
) {
    let began = Instant::now();
    match export(path, shards, manner) {
        Ok(torrents) => {
            told.is_over();
            info!(torrents, took = ?began.elapsed(), "exported torrents");
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) if !told.is_news(&error.to_string()) => {}
        Err(error) => error!("cannot export torrents to {}: {error}", path.display()),
    }
}

struct Exporting<'a, W> {
    /// Those of one slice: text is made of them without the lock.
    gathered: Vec<(&'static str, InfoHash, ScrapeCounts)>,
    lines: u64,
    to: &'a mut W,
}

impl<W> Exporting<'_, W> {
    fn slice<F: PeerFamily>(
        &mut self,
        family: &'static str,
        torrents: &Torrents<F>,
        walk: &mut Walk,
        budget: usize,
    ) -> bool {
        torrents.walk_counts(walk, budget, |info_hash, counts| {
            self.gathered.push((family, *info_hash, counts));
        })
    }
}

impl<W: Write> Slices for Exporting<'_, W> {
    fn ipv4(&mut self, torrents: &Torrents<Ipv4>, walk: &mut Walk, budget: usize) -> bool {
        self.slice("ipv4", torrents, walk, budget)
    }

    fn ipv6(&mut self, torrents: &Torrents<Ipv6>, walk: &mut Walk, budget: usize) -> bool {
        self.slice("ipv6", torrents, walk, budget)
    }

    fn write(&mut self) -> io::Result<()> {
        self.lines += self.gathered.len() as u64;
        for (family, info_hash, counts) in self.gathered.drain(..) {
            let ScrapeCounts { seeders, completed, leechers } = counts;
            writeln!(self.to, "{family},{info_hash},{seeders},{leechers},{completed}")?;
        }
        Ok(())
    }
}

const HEADER: &str = "family,info_hash,seeders,leechers,completed\n";
/// Nothing in it is secret: whoever asks the tracker is told the same.
const FILE_MODE: u32 = 0o644;

#[cfg(test)]
mod tests {
    use std::net::{SocketAddrV4, SocketAddrV6};
    use std::time::Duration;

    use super::*;
    use crate::io::Now;
    use crate::tracker::store::{Announce, Event, Limits, NoPeers, Secrets, Shard};

    const LIMITS: Limits = Limits::NONE;

    fn announce<F: PeerFamily>(peer: F::Endpoint, event: Event) -> Announce<'static, F> {
        const HASH: InfoHash =
            InfoHash([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        let now = Now::from_unix(Duration::from_secs(1_700_000_000));
        let seeder = event == Event::Completed;
        Announce { now, info_hash: &HASH, peer, seeder, event, numwant: 0 }
    }

    #[test]
    fn golden_lines() {
        let shards = Shards::new(3, &Secrets::from_seed(&[7; Secrets::SEED_BYTES]));
        {
            let mut shard = shards.lock(1);
            let Shard { ipv4, ipv6, rng, .. } = &mut *shard;
            for (port, event) in [(1, Event::Completed), (2, Event::None), (3, Event::None)] {
                let peer = SocketAddrV4::new([10, 0, 0, 1].into(), port);
                ipv4.announce(&announce::<Ipv4>(peer, event), &LIMITS, rng, &mut NoPeers);
            }
            let peer = SocketAddrV6::new(1.into(), 1, 0, 0);
            ipv6.announce(&announce::<Ipv6>(peer, Event::None), &LIMITS, rng, &mut NoPeers);
        }
        let mut text = Vec::new();
        assert_eq!(write(&mut text, &shards, WalkOptions::ALONE).unwrap(), 2);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "family,info_hash,seeders,leechers,completed\n\
             ipv4,000102030405060708090a0b0c0d0e0f10111213,1,2,1\n\
             ipv6,000102030405060708090a0b0c0d0e0f10111213,0,1,0\n"
        );
    }
}
