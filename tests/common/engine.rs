//! Which engine the tests run on.

use ringtide::engine::Engine;

/// The engine of every worker that a test starts.
pub fn engine() -> Engine {
    Engine::IoUring
}
