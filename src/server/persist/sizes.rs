//! How many torrents have how many peers, counted while workers serve.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use tracing::debug;

use super::slices::{self, Slices, WalkOptions};
use crate::telemetry::SizesSnapshot;
use crate::tracker::store::{Ipv4, Ipv6, PeerFamily, Shards, Torrents, Walk};

/// The last count; `None` before the first. Reading never waits.
pub type SharedSizes = Arc<ArcSwapOption<TorrentSizes>>;

/// Torrents by how many peers they had.
#[derive(Clone, Debug)]
pub struct TorrentSizes {
    /// When the count ended.
    pub at: Instant,
    /// Torrents with IPv4 peers.
    pub ipv4: Sizes,
    /// Torrents with IPv6 peers.
    pub ipv6: Sizes,
}

/// Counts of torrents by their peers.
pub type Sizes = SizesSnapshot<TORRENT_BUCKETS>;

/// Counts all torrents, and puts the result into `to`.
///
/// # Errors
/// `Interrupted` when the manner's `stop` was set; `to` is then as it was.
pub fn count(shards: &Shards, manner: WalkOptions<'_>, to: &SharedSizes) -> io::Result<()> {
    let began = Instant::now();
    let mut counting = Counting::default();
    slices::over(shards, manner, &mut counting)?;
    let Counting { ipv4, ipv6 } = counting;
    to.store(Some(Arc::new(TorrentSizes { at: Instant::now(), ipv4, ipv6 })));
    debug!(took = ?began.elapsed(), "counted torrents by their peers");
    Ok(())
}

#[derive(Default)]
struct Counting {
    ipv4: Sizes,
    ipv6: Sizes,
}

fn slice<F: PeerFamily>(
    sizes: &mut Sizes,
    torrents: &Torrents<F>,
    walk: &mut Walk,
    budget: usize,
) -> bool {
    torrents.walk_counts(walk, budget, |_, counts| {
        sizes.add(u64::from(counts.seeders) + u64::from(counts.leechers));
    })
}

impl Slices for Counting {
    fn ipv4(&mut self, torrents: &Torrents<Ipv4>, walk: &mut Walk, budget: usize) -> bool {
        slice(&mut self.ipv4, torrents, walk, budget)
    }

    fn ipv6(&mut self, torrents: &Torrents<Ipv6>, walk: &mut Walk, budget: usize) -> bool {
        slice(&mut self.ipv6, torrents, walk, budget)
    }

    fn write(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Up to 2^20 peers, the usual cap of a torrent, and whatever is more.
pub const TORRENT_BUCKETS: usize = 22;
