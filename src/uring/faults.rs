//! Operations that tests want refused: the kernel gets one that does nothing in their place, and
//! its completion says what the refused one would have.

use io_uring::squeue::Entry;
use io_uring::{cqueue, opcode};

use super::token::Token;
use crate::io::fault_injection::{Operation, POSSIBLE, refusal};

/// What to submit instead of `entry`, if it is to be refused.
#[inline]
pub(super) fn refused(entry: &Entry) -> Option<Entry> {
    if !POSSIBLE {
        return None;
    }
    let user_data = entry.get_user_data();
    let operation = match Token::decode(user_data)? {
        Token::Receive { .. } => Operation::Receive,
        Token::Send(_) => Operation::Send,
        Token::Wake => Operation::Wake,
        Token::Cancel => Operation::Cancel,
    };
    let errno = refusal(operation)?;
    Some(opcode::Nop::new().build().user_data(user_data | (errno as u64) << ERRNO_SHIFT))
}

/// What a completion belongs to, and its result.
#[inline]
pub(super) fn completion_result(completion: &cqueue::Entry) -> (u64, i32) {
    let (user_data, result) = (completion.user_data(), completion.result());
    match ((user_data & ERRNO) >> ERRNO_SHIFT) as i32 {
        errno if POSSIBLE && errno != 0 => (user_data & !ERRNO, -errno),
        _ => (user_data, result),
    }
}

/// Where the error number is: in bits of the index that no token uses.
const ERRNO_SHIFT: u32 = 16;
const ERRNO: u64 = 0xffff << ERRNO_SHIFT;
