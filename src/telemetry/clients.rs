//! Which programs peers run, by the start of their peer IDs (BEP 20).
//!
//! A peer ID is what its sender makes of it: these figures tell what honest clients are, and
//! whoever forges IDs can raise any of them. What is counted per program is bounded by the list of
//! known ones; what is counted per prefix, by a table that takes prefixes as they come first.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::bump::bump;
use crate::sync::AtomicU64;

/// New peers by program and by prefix, of one worker, which is the only writer.
#[derive(Debug)]
pub struct ClientCounters {
    /// In the order of [`PROGRAMS`], and those that are not in it at the end.
    programs: [AtomicU64; PROGRAMS.len() + 1],
    /// A prefix and how many peers had it. A slot whose prefix is 0 is free.
    prefixes: [(AtomicU64, AtomicU64); PREFIX_SLOTS],
}

impl Default for ClientCounters {
    fn default() -> Self {
        Self {
            programs: std::array::from_fn(|_| AtomicU64::new(0)),
            prefixes: std::array::from_fn(|_| (AtomicU64::new(0), AtomicU64::new(0))),
        }
    }
}

/// New peers by program and prefix, of several workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSnapshot {
    /// By the program's name; "other" are those whose peer ID names none that is known.
    pub programs: BTreeMap<&'static str, u64>,
    /// By the first eight bytes of the peer ID, where they are written in a known style.
    pub prefixes: BTreeMap<String, u64>,
}

impl ClientCounters {
    /// Counts a peer that is new. Only the owning worker may call this.
    pub fn count(&self, peer_id: &[u8; 20]) {
        let Some((code, prefix)) = read(peer_id) else { return bump(&self.programs[OTHER], 1) };
        let program = PROGRAMS.binary_search_by_key(&code, |(code, _)| **code).unwrap_or(OTHER);
        bump(&self.programs[program], 1);
        // Multiplied, so that versions of one program do not share a neighbourhood.
        let start = (prefix.wrapping_mul(HASH_MULTIPLIER) >> 32) as usize;
        for place in start..start + PROBES_MAX {
            let (taken, count) = &self.prefixes[place % PREFIX_SLOTS];
            match taken.load(Ordering::Relaxed) {
                0 => taken.store(prefix, Ordering::Relaxed),
                other if other != prefix => continue,
                _ => {}
            }
            return bump(count, 1);
        }
    }

    /// Adds these figures to `sum`.
    pub fn add_to(&self, sum: &mut ClientSnapshot) {
        let names = PROGRAMS.iter().map(|(_, name)| *name).chain([OTHER_NAME]);
        for (name, count) in names.zip(&self.programs) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                *sum.programs.entry(name).or_default() += count;
            }
        }
        for (prefix, count) in &self.prefixes {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                let prefix = prefix.load(Ordering::Relaxed).to_be_bytes();
                let text = String::from_utf8_lossy(&prefix).into_owned();
                *sum.prefixes.entry(text).or_default() += count;
            }
        }
    }
}

/// The program's code and the first eight bytes, where they are written in one of the styles that
/// programs use: `-qB4650-`, `M7-9-0--` or `S58B----`.
fn read(peer_id: &[u8; 20]) -> Option<([u8; 2], u64)> {
    let [head @ .., _, _, _, _, _, _, _, _, _, _, _] = peer_id;
    let prefix = u64::from_be_bytes(*head.first_chunk()?);
    let all = |bytes: &[u8], fits: fn(&u8) -> bool| bytes.iter().all(fits);
    let code = match head {
        [b'-', first, second, version @ .., b'-', _] if all(version, u8::is_ascii_alphanumeric) => {
            [*first, *second]
        }
        [letter @ (b'M' | b'Q'), digit, rest @ .., b'-', _]
            if digit.is_ascii_digit() && all(rest, |byte| matches!(byte, b'0'..=b'9' | b'-')) =>
        {
            [*letter, b'-']
        }
        [letter, version @ .., b'-', b'-', b'-']
            if all(version, is_shadow) && version[0] != b'-' =>
        {
            [*letter, b' ']
        }
        _ => return None,
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b' ');
    code.iter().all(is_name).then_some((code, prefix))
}

fn is_shadow(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')
}

const PREFIX_SLOTS: usize = 512;
/// Slots that are looked at for a prefix.
const PROBES_MAX: usize = 8;
/// Any odd constant with well-mixed bits: 2^64 divided by the golden ratio.
const HASH_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const OTHER: usize = PROGRAMS.len();
const OTHER_NAME: &str = "other";

/// Programs by code, in the order of codes: two letters between dashes, or a single letter with
/// `-` in Mainline's style and with a space in Shadow's.
const PROGRAMS: &[(&[u8; 2], &str)] = &[
    (b"7T", "aTorrent"),
    (b"A ", "ABC"),
    (b"A2", "aria2"),
    (b"AG", "Ares"),
    (b"AR", "Arctic"),
    (b"AZ", "Vuze"),
    (b"BC", "BitComet"),
    (b"BF", "BitFlu"),
    (b"BI", "BiglyBT"),
    (b"BT", "BitTorrent"),
    (b"BW", "BitWombat"),
    (b"CD", "Enhanced CTorrent"),
    (b"CT", "CTorrent"),
    (b"DE", "Deluge"),
    (b"FD", "Free Download Manager"),
    (b"FG", "FlashGet"),
    (b"FL", "Folx"),
    (b"FW", "FrostWire"),
    (b"GT", "anacrolix"),
    (b"HL", "Halite"),
    (b"JT", "JavaTorrent"),
    (b"KG", "KGet"),
    (b"KT", "KTorrent"),
    (b"LC", "LeechCraft"),
    (b"LT", "libtorrent"),
    (b"LW", "LimeWire"),
    (b"M-", "BitTorrent"),
    (b"MG", "MediaGet"),
    (b"MO", "MonoTorrent"),
    (b"O ", "Osprey Permaseed"),
    (b"PI", "PicoTorrent"),
    (b"Q ", "BTQueue"),
    (b"Q-", "Queen Bee"),
    (b"QD", "QQDownload"),
    (b"R ", "Tribler"),
    (b"S ", "Shadow"),
    (b"SD", "Thunder"),
    (b"ST", "SymTorrent"),
    (b"SZ", "Shareaza"),
    (b"T ", "BitTornado"),
    (b"TB", "Torch"),
    (b"TL", "Tribler"),
    (b"TR", "Transmission"),
    (b"TT", "TuoTu"),
    (b"TX", "Tixati"),
    (b"U ", "UPnP NAT"),
    (b"UE", "uTorrent"),
    (b"UM", "uTorrent"),
    (b"UT", "uTorrent"),
    (b"UW", "uTorrent"),
    (b"WW", "WebTorrent"),
    (b"XF", "Xfplay"),
    (b"XL", "Xunlei"),
    (b"ZT", "ZipTorrent"),
    (b"lt", "rTorrent"),
    (b"qB", "qBittorrent"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(ids: &[&[u8; 20]]) -> ClientSnapshot {
        let (counters, mut sum) = (ClientCounters::default(), ClientSnapshot::default());
        ids.iter().for_each(|id| counters.count(id));
        counters.add_to(&mut sum);
        sum
    }

    #[test]
    fn each_style_names_its_program() {
        for (id, program, prefix) in [
            (b"-qB4650-abcdefghijkl", "qBittorrent", "-qB4650-"),
            (b"-TR410Z-abcdefghijkl", "Transmission", "-TR410Z-"),
            (b"-lt0D60-\x01\xff\x00defghijkl", "rTorrent", "-lt0D60-"),
            (b"M7-9-0--abcdefghijkl", "BitTorrent", "M7-9-0--"),
            (b"M4-20-8-abcdefghijkl", "BitTorrent", "M4-20-8-"),
            (b"S58B-----bcdefghijkl", "Shadow", "S58B----"),
            (b"T03I-----bcdefghijkl", "BitTornado", "T03I----"),
            (b"-zz1234-abcdefghijkl", "other", "-zz1234-"),
        ] {
            let sum = counted(&[id, id]);
            assert_eq!(sum.programs, BTreeMap::from([(program, 2)]));
            assert_eq!(sum.prefixes, BTreeMap::from([(prefix.to_owned(), 2)]));
        }
    }

    #[test]
    fn what_is_in_no_style_is_other_and_has_no_prefix() {
        for id in [
            b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            b"--------------------",
            b"-qB\"650-abcdefghijkl",
            b"-\xff\xfe4650-abcdefghijkl",
            b"\xff58B-----bcdefghijkl",
            b"Mx-9-0--abcdefghijkl",
            b"abcdefghijklmnopqrst",
        ] {
            let sum = counted(&[id]);
            assert_eq!(sum.programs, BTreeMap::from([("other", 1)]), "{id:?}");
            assert!(sum.prefixes.is_empty(), "{id:?}");
        }
    }

    #[test]
    fn forged_prefixes_fill_the_table_and_nothing_else() {
        let (counters, mut sum) = (ClientCounters::default(), ClientSnapshot::default());
        for number in 0..10_000 {
            let id = format!("-qB{number:04}-abcdefghijkl");
            counters.count(id.as_bytes().first_chunk().unwrap());
        }
        counters.add_to(&mut sum);
        assert_eq!(sum.programs, BTreeMap::from([("qBittorrent", 10_000)]));
        assert!((PREFIX_SLOTS / 2..=PREFIX_SLOTS).contains(&sum.prefixes.len()));
        assert!(sum.prefixes.values().all(|count| *count == 1));
    }

    #[test]
    fn codes_are_in_order() {
        assert!(PROGRAMS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
