//! Figures of peers' client programs and of the sizes of torrents.

use std::cmp::Reverse;

use super::{ClientStats, Counts, TorrentSizeStats};
use crate::server::api::view::{TrackerView, View};
use crate::telemetry::ClientSnapshot;

impl ClientStats {
    /// `None` where nothing is counted.
    pub(super) fn collect(view: &View, tracker: &TrackerView) -> Option<Self> {
        if !tracker.policy.current().settings.client_statistics {
            return None;
        }
        let mut sum = ClientSnapshot::default();
        view.workers.iter().for_each(|worker| worker.counters.clients().add_to(&mut sum));
        let programs = sum.programs.into_iter().map(|(name, count)| (name.to_owned(), count));
        Some(Self { programs: programs.collect(), prefixes: most(sum.prefixes) })
    }
}

/// Those with the most peers.
fn most(prefixes: Counts) -> Counts {
    let mut sorted: Vec<_> = prefixes.into_iter().collect();
    sorted.sort_by_key(|client| Reverse(client.1));
    sorted.truncate(PREFIXES_SHOWN);
    sorted.into_iter().collect()
}

impl TorrentSizeStats {
    /// `None` before the first count, and where there is none.
    pub(super) fn collect(tracker: &TrackerView) -> Option<Self> {
        let sizes = tracker.torrent_sizes.load_full()?;
        Some(Self {
            age_s: sizes.at.elapsed().as_secs(),
            ipv4: (&sizes.ipv4).into(),
            ipv6: (&sizes.ipv6).into(),
        })
    }
}

/// Enough to show what most peers run.
const PREFIXES_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_prefixes_are_shown() {
        let all = (0..300).map(|number| (format!("{number:08}"), number)).collect();
        let shown = most(all);
        assert_eq!(shown.len(), PREFIXES_SHOWN);
        assert_eq!(shown.values().min(), Some(&200));
    }
}
