//! The filter of a packet socket, which passes the frames that any rule wants (packet(7),
//! `SO_ATTACH_FILTER` in socket(7)).
//!
//! The kernel runs it before a frame is queued, so that what no rule wants costs no wake-up. It
//! sees a frame from its Ethernet header on, with the VLAN tag already taken off and kept beside
//! it. In a fanout group that defragments, whole IPv4 datagrams get here, never their fragments
//! (packet(7), `PACKET_FANOUT_FLAG_DEFRAG`); IPv6 fragments come as they are.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;

use super::bpf::{
    BpfProgram, JEQ, JGE, JSET, JUMP, LD_BYTE, LD_HALF, LD_HALF_AT_X, LD_WORD, LDX_IP_HEADER,
    RET_K, jump, op,
};

/// A destination that some rule takes datagrams for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// A group or a host.
    pub address: IpAddr,
    /// The UDP port.
    pub port: u16,
}

/// Programs that pass what is wanted, the most exact first. Each passes all that the one before
/// it passes; the later ones are for kernels that refuse the length of the earlier.
#[derive(Clone, Debug)]
pub struct FrameFilter {
    programs: Vec<BpfProgram>,
}

impl FrameFilter {
    /// A filter that passes nothing, on any socket.
    pub fn nothing() -> Self {
        compile(&[])
    }

    /// The programs, the most exact first; at least one.
    pub fn programs(&self) -> &[BpfProgram] {
        &self.programs
    }

    /// Attaches the most exact program that the kernel has memory for, in one step: no frame
    /// passes unfiltered in between.
    pub(super) fn attach(&self, socket: &impl AsRawFd) -> io::Result<()> {
        let mut result = Ok(());
        for (coarser, program) in self.programs.iter().enumerate() {
            result = program.attach(socket, libc::SO_ATTACH_FILTER);
            match &result {
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
                Ok(()) if coarser > 0 => {
                    tracing::warn!(
                        ?program,
                        "no memory for a better packet filter; this one wakes up for frames that \
                         no rule wants: raise the sysctl net.core.optmem_max"
                    );
                    break;
                }
                _ => break,
            }
        }
        result
    }
}

/// Makes the filter for what the rules of one interface want.
///
/// It passes untagged frames with UDP over IPv4, or UDP or a fragment directly over IPv6, to a
/// wanted address and port. Fragments pass by address alone, as only the first has a port: user
/// space puts them together and looks then. With more rules than fit into a program it goes
/// by address, with more addresses than fit by protocol.
pub fn compile(wanted: &[Wanted]) -> FrameFilter {
    let mut rows: (Vec<Row>, Vec<Row>) = (Vec::new(), Vec::new());
    for Wanted { address, port } in wanted {
        match address {
            IpAddr::V4(address) => rows.0.push(vec![address.to_bits(), u32::from(*port)]),
            IpAddr::V6(address) => rows.1.push(row_v6(*address, *port)),
        }
    }
    for rows in [&mut rows.0, &mut rows.1] {
        rows.sort_unstable();
        rows.dedup();
    }
    let programs: Vec<_> = [(2, 5), (1, 4), (0, 0)]
        .into_iter()
        .filter_map(|(v4, v6)| {
            let ipv4 = tree(&rows.0, &columns_v4()[..v4], 0);
            let ipv6 = tree(&rows.1, &columns_v6()[..v6], 0);
            BpfProgram::new(program(ipv4, ipv6))
        })
        .collect();
    assert!(!programs.is_empty(), "the last depth is a handful of instructions");
    FrameFilter { programs }
}

/// The values that the columns of one wanted destination must have.
type Row = Vec<u32>;
type Code = Vec<libc::sock_filter>;

/// The words of the address from the last, which distinguishes groups best, then the port.
fn row_v6(address: Ipv6Addr, port: u16) -> Row {
    let words = address.octets();
    let words = words.as_chunks::<4>().0.iter().rev().map(|word| u32::from_be_bytes(*word));
    words.chain([u32::from(port)]).collect()
}

/// What loads each value of an IPv4 row into the accumulator.
fn columns_v4() -> [Code; 2] {
    let port = vec![
        op(LD_HALF, IPV4 + 6),
        jump(JSET, IPV4_FRAGMENT, 0, 1),
        op(RET_K, WHOLE),
        op(LDX_IP_HEADER, IPV4),
        op(LD_HALF_AT_X, IPV4 + UDP_DESTINATION),
    ];
    [vec![op(LD_WORD, IPV4 + 16)], port]
}

/// What loads each value of an IPv6 row into the accumulator.
fn columns_v6() -> [Code; 5] {
    let port = vec![
        op(LD_BYTE, IPV6 + 6),
        jump(JEQ, IPV6_FRAGMENT, 0, 1),
        op(RET_K, WHOLE),
        op(LD_HALF, IPV6 + 40 + UDP_DESTINATION),
    ];
    let word = |index: u32| vec![op(LD_WORD, IPV6 + 24 + 4 * index)];
    [word(3), word(2), word(1), word(0), port]
}

/// A program from the branches for each family, which end in a return on every path.
fn program(ipv4: Code, ipv6: Code) -> Code {
    let ipv4 =
        [vec![op(LD_BYTE, IPV4 + 9), jump(JEQ, UDP, 1, 0), op(RET_K, NOTHING)], ipv4].concat();
    let ipv6 = [
        vec![
            op(LD_BYTE, IPV6 + 6),
            jump(JEQ, UDP, 2, 0),
            jump(JEQ, IPV6_FRAGMENT, 1, 0),
            op(RET_K, NOTHING),
        ],
        ipv6,
    ]
    .concat();
    let mut code = vec![
        op(LD_WORD, VLAN_TAG_PRESENT),
        jump(JEQ, 0, 1, 0),
        op(RET_K, NOTHING),
        op(LD_HALF, ETHER_TYPE),
        jump(JEQ, ETHER_TYPE_IPV4, 3, 0),
        jump(JEQ, ETHER_TYPE_IPV6, 1, 0),
        op(RET_K, NOTHING),
        op(JUMP, ipv4.len() as u32),
    ];
    code.extend(ipv4);
    code.extend(ipv6);
    code
}

/// The branch that passes what agrees with one of the sorted `rows` in all `columns`. It ends in
/// a return on every path.
fn tree(rows: &[Row], columns: &[Code], depth: usize) -> Code {
    match columns.split_first() {
        _ if rows.is_empty() => vec![op(RET_K, NOTHING)],
        None => vec![op(RET_K, WHOLE)],
        Some((load, rest)) => {
            let groups: Vec<_> = rows
                .chunk_by(|one, other| one[depth] == other[depth])
                .map(|group| (group[0][depth], tree(group, rest, depth + 1)))
                .collect();
            [load.clone(), search(&groups)].concat()
        }
    }
}

/// Finds the accumulator among the sorted keys of `groups` and goes on with that group's code.
fn search(groups: &[(u32, Code)]) -> Code {
    if let [(key, code)] = groups {
        return [vec![jump(JEQ, *key, 1, 0), op(RET_K, NOTHING)], code.clone()].concat();
    }
    let (below, above) = groups.split_at(groups.len() / 2);
    let (pivot, below, above) = (above[0].0, search(below), search(above));
    let skip = match u8::try_from(below.len()) {
        Ok(near) => vec![jump(JGE, pivot, near, 0)],
        Err(_) => vec![jump(JGE, pivot, 0, 1), op(JUMP, below.len() as u32)],
    };
    [skip, below, above].concat()
}

/// What a program returns: how many bytes of the frame to keep.
const WHOLE: u32 = u32::MAX;
const NOTHING: u32 = 0;

/// Loads from here read the metadata beside the frame (linux/filter.h).
const VLAN_TAG_PRESENT: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG_PRESENT) as u32;

/// Offsets from the Ethernet header.
const ETHER_TYPE: u32 = 12;
const IPV4: u32 = 14;
const IPV6: u32 = 14;
const UDP_DESTINATION: u32 = 2;

const ETHER_TYPE_IPV4: u32 = libc::ETH_P_IP as u32;
const ETHER_TYPE_IPV6: u32 = libc::ETH_P_IPV6 as u32;
const UDP: u32 = libc::IPPROTO_UDP as u32;
const IPV6_FRAGMENT: u32 = libc::IPPROTO_FRAGMENT as u32;

/// More fragments to come, or an offset other than 0 (RFC 791, section 3.1).
const IPV4_FRAGMENT: u32 = 0x3fff;

#[cfg(test)]
mod tests;
