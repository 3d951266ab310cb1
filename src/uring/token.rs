//! What a completion belongs to: `user_data` as an enum, never a pointer.

/// The operation behind a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A multishot receive on the socket of this index.
    Receive(u16),
    /// A send from this transmit slot.
    Send(u16),
    /// The read that other threads wake the worker through.
    Wake,
    /// The cancellation of another operation.
    Cancel,
}

impl Token {
    pub(super) const fn encode(self) -> u64 {
        match self {
            Self::Receive(socket) => RECEIVE << KIND_SHIFT | socket as u64,
            Self::Send(slot) => SEND << KIND_SHIFT | slot as u64,
            Self::Wake => WAKE << KIND_SHIFT,
            Self::Cancel => CANCEL << KIND_SHIFT,
        }
    }

    /// `None` for a value that no token encodes to: the kernel or we made a mistake.
    pub(super) const fn decode(user_data: u64) -> Option<Self> {
        let index = user_data as u16;
        match user_data >> KIND_SHIFT {
            RECEIVE => Some(Self::Receive(index)),
            SEND => Some(Self::Send(index)),
            WAKE => Some(Self::Wake),
            CANCEL => Some(Self::Cancel),
            _ => None,
        }
    }
}

const KIND_SHIFT: u32 = 16;
// Zero stays unused, so that a forgotten `user_data` is noticed.
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const WAKE: u64 = 3;
const CANCEL: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_trip() {
        for token in [
            Token::Receive(0),
            Token::Receive(u16::MAX),
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
}
