//! What a run is made of, drawn from its seed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use fastrand::Rng;
use ringtide::tracker::core::access_list::{AccessList, AccessMode};
use ringtide::tracker::core::policy::Policy;
use ringtide::tracker::core::{InfoHash, RateLimit, SourceLimitSettings, TrackerSettings};

/// What a scenario is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Clients over a dozen torrents.
    Ordinary,
    /// One torrent with more peers than a reply holds.
    Crowd,
    /// Caps that the clients exceed.
    Capped,
    /// An access list, replaced now and then.
    Listed,
    /// A network that loses a third, and few that say goodbye.
    Rough,
    /// Limits for each source, which change now and then.
    Limited,
    /// Intervals and timeouts as long as they may be: ages wrap around several times.
    Slow,
}

impl Shape {
    pub(crate) const ALL: [Self; 7] = [
        Self::Ordinary,
        Self::Crowd,
        Self::Capped,
        Self::Listed,
        Self::Rough,
        Self::Limited,
        Self::Slow,
    ];
}

/// What the network does to datagrams.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) loss_percent: u8,
    pub(crate) repeat_percent: u8,
    pub(crate) latency_ms: Range<u64>,
    /// Handed to the owner's worker; the others to any.
    pub(crate) steered_percent: u8,
    /// Datagrams whose reply finds no free transmit slot.
    pub(crate) no_slot_percent: u8,
}

/// The tracker's rules, in the model's own terms.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) settings: TrackerSettings,
    pub(crate) mode: AccessMode,
    pub(crate) listed: BTreeSet<InfoHash>,
}

impl Rules {
    pub(crate) fn permits(&self, hash: &InfoHash) -> bool {
        match self.mode {
            AccessMode::Off => true,
            AccessMode::Allow => self.listed.contains(hash),
            AccessMode::Deny => !self.listed.contains(hash),
        }
    }

    /// The same rules as the tracker takes them: the list by way of its file's text.
    pub(crate) fn policy(&self) -> Policy {
        let text: String = self.listed.iter().map(|hash| format!("{hash} # listed\n")).collect();
        let access = AccessList::parse(text, self.mode).unwrap();
        Policy { settings: self.settings.clone(), access }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) shape: Shape,
    pub(crate) workers: usize,
    pub(crate) start_ms: u64,
    pub(crate) tick_ms: u64,
    /// Between two comparisons of all that is stored.
    pub(crate) audit_ms: u64,
    pub(crate) network: Network,
    pub(crate) rules: Rules,
    pub(crate) torrents: Vec<InfoHash>,
    pub(crate) clients: usize,
    /// Clients join within this time.
    pub(crate) joining_ms: u64,
    /// Datagrams of those who are no clients come until then.
    pub(crate) noise_ms: u64,
    pub(crate) vanishing_percent: u8,
}

impl Scenario {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let shape = Shape::ALL[rng.usize(..Shape::ALL.len())];
        let (clients, torrents) = match shape {
            Shape::Crowd => (rng.usize(430..480), 1),
            _ => (rng.usize(30..110), rng.usize(3..14)),
        };
        let torrents: Vec<_> = (0..torrents).map(|_| any_hash(rng)).collect();
        let settings = draw_settings(rng, shape);
        let mut rules = Rules { settings, mode: AccessMode::Off, listed: BTreeSet::new() };
        if shape == Shape::Listed {
            rules = redraw_rules(rng, &rules, shape, &torrents);
        }
        Self {
            shape,
            workers: rng.usize(1..=3),
            // Anywhere in the range of the 14-bit ages that peers are stored with.
            start_ms: 1_700_000_000_000 + rng.u64(..20_000_000),
            tick_ms: match shape {
                Shape::Ordinary => 100,
                Shape::Slow => rng.u64(2000..9000),
                _ => rng.u64(100..1500),
            },
            audit_ms: if shape == Shape::Slow { 60_000 } else { 5000 },
            network: draw_network(rng, shape),
            rules,
            torrents,
            clients,
            joining_ms: rng.u64(60_000..600_000),
            noise_ms: 1_800_000,
            vanishing_percent: if shape == Shape::Rough { 80 } else { 25 },
        }
    }

    /// How long after its timeout a peer may still be there: ages are whole seconds, a sweep may
    /// take a quarter of the timeout, and it may have to begin and to end between ticks.
    pub(crate) fn expiry_slack_ms(&self) -> u64 {
        1000 + u64::from(self.rules.settings.peer_timeout_s) * 1000 / 4 + 3 * self.tick_ms
    }

    pub(crate) fn timeout_ms(&self) -> u64 {
        u64::from(self.rules.settings.peer_timeout_s) * 1000
    }
}

fn draw_network(rng: &mut Rng, shape: Shape) -> Network {
    let slowest = if shape == Shape::Rough { 9000 } else { rng.u64(20..800) };
    Network {
        loss_percent: if shape == Shape::Rough { 33 } else { rng.u8(0..10) },
        repeat_percent: rng.u8(0..15),
        latency_ms: 2..slowest,
        steered_percent: rng.u8(60..100),
        no_slot_percent: rng.u8(0..3),
    }
}

fn draw_settings(rng: &mut Rng, shape: Shape) -> TrackerSettings {
    let announce_interval_s = rng.u32(60..300);
    let announce_jitter_s = rng.u32(0..30);
    let mut settings = TrackerSettings {
        announce_interval_s,
        announce_jitter_s,
        peer_timeout_s: announce_interval_s + announce_jitter_s + rng.u32(20..200),
        connection_lifetime_s: rng.u32(20..140),
        numwant_default: rng.u16(5..60),
        numwant_max: rng.u16(10..80),
        scrape_hashes_max: rng.u16(74..=TrackerSettings::SCRAPE_HASHES_MAX),
        answer_bad_connection_ids: rng.bool(),
        ..TrackerSettings::default()
    };
    match shape {
        Shape::Crowd => settings.numwant_max = 300,
        Shape::Capped => draw_caps(rng, &mut settings),
        Shape::Limited => settings.source_limits = draw_limits(rng),
        Shape::Slow => {
            settings.announce_interval_s = rng.u32(1500..2500);
            settings.peer_timeout_s = rng.u32(2600..=TrackerSettings::PEER_TIMEOUT_S_MAX);
        }
        _ => {}
    }
    settings
}

fn draw_caps(rng: &mut Rng, settings: &mut TrackerSettings) {
    settings.torrents_max = rng.u64(1..8);
    settings.peers_max = rng.u64(0..30);
    settings.peers_per_torrent_max = rng.u32(0..8);
}

/// Tight enough for clients that share an address, and for datagrams that come twice.
fn draw_limits(rng: &mut Rng) -> SourceLimitSettings {
    let mut limit = || RateLimit { per_s: rng.u32(..3), burst: rng.u32(1..4) };
    SourceLimitSettings { connects: limit(), announces: limit(), table_sources: 65_536 }
}

/// Rules after an operator's change. Timeout and intervals stay, so that the time that peers
/// have left does not depend on when they were stored.
pub(crate) fn redraw_rules(
    rng: &mut Rng,
    rules: &Rules,
    shape: Shape,
    torrents: &[InfoHash],
) -> Rules {
    let mut rules = rules.clone();
    rules.settings.answer_bad_connection_ids = rng.bool();
    rules.settings.scrape_hashes_max = rng.u16(74..=TrackerSettings::SCRAPE_HASHES_MAX);
    if shape == Shape::Capped {
        draw_caps(rng, &mut rules.settings);
    }
    if shape == Shape::Limited && rng.bool() {
        rules.settings.source_limits = draw_limits(rng);
    }
    if shape == Shape::Listed {
        rules.mode = [AccessMode::Off, AccessMode::Allow, AccessMode::Deny][rng.usize(..3)];
        rules.listed = torrents.iter().filter(|_| rng.bool()).copied().collect();
    }
    rules
}

pub(crate) fn any_hash(rng: &mut Rng) -> InfoHash {
    let mut hash = InfoHash::default();
    rng.fill(&mut hash.0);
    hash
}

/// A client's address: some share one, some share an IPv6 /64.
pub(crate) fn any_address(rng: &mut Rng, clients: usize) -> IpAddr {
    let number = rng.u16(1..=clients as u16);
    if rng.u8(..10) < 7 {
        let [high, low] = number.to_be_bytes();
        return Ipv4Addr::new(198, 18, high, low).into();
    }
    Ipv6Addr::new(0x2001, 0xdb8, 0, number % 7, 0, 0, 0, number).into()
}
