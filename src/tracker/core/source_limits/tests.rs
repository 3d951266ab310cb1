use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const KEY: [u64; 2] = [1, 2];

fn at(milliseconds: u64) -> Now {
    Now::from_unix(Duration::from_millis(1_700_000_000_000 + milliseconds))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn source(number: u32) -> Source {
    Source::of(Ipv4Addr::from_bits(number).into())
}

fn buckets(per_s: u32, burst: u32, sources: u32) -> Buckets {
    Buckets::new(RateLimit { per_s, burst }, sources, KEY)
}

/// How many of `attempts` at once are accepted.
fn accepted(buckets: &Buckets, now: Now, source: Source, attempts: u32) -> u32 {
    (0..attempts).map(|_| u32::from(buckets.take(now, source) != Decision::Refused)).sum()
}

#[test]
fn a_burst_and_then_the_rate() {
    let limited = buckets(10, 5, 1024);
    assert_eq!(accepted(&limited, at(0), source(1), 100), 5);
    assert_eq!(accepted(&limited, at(99), source(1), 100), 0);
    assert_eq!(accepted(&limited, at(101), source(1), 100), 1);
    assert_eq!(accepted(&limited, at(350), source(1), 100), 2);
    // Another source has a bucket of its own, and no bucket holds more than a burst.
    assert_eq!(accepted(&limited, at(350), source(2), 100), 5);
    assert_eq!(accepted(&limited, at(3_600_000), source(1), 100), 5);
}

#[test]
fn refusals_cost_a_source_nothing() {
    let limited = buckets(1, 2, 1024);
    for second in 0..100 {
        let many = accepted(&limited, at(second * 1001), source(1), 1000);
        assert_eq!(many, if second == 0 { 2 } else { 1 });
    }
}

#[test]
fn addresses_of_a_prefix_and_mapped_ones_share_a_bucket() {
    let settings = SourceLimitSettings {
        connects: RateLimit { per_s: 1, burst: 1 },
        announces: RateLimit { per_s: 1, burst: 1 },
        table_sources: 1024,
    };
    let limits = SourceLimits::new(settings, KEY);
    for (first, same, other) in [
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1"),
    ] {
        assert_eq!(limits.connect(at(0), ip(first)), Decision::Accepted);
        assert_eq!(limits.connect(at(0), ip(same)), Decision::Refused);
        assert_eq!(limits.connect(at(0), ip(other)), Decision::Accepted);
        // Connects leave announces what they have.
        assert_eq!(limits.announce(at(0), ip(same)), Decision::Accepted);
        assert_eq!(limits.announce(at(0), ip(first)), Decision::Refused);
    }
}

#[test]
fn without_a_limit_there_is_no_table() {
    let limits = SourceLimits::new(SourceLimitSettings::default(), KEY);
    assert!(limits.connects.is_none() && limits.announces.is_none());
    for _ in 0..10_000 {
        assert_eq!(limits.announce(at(0), ip("192.0.2.1")), Decision::Accepted);
    }
}

#[test]
fn what_was_used_counts_on_only_under_the_same_settings() {
    let settings = SourceLimitSettings {
        announces: RateLimit { per_s: 1, burst: 1 },
        ..SourceLimitSettings::default()
    };
    let first = SourceLimits::new(settings.clone(), KEY);
    first.announce(at(0), ip("192.0.2.1"));
    let same = first.adapted(&settings);
    assert_eq!(same.announce(at(0), ip("192.0.2.1")), Decision::Refused);
    let wider = SourceLimitSettings { announces: RateLimit { per_s: 1, burst: 2 }, ..settings };
    assert_eq!(same.adapted(&wider).announce(at(0), ip("192.0.2.1")), Decision::Accepted);
}

#[test]
fn strangers_neither_are_locked_out_nor_make_a_source_forgotten_that_is_at_its_limit() {
    // One set of eight places, which a source at its limit shares with many others.
    let limited = buckets(1, 50, 8);
    assert_eq!(limited.places(), 8);
    assert_eq!(accepted(&limited, at(0), source(0), 60), 50);
    let mut forgotten = 0;
    for stranger in 1..10_000 {
        let verdict = limited.take(at(0), source(stranger));
        assert_ne!(verdict, Decision::Refused, "stranger {stranger}");
        forgotten += usize::from(verdict == Decision::AcceptedWithEviction);
        assert_eq!(limited.take(at(0), source(0)), Decision::Refused, "after {stranger}");
    }
    assert_eq!(forgotten, 9999 - 7);
}

#[test]
fn a_crowd_at_its_limit_still_leaves_room_for_strangers() {
    let limited = buckets(1, 3, 8);
    for number in 0..8 {
        assert_eq!(accepted(&limited, at(0), source(number), 4), 3);
    }
    for stranger in 8..100 {
        assert_ne!(limited.take(at(0), source(stranger)), Decision::Refused);
    }
}

#[test]
fn full_buckets_give_their_places_back() {
    let limited = buckets(10, 10, 1024);
    assert_eq!(limited.places(), 1024);
    (0..500).for_each(|number| assert_eq!(accepted(&limited, at(0), source(number), 1), 1));
    let taken = limited.taken();
    assert!(taken > 490, "{taken} of 500");
    limited.sweep(at(50));
    assert_eq!(limited.taken(), taken, "they are not full yet");
    limited.sweep(at(200));
    assert_eq!(limited.taken(), 0);
}

#[test]
fn the_sweep_comes_by_everywhere() {
    let limited = buckets(10, 10, 65_536);
    (0..5000).for_each(|number| assert_eq!(accepted(&limited, at(0), source(number), 1), 1));
    (0..8192 / 256).for_each(|_| limited.sweep(at(1000)));
    assert_eq!(limited.taken(), 0);
}

#[test]
fn times_wrap_around_and_are_swept_before_they_could_be_mistaken() {
    let limited = buckets(1, 100_000, 1024);
    // The clock of the table wraps around every 2^20 seconds.
    let wrap = (1 << 20) * 1_000 - 1_700_000_000_000 % ((1 << 20) * 1_000);
    assert_eq!(accepted(&limited, at(wrap - 10_000), source(1), 200_000), 100_000);
    assert_eq!(accepted(&limited, at(wrap - 1), source(1), 100), 9);
    assert_eq!(accepted(&limited, at(wrap + 1), source(1), 100), 1);
    let days = 24 * 3_600_000;
    limited.sweep(at(wrap + 5 * days));
    assert_eq!(accepted(&limited, at(wrap + 12 * days), source(1), 200_000), 100_000);
}

#[test]
fn workers_at_the_same_time_exceed_no_limit() {
    let limited = buckets(1, 10_000, 1024);
    let total: u32 = std::thread::scope(|scope| {
        let worker = || {
            let own = |_| accepted(&limited, at(0), source(1), 1000);
            (0..10).map(own).sum::<u32>()
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    // A worker that is beaten to it again and again gives up; all of them never do.
    assert!(total <= 10_000, "{total}");
    assert_eq!(total + accepted(&limited, at(0), source(1), 20_000), 10_000);
}

/// A token bucket in the plainest way: so many ticks of credit, of which a request takes some.
struct Reference {
    credit: u64,
    last: u64,
}

proptest! {
    #[test]
    fn never_more_than_a_burst_and_the_rate(
        per_s in 1..=RateLimit::PER_S_MAX,
        burst in 1..200_u32,
        steps in proptest::collection::vec((0..2000_u64, 0..50_u32), 1..60),
    ) {
        let limited = buckets(per_s, burst, 1024);
        let (mut now, mut grants) = (0, Vec::new());
        for (wait, attempts) in steps {
            now += wait;
            grants.push((now, u64::from(accepted(&limited, at(now), source(1), attempts))));
        }
        for (first, (from, _)) in grants.iter().enumerate() {
            let mut sum = 0;
            for (to, granted) in &grants[first..] {
                sum += granted;
                let allowed = u64::from(burst) + u64::from(per_s) * (to - from) / 1000;
                prop_assert!(sum <= allowed, "{} in {} ms", sum, to - from);
            }
        }
    }

    #[test]
    fn as_many_as_a_plain_token_bucket(
        per_s in 1..1000_u32,
        burst in 1..50_u32,
        steps in proptest::collection::vec((0..8_u32, 0..300_u64), 1..300),
    ) {
        const TICKS: u64 = 1 << 20;
        let limited = buckets(per_s, burst, 4096);
        let interval = TICKS.div_ceil(per_s.into());
        let full = interval * u64::from(burst);
        let mut references = BTreeMap::new();
        let mut now = 0;
        for (number, wait) in steps {
            now += wait;
            let ticks = now / 1000 * TICKS + now % 1000 * 1_000_000 * TICKS / 1_000_000_000;
            let reference =
                references.entry(number).or_insert(Reference { credit: full, last: ticks });
            reference.credit = full.min(reference.credit + ticks - reference.last);
            reference.last = ticks;
            let has_one = reference.credit >= interval;
            reference.credit -= if has_one { interval } else { 0 };
            let verdict = limited.take(at(now), source(number));
            prop_assert_eq!(verdict != Decision::Refused, has_one, "{} at {}", number, now);
        }
    }

    #[test]
    fn however_crowded_a_first_request_is_accepted(
        burst in 1..5_u32,
        sources in proptest::collection::vec(0..40_u32, 1..300),
    ) {
        let limited = buckets(1, burst, 8);
        let mut known = std::collections::BTreeSet::new();
        for number in sources {
            let verdict = limited.take(at(0), source(number));
            prop_assert!(!known.insert(number) || verdict != Decision::Refused);
        }
    }
}
