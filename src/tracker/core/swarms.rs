//! Announce and scrape on plain values, for every protocol that carries them.

use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::policy::{Policy, PolicyView, SharedPolicy};
use super::settings::TrackerSettings;
use super::source_limits::Decision;
use crate::io::Now;
use crate::tracker::store::{
    self, Announced, Event, Ipv4, Ipv6, PeerFamily, PeerSink, ScrapeCounts, Shard, Shards,
};
use crate::values::InfoHash;

/// What one worker answers announces and scrapes from: the shards of all workers, under the policy
/// in use. It stores nothing of its own, so each protocol of a worker may have one.
///
/// A request is admitted first and performed afterwards. A client that writes its answer straight
/// into memory for sending asks for that memory in between, and nothing happens to the swarms if
/// there is none. [`Swarms::announce`] and [`Swarms::scrape`] do both at once.
pub struct Swarms {
    worker: usize,
    shards: Arc<Shards>,
    policy: PolicyView,
    draining: Arc<AtomicBool>,
}

/// What a client announces.
#[derive(Clone, Copy, Debug)]
pub struct Announce {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The peer's address, proven to be the sender's; an IPv4-mapped IPv6 address is IPv4. It
    /// decides in which of the torrent's two swarms (BEP 7) the peer is.
    pub address: IpAddr,
    /// The port the peer listens on; a peer with port 0 is answered and not stored.
    pub port: u16,
    /// Bytes that the peer still lacks; 0 makes it a seeder.
    pub left: u64,
    /// Why it announces.
    pub event: Event,
    /// How many peers it wants; `None` leaves the number to the tracker.
    pub wanted: Option<usize>,
}

/// The answer to an announce, its peers apart, which went to the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnounceReply {
    /// When the peer should announce again, in seconds: always the same for this peer and torrent.
    pub interval_s: u32,
    /// The counts for the answer, and what happened to the swarm.
    pub announced: Announced,
    /// Whether the peer is new, and the operator wants new peers counted by their program.
    pub count_program: bool,
}

/// Why a request is not answered from the swarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The tracker is about to end and takes no new clients.
    #[error("the tracker takes no new clients")]
    Draining,
    /// The source asks for more than it may.
    #[error("the source is over its limit")]
    RateLimited,
    /// The access list does not permit the torrent.
    #[error("this tracker does not serve this torrent")]
    NotServed {
        /// As [`Admission::evicted_source`].
        evicted_source: bool,
    },
}

/// A request within the limit of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Whether the account of another source was given up to keep this one's.
    pub evicted_source: bool,
}

impl Admission {
    #[inline]
    fn of(decision: Decision) -> Result<Self, Refusal> {
        match decision {
            Decision::Accepted => Ok(Self { evicted_source: false }),
            Decision::AcceptedWithEviction => Ok(Self { evicted_source: true }),
            Decision::Refused => Err(Refusal::RateLimited),
        }
    }
}

impl Swarms {
    /// What `worker` answers from; the shard of the same index is its own.
    pub fn new(worker: usize, shards: Arc<Shards>, policy: &SharedPolicy) -> Self {
        Self { worker, shards, policy: policy.view(), draining: policy.draining() }
    }

    /// Takes up the policy in force. Until then the one stays in use that was in force when this
    /// was made, or refreshed.
    pub fn refresh_policy(&mut self) {
        self.policy.refresh();
    }

    /// The settings in use.
    #[inline]
    pub fn settings(&self) -> &TrackerSettings {
        &self.policy.settings
    }

    /// Admits a client that is new, from an address that may be forged.
    ///
    /// # Errors
    /// [`Refusal::Draining`] and [`Refusal::RateLimited`].
    #[inline]
    pub fn admit_client(&mut self, now: Now, address: IpAddr) -> Result<Admission, Refusal> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Refusal::Draining);
        }
        Admission::of(self.policy.limits.connect(now, address))
    }

    /// Admits an announce.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] and [`Refusal::NotServed`].
    #[inline]
    pub fn admit_announce(
        &mut self,
        now: Now,
        request: Announce,
    ) -> Result<AdmittedAnnounce<'_>, Refusal> {
        let policy = &*self.policy;
        let admission = Admission::of(policy.limits.announce(now, request.address))?;
        if !policy.access.permits(&request.info_hash) {
            return Err(Refusal::NotServed { evicted_source: admission.evicted_source });
        }
        let owner = self.shards.owner(&request.info_hash);
        let at_owner = owner == self.worker;
        let shards = &self.shards;
        Ok(AdmittedAnnounce { admission, at_owner, now, request, owner, shards, policy })
    }

    /// Admits a scrape over the address family of `address`.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`].
    #[inline]
    pub fn admit_scrape(
        &mut self,
        now: Now,
        address: IpAddr,
    ) -> Result<AdmittedScrape<'_>, Refusal> {
        let policy = &*self.policy;
        let admission = Admission::of(policy.limits.announce(now, address))?;
        let is_ipv4 = address.to_canonical().is_ipv4();
        let (worker, shards) = (self.worker, &self.shards);
        Ok(AdmittedScrape { admission, worker, is_ipv4, shards, policy })
    }

    /// Admits and performs an announce; the peers of the answer go to `sink`.
    ///
    /// # Errors
    /// As [`Swarms::admit_announce`].
    pub fn announce(
        &mut self,
        now: Now,
        request: Announce,
        sink: &mut impl PeerSink,
    ) -> Result<AnnounceReply, Refusal> {
        self.admit_announce(now, request).map(|admitted| admitted.perform(sink))
    }

    /// Admits and performs a scrape: counts in the order of `info_hashes`, of as many as the
    /// settings allow.
    ///
    /// # Errors
    /// As [`Swarms::admit_scrape`].
    pub fn scrape(
        &mut self,
        now: Now,
        address: IpAddr,
        info_hashes: impl IntoIterator<Item = InfoHash>,
    ) -> Result<impl Iterator<Item = ScrapeCounts>, Refusal> {
        self.admit_scrape(now, address).map(|admitted| admitted.perform(info_hashes))
    }
}

/// An announce that passed every check.
pub struct AdmittedAnnounce<'a> {
    /// What the limit of its source had to do for it.
    pub admission: Admission,
    /// Whether it came in at the worker that owns the torrent's shard.
    pub at_owner: bool,
    now: Now,
    request: Announce,
    owner: usize,
    shards: &'a Shards,
    policy: &'a Policy,
}

impl AdmittedAnnounce<'_> {
    /// Locks the shard that owns the torrent, stores, updates or removes the peer, and gives the
    /// peers of the answer to `sink`.
    #[inline]
    pub fn perform(self, sink: &mut impl PeerSink) -> AnnounceReply {
        let settings = &self.policy.settings;
        let caps = settings.limits_per_shard(self.shards.len());
        let port = self.request.port;
        let mut shard = self.shards.lock(self.owner);
        let announced = match self.request.address.to_canonical() {
            IpAddr::V4(address) => {
                let limits = shard.limits_ipv4(caps);
                let Shard { ipv4, rng, .. } = &mut *shard;
                let peer = SocketAddrV4::new(address, port);
                ipv4.announce(&self.of_peer::<Ipv4>(peer), &limits, rng, sink)
            }
            IpAddr::V6(address) => {
                let limits = shard.limits_ipv6(caps);
                let Shard { ipv6, rng, .. } = &mut *shard;
                let peer = SocketAddrV6::new(address, port, 0, 0);
                ipv6.announce(&self.of_peer::<Ipv6>(peer), &limits, rng, sink)
            }
        };
        drop(shard);
        AnnounceReply {
            interval_s: self.interval_s(),
            announced,
            count_program: announced.is_new && settings.client_statistics,
        }
    }

    #[inline]
    fn of_peer<F: PeerFamily>(&self, peer: F::Endpoint) -> store::Announce<'_, F> {
        store::Announce {
            now: self.now,
            info_hash: &self.request.info_hash,
            peer,
            seeder: self.request.left == 0,
            event: self.request.event,
            numwant: self.policy.settings.peers_wanted(self.request.wanted),
        }
    }

    /// The interval for this peer: the same for as long as it stays, and spread over clients and
    /// torrents, so that those that came together do not come back together.
    #[inline]
    fn interval_s(&self) -> u32 {
        let settings = &self.policy.settings;
        let address = match self.request.address.to_canonical() {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits() as u64,
        };
        let head = self.request.info_hash.0.first_chunk();
        let torrent = head.map_or(0, |head| u64::from_be_bytes(*head));
        let peer = (address ^ torrent ^ u64::from(self.request.port).rotate_left(48))
            .wrapping_mul(JITTER_MULTIPLIER);
        let span = u64::from(settings.announce_jitter_s) + 1;
        settings.announce_interval_s.saturating_add(((peer >> 32) % span) as u32)
    }
}

/// A scrape within the limit of its source.
pub struct AdmittedScrape<'a> {
    /// What the limit of its source had to do for it.
    pub admission: Admission,
    worker: usize,
    is_ipv4: bool,
    shards: &'a Shards,
    policy: &'a Policy,
}

impl<'a> AdmittedScrape<'a> {
    /// Whether the worker that this came in at owns the torrent's shard.
    #[inline]
    pub fn at_owner(&self, info_hash: &InfoHash) -> bool {
        self.shards.owner(info_hash) == self.worker
    }

    /// The counts of torrents, in their order and of as many as the settings allow; zeros for one
    /// that is unknown or not served. Each is looked up when it is asked for.
    #[inline]
    pub fn perform<I: IntoIterator<Item = InfoHash>>(
        self,
        info_hashes: I,
    ) -> impl Iterator<Item = ScrapeCounts> + use<'a, I> {
        let answered_max = usize::from(self.policy.settings.scrape_hashes_max);
        info_hashes.into_iter().take(answered_max).map(move |info_hash| self.counts(&info_hash))
    }

    #[inline]
    fn counts(&self, info_hash: &InfoHash) -> ScrapeCounts {
        if !self.policy.access.permits(info_hash) {
            return ScrapeCounts::default();
        }
        let shard = self.shards.lock(self.shards.owner(info_hash));
        let found =
            if self.is_ipv4 { shard.ipv4.scrape(info_hash) } else { shard.ipv6.scrape(info_hash) };
        found.unwrap_or_default()
    }
}

/// Any odd constant with well-mixed bits: 2^64 divided by the golden ratio.
const JITTER_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
