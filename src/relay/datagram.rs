//! A frame from a packet socket, read down to the UDP datagram or datagrams in it.
//!
//! Packet sockets show frames before the stack has looked at them: nothing is verified yet,
//! fragments may come one by one, and a super-packet is many datagrams under one set of headers.

use std::net::SocketAddr;
use std::ops::Range;

use super::stats::RelayDrop;
use crate::io::PacketAuxData;
use crate::wire::checksum::udp_holds;
use crate::wire::ethernet::{ETHERNET_HEADER_BYTES, EthernetHeader, Ethertype};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::{IPV6_HEADER_BYTES, Ipv6Header};
use crate::wire::udp::{PROTOCOL_UDP, UDP_HEADER_BYTES, UdpHeader};
use crate::wire::virtio::{Segmentation, VIRTIO_HEADER_BYTES, VirtioHeader};

/// A UDP datagram, or many in a row that share everything but their payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it. The scope of a link-local IPv6 address is not in the frame, and left 0.
    pub source: SocketAddr,
    /// Where it was sent to; the same holds for its scope.
    pub destination: SocketAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Where the payload lies in the bytes that were parsed.
    pub payload: Range<usize>,
    /// With a size, the payload is that of several datagrams, each of this size but the last,
    /// which may be shorter. Without, it is one datagram.
    pub segment_bytes: Option<u16>,
}

impl Datagram {
    /// Reads a frame behind its `virtio_net_hdr`, as [`crate::io::Frame`] has both.
    ///
    /// Checksums are verified unless the kernel or the hardware vouches for them, in the virtio
    /// header or in `auxiliary`. The IPv4 header's costs little and is verified regardless of
    /// what was said, except in a packet of this machine. Bytes past the IP packet (padding) and
    /// past the UDP datagram (RFC 9868 options) are left out, as every receiver does.
    ///
    /// # Errors
    ///
    /// [`RelayDrop::Looped`], [`RelayDrop::Tagged`], [`RelayDrop::NotUdp`],
    /// [`RelayDrop::Fragment`], [`RelayDrop::Corrupt`], or [`RelayDrop::Malformed`], which a
    /// truncated frame is as well.
    #[inline]
    pub fn parse(
        frame: &[u8],
        auxiliary: Option<PacketAuxData>,
        outgoing: bool,
        truncated: bool,
    ) -> Result<Self, RelayDrop> {
        if outgoing {
            return Err(RelayDrop::Looped);
        }
        if truncated {
            return Err(RelayDrop::Malformed);
        }
        let auxiliary = auxiliary.unwrap_or_default();
        let (virtio, bytes) = VirtioHeader::split(frame)?;
        let (ethernet, bytes) = EthernetHeader::split(bytes)?;
        if auxiliary.vlan {
            return Err(RelayDrop::Tagged);
        }
        match ethernet.ethertype() {
            Ethertype::Ipv4 => Self::parse_ipv4(bytes, &Offloads::new(&virtio, auxiliary)?),
            Ethertype::Ipv6 => Self::parse_ipv6(bytes, &Offloads::new(&virtio, auxiliary)?),
            Ethertype::Tagged => Err(RelayDrop::Tagged),
            Ethertype::Other => Err(RelayDrop::NotUdp),
        }
    }

    /// How many datagrams there are: at least 1, as an empty one is one too.
    #[inline]
    pub fn count(&self) -> usize {
        count_datagrams(self.payload.len(), self.segment_bytes)
    }

    #[inline]
    fn parse_ipv4(bytes: &[u8], offloads: &Offloads) -> Result<Self, RelayDrop> {
        let (ip, payload) = Ipv4Header::split(bytes, offloads.segment_bytes.is_some())?;
        if ip.protocol() != PROTOCOL_UDP {
            return Err(RelayDrop::NotUdp);
        }
        if offloads.checksum_start.is_none() && !ip.checksum_holds() {
            return Err(RelayDrop::Corrupt);
        }
        if ip.is_fragment() {
            return Err(RelayDrop::Fragment);
        }
        let at = ETHERNET_HEADER_BYTES + ip.header_bytes();
        let (udp, payload) = offloads.open(payload, at, &ip.addresses())?;
        Ok(Self {
            source: SocketAddr::new(ip.source().into(), udp.source_port()),
            destination: SocketAddr::new(ip.destination().into(), udp.destination_port()),
            ttl: ip.ttl(),
            tos: ip.tos(),
            segment_bytes: offloads.segment_bytes_of(payload.len()),
            payload,
        })
    }

    #[inline]
    fn parse_ipv6(bytes: &[u8], offloads: &Offloads) -> Result<Self, RelayDrop> {
        let (ip, payload) = Ipv6Header::split(bytes, offloads.segment_bytes.is_some())?;
        let extension_bytes = ip.extension_bytes(payload)?;
        let at = ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES + extension_bytes;
        let (udp, payload) = offloads.open(&payload[extension_bytes..], at, &ip.addresses())?;
        if udp.without_checksum() {
            return Err(RelayDrop::Corrupt);
        }
        Ok(Self {
            source: SocketAddr::new(ip.source().into(), udp.source_port()),
            destination: SocketAddr::new(ip.destination().into(), udp.destination_port()),
            ttl: ip.hop_limit(),
            tos: ip.traffic_class(),
            segment_bytes: offloads.segment_bytes_of(payload.len()),
            payload,
        })
    }
}

/// How many datagrams `payload_bytes` hold when cut at `segment_bytes`: at least 1, as an empty
/// datagram is one too.
#[inline]
pub fn count_datagrams(payload_bytes: usize, segment_bytes: Option<u16>) -> usize {
    match segment_bytes {
        Some(size) if size > 0 => payload_bytes.div_ceil(usize::from(size)).max(1),
        _ => 1,
    }
}

/// What the kernel said about a frame.
struct Offloads {
    /// The size of the datagrams in a super-packet.
    segment_bytes: Option<u16>,
    /// Where the transport header starts whose checksum is not filled in yet.
    checksum_start: Option<usize>,
    /// Whether the UDP checksum need not be verified.
    vouched: bool,
}

impl Offloads {
    #[inline]
    fn new(virtio: &VirtioHeader<'_>, auxiliary: PacketAuxData) -> Result<Self, RelayDrop> {
        let segment_bytes = match virtio.segmentation() {
            Segmentation::Whole => None,
            Segmentation::Datagrams(0) => return Err(RelayDrop::Malformed),
            Segmentation::Datagrams(size) => Some(size),
            Segmentation::Other => return Err(RelayDrop::NotUdp),
        };
        let checksum_start = virtio.checksum_start();
        let vouched = checksum_start.is_some()
            | virtio.checksum_valid()
            | auxiliary.checksum_pending
            | auxiliary.checksum_valid;
        Ok(Self { segment_bytes, checksum_start, vouched })
    }

    /// Takes the UDP header off `transport`, which starts `at` bytes into the frame, and says
    /// where in the parsed bytes the payload lies. A checksum of 0 passes: it means none.
    #[inline]
    fn open<'a, const N: usize>(
        &self,
        transport: &'a [u8],
        at: usize,
        addresses: &[u8; N],
    ) -> Result<(UdpHeader<'a>, Range<usize>), RelayDrop> {
        let (udp, _) = UdpHeader::split(transport)?;
        let udp_bytes = self.udp_bytes(udp.length(), transport.len())?;
        // A tunnel's packet made on this machine: it is the inner checksum that is missing, and
        // once relayed nobody would fill it in.
        if self.checksum_start.is_some_and(|start| start != at) {
            return Err(RelayDrop::Corrupt);
        }
        if !self.vouched && !udp.without_checksum() {
            // Over the first of many datagrams, a checksum says nothing about the others.
            let covered = udp.length() == udp_bytes;
            if !covered || !udp_holds(addresses, &transport[..udp_bytes]) {
                return Err(RelayDrop::Corrupt);
            }
        }
        let start = VIRTIO_HEADER_BYTES + at;
        Ok((udp, start + UDP_HEADER_BYTES..start + udp_bytes))
    }

    /// How many of the `available` bytes belong to UDP, its header included, when the header
    /// says `length`.
    ///
    /// In super-packets Linux writes the length of the whole, for those sent with `UDP_SEGMENT`
    /// and for both kinds of GRO. The first datagram's alone is accepted too, and so is 0, which
    /// stands for more than the field can hold.
    #[inline]
    fn udp_bytes(&self, length: usize, available: usize) -> Result<usize, RelayDrop> {
        let Some(size) = self.segment_bytes else {
            let fits = (UDP_HEADER_BYTES..=available).contains(&length);
            return if fits { Ok(length) } else { Err(RelayDrop::Malformed) };
        };
        let first = UDP_HEADER_BYTES + usize::from(size);
        let whole = length == 0 || length == available || (length == first && first < available);
        if whole { Ok(available) } else { Err(RelayDrop::Malformed) }
    }

    /// The size to cut a payload at; none when it is one datagram.
    #[inline]
    fn segment_bytes_of(&self, payload_bytes: usize) -> Option<u16> {
        self.segment_bytes.filter(|size| payload_bytes > usize::from(*size))
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod properties;
