//! Which engine runs the loops.

use std::str::FromStr;

/// What drives a worker's loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// One io_uring per worker.
    IoUring,
    /// Readiness and batches of plain system calls.
    Epoll,
}

impl Engine {
    /// Every engine.
    pub const ALL: [Self; 2] = [Self::IoUring, Self::Epoll];

    /// What settings, logs and figures call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Which engine is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// io_uring where it is available, epoll elsewhere.
    #[default]
    Auto,
    /// This one or none.
    Only(Engine),
}

impl EngineChoice {
    /// The choices by the names that file and flags use.
    pub const NAMES: [(&str, Self); 3] = [
        ("auto", Self::Auto),
        (Engine::IoUring.name(), Self::Only(Engine::IoUring)),
        (Engine::Epoll.name(), Self::Only(Engine::Epoll)),
    ];
}

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::NAMES.iter().find(|(name, _)| *name == text);
        named.map(|(_, choice)| *choice).ok_or_else(|| {
            let names = Self::NAMES.map(|(name, _)| name);
            format!("it is one of {}", names.join(", "))
        })
    }
}
