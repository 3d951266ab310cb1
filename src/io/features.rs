//! What the io_uring engine uses of the kernel, so that each part can be done without.

use std::fmt;
use std::str::FromStr;

/// A feature of io_uring that the engine uses where the kernel has it (io_uring_setup(2),
/// io_uring_register(2), io_uring_enter(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFeature {
    /// `IORING_SETUP_SUBMIT_ALL`: an entry that fails does not hold up those behind it.
    SubmitAll,
    /// The ring's own descriptor is registered, which spares a look-up in each call.
    RegisteredRing,
    /// `IORING_SETUP_COOP_TASKRUN`: completions do not interrupt the worker.
    CoopTaskrun,
    /// Receive buffers are provided through memory shared with the kernel. Needed.
    BufferRings,
    /// One `recvmsg` goes on receiving. Needed.
    MultishotReceive,
    /// `IORING_SETUP_SINGLE_ISSUER`: only the worker submits.
    SingleIssuer,
    /// `IORING_SETUP_DEFER_TASKRUN`: completions are worked on when the worker waits. It needs
    /// [`Self::SingleIssuer`].
    DeferTaskrun,
    /// `send` takes an address, so that a reply needs no message header.
    SendTo,
}

impl RingFeature {
    /// All of them, the oldest first.
    pub const ALL: [Self; 8] = [
        Self::SubmitAll,
        Self::RegisteredRing,
        Self::CoopTaskrun,
        Self::BufferRings,
        Self::MultishotReceive,
        Self::SingleIssuer,
        Self::DeferTaskrun,
        Self::SendTo,
    ];

    /// What settings, logs and figures call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SubmitAll => "submit_all",
            Self::RegisteredRing => "registered_ring",
            Self::CoopTaskrun => "coop_taskrun",
            Self::BufferRings => "buffer_rings",
            Self::MultishotReceive => "multishot_receive",
            Self::SingleIssuer => "single_issuer",
            Self::DeferTaskrun => "defer_taskrun",
            Self::SendTo => "send_to",
        }
    }

    /// The version of Linux that it came with.
    pub const fn since(self) -> &'static str {
        match self {
            Self::SubmitAll | Self::RegisteredRing => "5.18",
            Self::CoopTaskrun | Self::BufferRings => "5.19",
            Self::MultishotReceive | Self::SingleIssuer => "6.0",
            Self::DeferTaskrun | Self::SendTo => "6.1",
        }
    }

    /// Whether there is no io_uring engine without it.
    pub const fn is_needed(self) -> bool {
        matches!(self, Self::BufferRings | Self::MultishotReceive)
    }
}

impl fmt::Display for RingFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RingFeature {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|feature| feature.name() == text);
        named.ok_or_else(|| format!("it is one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// Some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingFeatures(u8);

impl RingFeatures {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(u8::MAX);

    /// Whether one is among them.
    pub const fn has(self, feature: RingFeature) -> bool {
        self.0 & 1 << feature as u8 != 0
    }

    /// These, and one more.
    #[must_use]
    pub const fn with(self, feature: RingFeature) -> Self {
        Self(self.0 | 1 << feature as u8)
    }

    /// These, but for one.
    #[must_use]
    pub const fn without(self, feature: RingFeature) -> Self {
        Self(self.0 & !(1 << feature as u8))
    }

    /// These, but for all of `others`.
    #[must_use]
    pub const fn but(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// What is among them, the oldest first.
    pub fn iter(self) -> impl Iterator<Item = RingFeature> {
        RingFeature::ALL.into_iter().filter(move |feature| self.has(*feature))
    }
}

impl FromIterator<RingFeature> for RingFeatures {
    fn from_iter<I: IntoIterator<Item = RingFeature>>(features: I) -> Self {
        features.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for RingFeatures {
    /// With the version of Linux that each came with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, feature) in self.iter().enumerate() {
            let between = if index > 0 { ", " } else { "" };
            write!(f, "{between}{} (Linux {})", feature.name(), feature.since())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_its_place_and_its_name() {
        assert_eq!(RingFeatures::ALL, RingFeature::ALL.into_iter().collect());
        for feature in RingFeature::ALL {
            assert_eq!(feature.name().parse(), Ok(feature));
            let alone = RingFeatures::NONE.with(feature);
            assert!(alone.iter().eq([feature]));
            let rest = RingFeatures::ALL.without(feature);
            assert!(!rest.has(feature));
            assert_eq!((rest.iter().count(), rest), (7, RingFeatures::ALL.but(alone)));
        }
        assert!("sqpoll".parse::<RingFeature>().unwrap_err().contains("defer_taskrun"));
        let two = RingFeatures::NONE.with(RingFeature::SendTo).with(RingFeature::SubmitAll);
        assert_eq!(two.to_string(), "submit_all (Linux 5.18), send_to (Linux 6.1)");
    }
}
