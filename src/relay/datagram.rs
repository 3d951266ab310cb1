//! A frame from a packet socket, read down to the UDP datagram or datagrams in it.
//!
//! Packet sockets show frames before the stack has looked at them: nothing is verified yet,
//! fragments may come one by one, and a super-packet is many datagrams under one set of headers.

use std::net::SocketAddr;
use std::ops::Range;

use super::headers::extension_bytes;
use super::stats::RelayDrop;
use crate::io::{FrameMeta, Segmentation};
use crate::wire::ethernet::Ethertype;
use crate::wire::{ethernet, ipv4, ipv6, udp};

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
    /// Where the payload lies in the frame.
    pub payload: Range<usize>,
    /// With a size, the payload is that of several datagrams, each of this size but the last,
    /// which may be shorter. Without, it is one datagram.
    pub segment_bytes: Option<u16>,
}

impl Datagram {
    /// Reads a frame from its Ethernet header on.
    ///
    /// Checksums are verified unless `meta` says that the kernel or the hardware vouches for them.
    /// The IPv4 header's costs little and is verified regardless, except in a packet of this
    /// machine. Bytes past the IP packet (padding) and past the UDP datagram (RFC 9868 options)
    /// are left out, as every receiver does.
    ///
    /// # Errors
    ///
    /// [`RelayDrop::Looped`], [`RelayDrop::Tagged`], [`RelayDrop::NotUdp`],
    /// [`RelayDrop::Fragment`], [`RelayDrop::Corrupt`], or [`RelayDrop::Malformed`], which is also
    /// the reason for a truncated frame.
    #[inline]
    pub fn parse(frame: &[u8], meta: &FrameMeta) -> Result<Self, RelayDrop> {
        if meta.outgoing {
            return Err(RelayDrop::Looped);
        }
        if meta.truncated {
            return Err(RelayDrop::Malformed);
        }
        let (ethernet, bytes) = ethernet::Header::parse(frame)?;
        if meta.vlan {
            return Err(RelayDrop::Tagged);
        }
        match ethernet.ethertype {
            Ethertype::Ipv4 => Self::parse_ipv4(bytes, &Transport::new(meta)?),
            Ethertype::Ipv6 => Self::parse_ipv6(bytes, &Transport::new(meta)?),
            Ethertype::Vlan | Ethertype::ServiceVlan => Err(RelayDrop::Tagged),
            Ethertype::Other(_) => Err(RelayDrop::NotUdp),
        }
    }

    /// How many datagrams there are: at least 1, as an empty one is one too.
    #[inline]
    pub fn count(&self) -> usize {
        count_datagrams(self.payload.len(), self.segment_bytes)
    }

    #[inline]
    fn parse_ipv4(bytes: &[u8], transport: &Transport) -> Result<Self, RelayDrop> {
        let (ip, payload) = ipv4::Header::parse(bytes, transport.segment_bytes.is_some())?;
        if ip.protocol != udp::PROTOCOL {
            return Err(RelayDrop::NotUdp);
        }
        if transport.checksum_start.is_none() && !ip.checksum_holds(bytes) {
            return Err(RelayDrop::Corrupt);
        }
        if ip.is_fragment() {
            return Err(RelayDrop::Fragment);
        }
        let at = ethernet::HEADER_BYTES + ip.header_bytes();
        let (udp, payload) = transport.open(payload, at, &ip.addresses())?;
        Ok(Self {
            source: SocketAddr::new(ip.source.into(), udp.source_port),
            destination: SocketAddr::new(ip.destination.into(), udp.destination_port),
            ttl: ip.ttl,
            tos: ip.tos,
            segment_bytes: transport.segment_bytes_of(payload.len()),
            payload,
        })
    }

    #[inline]
    fn parse_ipv6(bytes: &[u8], transport: &Transport) -> Result<Self, RelayDrop> {
        let (ip, payload) = ipv6::Header::parse(bytes, transport.segment_bytes.is_some())?;
        let extension_bytes = extension_bytes(ip.next_header, payload)?;
        let at = ethernet::HEADER_BYTES + ipv6::HEADER_BYTES + extension_bytes;
        let (udp, payload) = transport.open(&payload[extension_bytes..], at, &ip.addresses())?;
        if udp.checksum == 0 {
            return Err(RelayDrop::Corrupt);
        }
        Ok(Self {
            source: SocketAddr::new(ip.source.into(), udp.source_port),
            destination: SocketAddr::new(ip.destination.into(), udp.destination_port),
            ttl: ip.hop_limit,
            tos: ip.traffic_class,
            segment_bytes: transport.segment_bytes_of(payload.len()),
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

/// What the kernel says about the UDP part of a frame.
struct Transport {
    /// The size of the datagrams in a super-packet.
    segment_bytes: Option<u16>,
    /// Where the UDP header starts if its checksum is not filled in yet.
    checksum_start: Option<u16>,
    /// Whether the UDP checksum need not be verified.
    trusted: bool,
}

impl Transport {
    #[inline]
    fn new(meta: &FrameMeta) -> Result<Self, RelayDrop> {
        let segment_bytes = match meta.segmentation {
            Segmentation::Whole => None,
            Segmentation::Datagrams(0) => return Err(RelayDrop::Malformed),
            Segmentation::Datagrams(size) => Some(size),
            Segmentation::Other => return Err(RelayDrop::NotUdp),
        };
        let checksum_start = meta.checksum_start;
        let trusted = checksum_start.is_some() | meta.checksum_trusted;
        Ok(Self { segment_bytes, checksum_start, trusted })
    }

    /// Takes the UDP header off `bytes`, which start `at` bytes into the frame, and returns it
    /// with where in the frame the payload lies. A checksum of 0 passes: it means none.
    #[inline]
    fn open<const N: usize>(
        &self,
        bytes: &[u8],
        at: usize,
        addresses: &[u8; N],
    ) -> Result<(udp::Header, Range<usize>), RelayDrop> {
        let (udp, _) = udp::Header::parse(bytes)?;
        let length = usize::from(udp.length);
        let udp_bytes = self.udp_bytes(length, bytes.len())?;
        // A tunnel's packet made on this machine: it is the inner checksum that is missing, and
        // once relayed nobody would fill it in.
        if self.checksum_start.is_some_and(|start| usize::from(start) != at) {
            return Err(RelayDrop::Corrupt);
        }
        if !self.trusted && udp.checksum != 0 {
            // Over the first of many datagrams, a checksum says nothing about the others.
            let covered = length == udp_bytes;
            if !covered || !udp::checksum_holds(addresses, &bytes[..udp_bytes]) {
                return Err(RelayDrop::Corrupt);
            }
        }
        Ok((udp, at + udp::HEADER_BYTES..at + udp_bytes))
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
            let fits = (udp::HEADER_BYTES..=available).contains(&length);
            return if fits { Ok(length) } else { Err(RelayDrop::Malformed) };
        };
        let first = udp::HEADER_BYTES + usize::from(size);
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
