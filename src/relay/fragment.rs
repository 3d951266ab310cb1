//! A fragment of an IPv6 packet (RFC 8200, 4.5) as a frame shows it.
//!
//! Packet sockets get IPv4 datagrams whole; IPv6 fragments come as they are.

use std::ops::Range;

use super::headers::{extension_bytes, fragment_header};
use super::stats::RelayDrop;
use crate::io::{FrameMeta, Segmentation, SocketId};
use crate::wire::ethernet::Ethertype;
use crate::wire::{ethernet, ipv6, udp};

/// The longest packet that fragments can add up to: what its length field can say.
pub const PACKET_BYTES_MAX: usize = 65_535;

/// Every fragment but the last is a multiple of this long.
const FRAGMENT_UNIT_BYTES: usize = 8;

/// What the fragments of one packet have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketId {
    /// Where they came in.
    pub socket: SocketId,
    /// Source and destination as they stand in the header.
    pub addresses: [u8; 32],
    /// What the sender gave them.
    pub identification: u32,
}

/// A part of a packet, never all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The packet it belongs to.
    pub id: PacketId,
    /// What the packet's cut part starts with; the first fragment's word counts.
    pub next_header: u8,
    /// Where its bytes belong in the cut part.
    pub offset: usize,
    /// Whether others follow.
    pub more: bool,
    /// Hop limit.
    pub ttl: u8,
    /// Traffic class.
    pub tos: u8,
    /// Where its bytes lie in the frame; at least one.
    pub bytes: Range<usize>,
}

impl Fragment {
    /// Reads a frame that [`Datagram::parse`](crate::relay::Datagram::parse) called a fragment.
    ///
    /// # Errors
    ///
    /// [`RelayDrop::Malformed`] when it is empty, reaches past [`PACKET_BYTES_MAX`], or is not
    /// the last and no multiple of eight long (RFC 8200, 4.5); [`RelayDrop::Fragment`] when it is
    /// none over IPv6; otherwise as for datagrams.
    pub fn parse(socket: SocketId, frame: &[u8], meta: &FrameMeta) -> Result<Self, RelayDrop> {
        let (ethernet, bytes) = ethernet::Header::parse(frame)?;
        let is_whole = meta.segmentation == Segmentation::Whole;
        if ethernet.ethertype != Ethertype::Ipv6 || !is_whole {
            return Err(RelayDrop::Fragment);
        }
        let (ip, payload) = ipv6::Header::parse(bytes, false)?;
        let (header, taken) = fragment_header(ip.next_header, payload)?;
        let offset = usize::from(header.offset);
        let length = payload.len() - taken;
        let cut_right = !header.more || length % FRAGMENT_UNIT_BYTES == 0;
        if length == 0 || offset + length > PACKET_BYTES_MAX || !cut_right {
            return Err(RelayDrop::Malformed);
        }
        let start = ethernet::HEADER_BYTES + ipv6::HEADER_BYTES + taken;
        let id =
            PacketId { socket, addresses: ip.addresses(), identification: header.identification };
        Ok(Self {
            id,
            next_header: header.next_header,
            offset,
            more: header.more,
            ttl: ip.hop_limit,
            tos: ip.traffic_class,
            bytes: start..start + length,
        })
    }
}

/// Finds the UDP header in the bytes of a packet's first fragment, which must hold all headers
/// (RFC 7112), and how many bytes stand before it.
///
/// # Errors
///
/// [`RelayDrop::NotUdp`] for another protocol, [`RelayDrop::Malformed`] when headers are missing,
/// [`RelayDrop::Fragment`] for a fragment in a fragment.
pub fn udp_in(next_header: u8, bytes: &[u8]) -> Result<(udp::Header, usize), RelayDrop> {
    let before = extension_bytes(next_header, bytes)?;
    let (udp, _) = udp::Header::parse(&bytes[before..])?;
    Ok((udp, before))
}
