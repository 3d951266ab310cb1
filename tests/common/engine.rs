//! Which engine the tests run on, and how much of it there is.
#![allow(dead_code, unreachable_pub)]

use ringtide::io::{Engine, RingFeature, RingFeatures};

/// The engine of everything that a test starts, whatever it starts it with: the one that
/// `RINGTIDE_TEST_ENGINE` names, or io_uring.
pub fn engine() -> Engine {
    let Some(name) = std::env::var_os("RINGTIDE_TEST_ENGINE") else { return Engine::IoUring };
    let engine = Engine::ALL.into_iter().find(|engine| name == engine.name());
    engine.unwrap_or_else(|| panic!("RINGTIDE_TEST_ENGINE={name:?}: io_uring or epoll"))
}

/// What of io_uring everything that a test starts may use: what the version of Linux that
/// `RINGTIDE_TEST_KERNEL` names has, or all.
pub fn features() -> RingFeatures {
    let Some(name) = std::env::var_os("RINGTIDE_TEST_KERNEL") else { return RingFeatures::ALL };
    let release = name.to_str().and_then(version);
    let release = release.unwrap_or_else(|| panic!("RINGTIDE_TEST_KERNEL={name:?}: such as 6.0"));
    RingFeature::ALL
        .into_iter()
        .filter(|feature| version(feature.since()) <= Some(release))
        .collect()
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
