//! What a completion belongs to: `user_data` as an enum, never a pointer.
//!
//! From the highest bit: 8 bits of operation, 24 bits of generation, 32 bits of index. The
//! generation tells an operation on what stands under an index now from one on what stood there
//! before.

/// The operation behind a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A multishot receive on a socket.
    Receive {
        /// The index of the socket.
        socket: u16,
        /// Which of the sockets that have had this index.
        generation: Generation,
    },
    /// A send from this transmit slot.
    Send(u16),
    /// The read that other threads wake the worker through.
    Wake,
    /// The cancellation of another operation.
    Cancel,
}

/// Counts what has stood under one index, modulo 2^24.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Generation(u32);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub(super) const fn next(self) -> Self {
        Self((self.0 + 1) & GENERATION_MAX)
    }
}

impl Token {
    pub(super) const fn encode(self) -> u64 {
        match self {
            Self::Receive { socket, generation } => join(RECEIVE, generation, socket),
            Self::Send(slot) => join(SEND, Generation(0), slot),
            Self::Wake => join(WAKE, Generation(0), 0),
            Self::Cancel => join(CANCEL, Generation(0), 0),
        }
    }

    /// `None` for a value that no token encodes to: the kernel or we made a mistake.
    pub(super) const fn decode(user_data: u64) -> Option<Self> {
        let generation = Generation((user_data >> GENERATION_SHIFT) as u32 & GENERATION_MAX);
        let index = user_data as u32;
        if index > u16::MAX as u32 {
            return None;
        }
        match user_data >> OPERATION_SHIFT {
            RECEIVE => Some(Self::Receive { socket: index as u16, generation }),
            SEND => Some(Self::Send(index as u16)),
            WAKE => Some(Self::Wake),
            CANCEL => Some(Self::Cancel),
            _ => None,
        }
    }
}

const fn join(operation: u64, generation: Generation, index: u16) -> u64 {
    operation << OPERATION_SHIFT | (generation.0 as u64) << GENERATION_SHIFT | index as u64
}

const OPERATION_SHIFT: u32 = 56;
const GENERATION_SHIFT: u32 = 32;
const GENERATION_MAX: u32 = (1 << 24) - 1;

// Zero stays unused, so that a forgotten `user_data` is noticed.
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const WAKE: u64 = 3;
const CANCEL: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Generation = Generation(GENERATION_MAX);

    #[test]
    fn tokens_survive_the_trip() {
        for token in [
            Token::Receive { socket: 0, generation: Generation(0) },
            Token::Receive { socket: 7, generation: Generation(1) },
            Token::Receive { socket: u16::MAX, generation: LAST },
            Token::Send(0),
            Token::Send(u16::MAX),
            Token::Wake,
            Token::Cancel,
        ] {
            assert_eq!(Token::decode(token.encode()), Some(token));
        }
        assert_eq!(Token::decode(0), None);
        assert_eq!(Token::decode(u64::MAX), None);
    }

    #[test]
    fn each_part_has_its_place() {
        let token = Token::Receive { socket: 0x1234, generation: Generation(0x56_789a) };
        assert_eq!(token.encode(), 0x0156_789a_0000_1234);
        assert_eq!(Token::Send(0x1234).encode(), 0x0200_0000_0000_1234);
        // No index is longer than 16 bits so far.
        assert_eq!(Token::decode(0x0200_0000_0001_0000), None);
    }

    #[test]
    fn generations_differ_from_the_next_and_wrap() {
        let first = Generation::default();
        assert_ne!(first, first.next());
        assert_eq!(LAST.next(), first);
    }
}
