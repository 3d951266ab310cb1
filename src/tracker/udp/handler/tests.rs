//! What the core and the counters get to see of a request.

use proptest::prelude::*;

use super::*;
use crate::tracker::core::TrackerSettings;
use crate::wire::bep15::golden;

/// How many peers an announce with this number wants under these settings.
fn wanted(numwant: [u8; 4], numwant_default: u16, numwant_max: u16) -> usize {
    let mut bytes = golden::announce_request();
    bytes[92..96].copy_from_slice(&numwant);
    let Ok(Request::Announce(announce)) = Request::parse(&bytes) else { panic!("no announce") };
    let settings = TrackerSettings { numwant_default, numwant_max, ..Default::default() };
    settings.peers_wanted(announce.wanted())
}

#[test]
fn numwant_is_resolved() {
    let wanted = |numwant, max| wanted(numwant, 50, max);
    assert_eq!(wanted([0xff; 4], 200), 50);
    assert_eq!(wanted([0x80, 0, 0, 0], 200), 50);
    assert_eq!(wanted([0, 0, 0, 0], 200), 0);
    assert_eq!(wanted([0, 0, 0, 1], 200), 1);
    assert_eq!(wanted([0, 0, 0, 199], 200), 199);
    assert_eq!(wanted([0, 0, 0, 200], 200), 200);
    assert_eq!(wanted([0, 0, 0, 201], 200), 200);
    assert_eq!(wanted([0x7f, 0xff, 0xff, 0xff], 200), 200);
    assert_eq!(wanted([0xff; 4], 20), 20, "the maximum bounds the default too");
}

proptest! {
    #[test]
    fn wanted_peers_are_bounded(numwant: i32, default in 0..300_u16, max in 0..300_u16) {
        let wanted = wanted(numwant.to_be_bytes(), default, max);
        let asked = if numwant < 0 { i64::from(default) } else { i64::from(numwant) };
        prop_assert_eq!(wanted as i64, asked.min(i64::from(max)));
    }
}

#[test]
fn what_malformed_requests_are_counted_as() {
    let reasons = [
        (RequestError::TooShort, DropReason::TooShort),
        (RequestError::BadMagic, DropReason::BadMagic),
        (RequestError::UnknownAction, DropReason::UnknownAction),
        (RequestError::ScrapeWithoutHash, DropReason::ScrapeWithoutHash),
    ];
    for (error, reason) in reasons {
        assert_eq!(drop_reason(error), reason);
    }
}
