//! A classic BPF program (`SO_ATTACH_REUSEPORT_CBPF` in socket(7)) that hands each request to the
//! worker that owns its torrent.
//!
//! Attached to a `SO_REUSEPORT` group, the program sees the UDP payload from its first byte and
//! returns the index of the socket to deliver to (socket(7), `SO_ATTACH_REUSEPORT_CBPF`). It
//! computes the same function of the info hash as the shards do in user space, from secret
//! constants, so nobody outside can aim requests at one worker. What is neither an announce nor
//! a scrape is spread by its transaction ID.

use std::io;
use std::os::fd::AsRawFd;

use super::bpf::{
    ADD_X, BpfProgram, JEQ, JGE, LD_LEN, LD_WORD, LDX_IMM, MOD, MUL, RET_A, RET_K, RSH, TAX, XOR_X,
    jump, op,
};
use crate::wire::bep15::{action, request_field};

/// The secret constants of the hash that steers. All arithmetic is modulo 2^32.
#[derive(Clone, Copy, Debug)]
pub struct SteeringConstants {
    /// What the sum starts with.
    pub addend: u32,
    /// One factor for each of the five words of an info hash, and one for the final mix.
    pub multipliers: [u32; 6],
}

/// A program for a group of sockets, ready to be attached.
#[derive(Clone, Debug)]
pub struct SteeringProgram(BpfProgram);

impl SteeringProgram {
    /// Builds the program for `workers` sockets.
    ///
    /// # Panics
    /// When `workers` is zero.
    pub fn new(constants: SteeringConstants, workers: u32) -> Self {
        assert!(workers > 0, "a group has at least one socket");
        let mut code = vec![
            op(LD_LEN, 0),
            // Shorter than a header and one hash: neither an announce nor a scrape.
            jump(JGE, request_field::INFO_HASH.end as u32, 0, SHORT_AT - 2),
            op(LD_WORD, request_field::ACTION.start as u32),
            jump(JEQ, action::ANNOUNCE, 1, 0),
            jump(JEQ, action::SCRAPE, 0, SHORT_AT - 5),
        ];
        code.extend(hash(constants, workers));
        assert_eq!(code.len(), usize::from(SHORT_AT));
        code.extend([
            op(LD_LEN, 0),
            jump(JGE, request_field::TRANSACTION.end as u32, 1, 0),
            op(RET_K, 0),
            op(LD_WORD, request_field::TRANSACTION.start as u32),
            op(MUL, constants.multipliers[0]),
        ]);
        // Some clients count transactions in the first bytes.
        code.extend(fold());
        code.extend(choose(constants, workers));
        Self(BpfProgram::new(code).expect("some 60 instructions are not too many"))
    }

    /// Attaches the program to the group that `socket` belongs to.
    pub fn attach(&self, socket: &impl AsRawFd) -> io::Result<()> {
        self.0.attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF)
    }
}

/// The instructions that hash the info hash at its offset and return the owner's index.
fn hash(constants: SteeringConstants, workers: u32) -> Vec<libc::sock_filter> {
    let mut code = vec![op(LDX_IMM, constants.addend)];
    for (word, multiplier) in constants.multipliers[..5].iter().enumerate() {
        // A = (word + X) * multiplier, folded; X = A
        code.push(op(LD_WORD, (request_field::INFO_HASH.start + 4 * word) as u32));
        code.push(op(ADD_X, 0));
        code.push(op(MUL, *multiplier));
        code.extend(fold());
        code.push(op(TAX, 0));
    }
    code.extend(choose(constants, workers));
    code
}

/// The instructions that fold the high half of A into the low one.
fn fold() -> [libc::sock_filter; 3] {
    [op(TAX, 0), op(RSH, 16), op(XOR_X, 0)]
}

/// The instructions that return the index of a socket for what is in A.
fn choose(constants: SteeringConstants, workers: u32) -> [libc::sock_filter; 6] {
    let [move_to_x, shift, xor] = fold();
    let multiply = op(MUL, constants.multipliers[5]);
    [multiply, move_to_x, shift, xor, op(MOD, workers), op(RET_A, 0)]
}

/// Where the branch for packets without a hash begins: after 5 instructions that decide and 42
/// that hash.
const SHORT_AT: u8 = 5 + 42;
