//! Words that this project used for itself where the field has its own, and modules at paths of
//! their own choosing.

use crate::scanner::words;
use crate::tree::File;

pub(crate) fn findings(file: &File) -> Vec<String> {
    let mut findings = Vec::new();
    if !file.is_rust() || !file.path.starts_with("src/") {
        return findings;
    }
    for (at, _) in file.code.match_indices("#[path") {
        findings
            .push(format!("{}: a module whose file is not where its name says", file.place(at)));
    }
    for (private, common) in PRIVATE {
        let rather = |at| format!("{}: {private}; rather {common}", file.place(at));
        findings.extend(words(&file.code, private).map(rather));
    }
    findings
}

/// Identifiers that are gone, each with what to say instead.
const PRIVATE: &[(&str, &str)] = &[
    ("Lend", "register, LoopSocket"),
    ("take_back", "deregister"),
    ("Waiting", "FrameQueue"),
    ("WayOut", "SendPath"),
    ("Inbox", "RecvBatch"),
    ("Beside", "Ancillary"),
    ("Told", "LogOnChange"),
    ("or_later", "ignore_transient"),
    ("Auxiliary", "PacketAuxData"),
    ("Flights", "InFlight"),
    ("Departures", "LatencySamples"),
    ("FeedSocket", "UdpReceiver"),
    ("Parcel", "FdBundle"),
    ("Desk", "CommandSender"),
    ("Errand", "Command"),
    ("Errands", "CommandQueue"),
    ("Operate", "AdminOps"),
    ("Keeper", "Persister"),
    ("Keeps", "PersistConfig"),
    ("Manner", "WalkOptions"),
    ("Guest", "Connection"),
    ("Visit", "Permit"),
    ("turn_out", "evict_idle"),
    ("Ground", "OpenContext"),
    ("Opener", "SocketFactory"),
    ("owes", "reply_pending"),
    ("Jobs", "Services"),
    ("Announcement", "StartNotice"),
    ("Segments", "PartitionedTable"),
    ("barren_calls", "fruitless_scans"),
    ("AcceptedInPlaceOfAnother", "AcceptedWithEviction"),
    ("Turns", "EventLoop"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_words_and_paths_are_found_in_code_only() {
        for (path, text, count) in [
            ("src/a.rs", "struct Inbox; // Inbox", 1),
            ("src/a.rs", "fn take_back() { turn_out() }", 2),
            ("src/a.rs", "struct InboxSize; const A: &str = \"Inbox\";", 0),
            ("src/a.rs", "#[path = \"b.rs\"]\nmod a;", 1),
            ("tests/a.rs", "#[path = \"b.rs\"]\nmod a;", 0),
        ] {
            assert_eq!(findings(&File::new(path, text)).len(), count, "{text}");
        }
    }
}
