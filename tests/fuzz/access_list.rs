//! Access lists. Input: a byte for the mode, then the text of a list.

use std::collections::BTreeSet;

use ringtide::tracker::core::InfoHash;
use ringtide::tracker::core::access_list::{AccessList, AccessMode};

pub fn run(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let mode = [AccessMode::Off, AccessMode::Allow, AccessMode::Deny][usize::from(choice % 3)];
    let list = match AccessList::parse(text, mode) {
        Ok(list) => list,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let hashes = read(text);
    assert_eq!(list.len(), hashes.len());
    for hash in &hashes {
        check(&list, &hashes, hash);
        // Neighbours: the first and the last bit tell the index and the search apart.
        for (byte, bit) in [(0, 0x80), (1, 1), (19, 1)] {
            let mut other = *hash;
            other.0[byte] ^= bit;
            check(&list, &hashes, &other);
        }
    }
    for value in [0, 0xff] {
        check(&list, &hashes, &InfoHash([value; 20]));
    }
}

fn check(list: &AccessList, hashes: &BTreeSet<InfoHash>, hash: &InfoHash) {
    let permitted = match list.mode() {
        AccessMode::Off => true,
        AccessMode::Allow => hashes.contains(hash),
        AccessMode::Deny => !hashes.contains(hash),
    };
    assert_eq!(list.permits(hash), permitted, "{hash:?}");
}

/// The hashes of a list that was accepted, read in the plainest way: of a v2 hash the first 20
/// bytes count (BEP 52).
fn read(text: &[u8]) -> BTreeSet<InfoHash> {
    let text = std::str::from_utf8(text).expect("what is accepted is text");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut hashes = BTreeSet::new();
    for line in text.split('\n') {
        let digits = line.split('#').next().unwrap().trim();
        if digits.is_empty() {
            continue;
        }
        assert!([40, 64].contains(&digits.len()), "{digits:?} is accepted");
        let mut hash = InfoHash([0; 20]);
        for (byte, at) in hash.0.iter_mut().zip((0..40).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).expect("digits");
        }
        assert!(digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{digits:?} is accepted");
        hashes.insert(hash);
    }
    hashes
}
