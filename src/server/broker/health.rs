//! The broker's state, for other threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::server::sandbox::BrokerState;

/// The last known state of the broker. Clones share it.
#[derive(Clone, Debug)]
pub struct BrokerHealth(Arc<AtomicU8>);

impl BrokerHealth {
    /// The state of a broker that answers.
    pub(super) fn up() -> Self {
        Self(Arc::new(AtomicU8::new(code(BrokerState::Up))))
    }

    /// The state, never [`BrokerState::None`].
    pub fn state(&self) -> BrokerState {
        match self.0.load(Ordering::Relaxed) {
            ENDED => BrokerState::Ended,
            SILENT => BrokerState::Silent,
            _ => BrokerState::Up,
        }
    }

    /// Sets the state and returns the one before.
    pub(super) fn set(&self, state: BrokerState) -> BrokerState {
        let before = self.state();
        self.0.store(code(state), Ordering::Relaxed);
        before
    }
}

fn code(state: BrokerState) -> u8 {
    match state {
        BrokerState::None | BrokerState::Up => UP,
        BrokerState::Silent => SILENT,
        BrokerState::Ended => ENDED,
    }
}

const UP: u8 = 0;
const SILENT: u8 = 1;
const ENDED: u8 = 2;
