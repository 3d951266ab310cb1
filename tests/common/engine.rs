//! Which engine the tests run on.
#![allow(unreachable_pub)]

use ringtide::engine::Engine;

/// The engine of everything that a test starts, whatever it starts it with: the one that
/// `RINGTIDE_TEST_ENGINE` names, or io_uring.
pub fn engine() -> Engine {
    let Some(name) = std::env::var_os("RINGTIDE_TEST_ENGINE") else { return Engine::IoUring };
    let engine = Engine::ALL.into_iter().find(|engine| name == engine.name());
    engine.unwrap_or_else(|| panic!("RINGTIDE_TEST_ENGINE={name:?}: io_uring or epoll"))
}
