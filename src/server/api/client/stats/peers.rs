//! Which programs peers run and how many peers torrents have, where that is counted.

use std::cmp::Reverse;
use std::time::Duration;

use crate::server::api::client::table::{Table, number};
use crate::server::api::stats::{Histogram, TrackerStats};

/// New peers by program, those with the most first.
pub(super) fn clients(tracker: &TrackerStats) -> String {
    let Some(clients) = &tracker.clients else { return String::new() };
    let total: u64 = clients.programs.values().sum();
    let mut programs: Vec<_> = clients.programs.iter().collect();
    programs.sort_by_key(|(name, count)| (Reverse(**count), *name));
    let mut table = Table::new(1, &["clients", "new peers", "%"]);
    for (name, count) in programs.iter().take(PROGRAMS_SHOWN) {
        let share = **count as f64 * 100.0 / total.max(1) as f64;
        table.row(vec![(*name).clone(), number(**count), format!("{share:.1}")]);
    }
    if let Some(more) = programs.get(PROGRAMS_SHOWN..).filter(|more| !more.is_empty()) {
        let count = more.iter().map(|(_, count)| **count).sum();
        table.row(vec![format!("{} more", more.len()), number(count), String::new()]);
    }
    if table.is_empty() { "  no new peers yet\n".to_owned() } else { table.render() }
}

/// Torrents by their peers: a line for each bucket that is not empty.
pub(super) fn torrent_sizes(tracker: &TrackerStats) -> String {
    let Some(sizes) = &tracker.torrent_sizes else { return String::new() };
    let mut table = Table::new(0, &["peers", "IPv4 torrents", "IPv6 torrents"]);
    let count = |histogram: &Histogram, at| histogram.buckets.get(at).copied().unwrap_or(0);
    let last = sizes.ipv4.buckets.len().max(sizes.ipv6.buckets.len());
    for at in 0..last {
        let counts = [&sizes.ipv4, &sizes.ipv6].map(|histogram| count(histogram, at));
        if counts != [0, 0] {
            let peers = range(at, at + 1 == last);
            table.row(std::iter::once(peers).chain(counts.map(number)).collect());
        }
    }
    let age = humantime::format_duration(Duration::from_secs(sizes.age_s));
    let title = format!("  torrents by peers, {age} ago\n");
    if table.is_empty() { format!("{title}  no torrents\n") } else { title + &table.render() }
}

/// The sizes that count in a bucket: 1, 2, 3 to 4, 5 to 8 and so on.
fn range(bucket: usize, is_last: bool) -> String {
    let (most, before) = (1_u64 << bucket, (1_u64 << bucket) / 2);
    match bucket {
        _ if is_last => format!("over {}", number(before)),
        0 | 1 => most.to_string(),
        _ => format!("{} to {}", number(before + 1), number(most)),
    }
}

/// What fits a screen beside everything else.
const PROGRAMS_SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_buckets() {
        let texts: Vec<_> = (0..4).map(|bucket| range(bucket, false)).collect();
        assert_eq!(texts, ["1", "2", "3 to 4", "5 to 8"]);
        assert_eq!(range(21, true), "over 1,048,576");
    }
}
