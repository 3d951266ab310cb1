//! Classic BPF programs: instructions, and attaching them (socket(7), `SO_ATTACH_FILTER`).

use std::io;
use std::os::fd::AsRawFd;

/// A program ready to be attached.
#[derive(Clone, PartialEq, Eq)]
pub struct BpfProgram {
    code: Vec<libc::sock_filter>,
}

impl BpfProgram {
    /// A program of these instructions; `None` when they are more than the kernel takes.
    pub(super) fn new(code: Vec<libc::sock_filter>) -> Option<Self> {
        (code.len() <= INSTRUCTIONS_MAX).then_some(Self { code })
    }

    /// Its instructions.
    pub fn code(&self) -> &[libc::sock_filter] {
        &self.code
    }

    /// Attaches the program to a socket as the `SOL_SOCKET` option `name`, in the place of the
    /// one that is there, in one step.
    pub(super) fn attach(&self, socket: &impl AsRawFd, name: i32) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: self.code.len() as libc::c_ushort,
            filter: self.code.as_ptr().cast_mut(),
        };
        // SAFETY: the descriptor is open while `socket` is borrowed; the kernel copies the
        // program, which describes `code` exactly, before the call returns and never writes it.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                name,
                (&raw const program).cast(),
                size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl std::fmt::Debug for BpfProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BpfProgram({} instructions)", self.code.len())
    }
}

pub(super) const fn op(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

pub(super) const fn jump(code: u32, k: u32, if_true: u8, if_false: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: if_true, jf: if_false, k }
}

/// `BPF_MAXINSNS` of linux/bpf_common.h.
pub(super) const INSTRUCTIONS_MAX: usize = 4096;

pub(super) const LD_LEN: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_LEN;
pub(super) const LD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
pub(super) const LD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
pub(super) const LD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
pub(super) const LD_HALF_AT_X: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
pub(super) const LDX_IMM: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM;
/// X becomes four times the low half of a byte: the length of an IPv4 header.
pub(super) const LDX_IP_HEADER: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
pub(super) const TAX: u32 = libc::BPF_MISC | libc::BPF_TAX;
pub(super) const ADD_X: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X;
pub(super) const XOR_X: u32 = libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X;
pub(super) const MUL: u32 = libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K;
pub(super) const RSH: u32 = libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K;
pub(super) const MOD: u32 = libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K;
pub(super) const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
pub(super) const JGE: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
pub(super) const JEQ: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
pub(super) const JSET: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
pub(super) const RET_A: u32 = libc::BPF_RET | libc::BPF_A;
pub(super) const RET_K: u32 = libc::BPF_RET | libc::BPF_K;
