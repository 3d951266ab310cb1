//! Link-layer frames, and what the kernel says about them besides their bytes.

use std::ops::Range;

use super::buffers::Buffer;
use super::socket_table::SocketId;
use crate::sys::address::PacketAuxData;
use crate::wire::virtio::{self, GsoType};

/// One link-layer frame from a packet socket, borrowed from the receive buffer that holds it.
#[derive(Debug)]
pub struct Frame<'a> {
    /// The packet socket it came in on.
    pub socket: SocketId,
    /// The frame from its Ethernet header on: a part of `buffer`.
    pub bytes: &'a [u8],
    /// Where `bytes` starts in `buffer`.
    pub start: usize,
    /// The buffer behind `bytes`.
    pub buffer: &'a Buffer,
    /// What the kernel says about it.
    pub meta: FrameMeta,
}

/// What the kernel says about a frame besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameMeta {
    /// How many packets the frame stands for.
    pub segmentation: Segmentation,
    /// With a transport checksum that a device is to fill in: where the transport header starts,
    /// from the start of the frame. Such a packet was made on this host.
    pub checksum_start: Option<u16>,
    /// Whether the kernel or the hardware vouches for the transport checksum.
    pub checksum_trusted: bool,
    /// Whether a VLAN tag was taken off the frame.
    pub vlan: bool,
    /// When the kernel received the frame, in nanoseconds of the wall clock since the Unix epoch;
    /// 0 where the socket was not asked to say so.
    pub received_ns: u64,
    /// Whether this host sent the frame itself.
    pub outgoing: bool,
    /// Whether bytes are missing: the frame was longer than a receive buffer, or not even the
    /// header that the kernel puts in front of it was there.
    pub truncated: bool,
}

/// How many packets a frame stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Segmentation {
    /// One packet.
    #[default]
    Whole,
    /// UDP datagrams in a row, each but the last with this many bytes of payload.
    Datagrams(u16),
    /// TCP segments, or a kind that this program does not know.
    Other,
}

impl<'a> Frame<'a> {
    /// The frame that a packet socket with `PACKET_VNET_HDR` wrote to `range` of `buffer`
    /// (packet(7)).
    ///
    /// When there is not even a whole `virtio_net_hdr`, `bytes` is all there is, and the frame
    /// counts as truncated.
    #[inline]
    pub fn received(
        socket: SocketId,
        buffer: &'a Buffer,
        range: Range<usize>,
        auxiliary: Option<PacketAuxData>,
        outgoing: bool,
        truncated: bool,
    ) -> Self {
        let received = &buffer.bytes()[range.clone()];
        let (meta, bytes) = FrameMeta::split(received, auxiliary, outgoing, truncated);
        Self { socket, bytes, start: range.end - bytes.len(), buffer, meta }
    }
}

impl FrameMeta {
    /// Separates what a packet socket with `PACKET_VNET_HDR` received into what the kernel says
    /// and the frame, as [`Frame::received`] does.
    #[inline]
    pub fn split(
        received: &[u8],
        auxiliary: Option<PacketAuxData>,
        outgoing: bool,
        truncated: bool,
    ) -> (Self, &[u8]) {
        let auxiliary = auxiliary.unwrap_or_default();
        match virtio::Header::parse(received) {
            Ok((header, frame)) => (Self::new(&header, auxiliary, outgoing, truncated), frame),
            Err(_) => (Self::new(&virtio::Header::default(), auxiliary, outgoing, true), received),
        }
    }

    #[inline]
    fn new(
        header: &virtio::Header,
        auxiliary: PacketAuxData,
        outgoing: bool,
        truncated: bool,
    ) -> Self {
        let segmentation = match header.gso_type {
            // UFO leaves one datagram whole.
            GsoType::None | GsoType::Udp => Segmentation::Whole,
            GsoType::UdpL4 => Segmentation::Datagrams(header.gso_bytes),
            _ => Segmentation::Other,
        };
        let checksum_trusted =
            header.checksum_valid() | auxiliary.checksum_pending | auxiliary.checksum_valid;
        Self {
            segmentation,
            checksum_start: header.needs_checksum().then_some(header.checksum_start),
            checksum_trusted,
            vlan: auxiliary.vlan,
            received_ns: auxiliary.received_ns,
            outgoing,
            truncated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::ReceivePool;

    /// What becomes of these bytes and this auxiliary data behind four bytes of something else.
    fn received(
        bytes: &[u8],
        auxiliary: Option<PacketAuxData>,
        outgoing: bool,
        truncated: bool,
    ) -> (Vec<u8>, usize, FrameMeta) {
        let pool = ReceivePool::new(1, 64);
        let buffer = pool.fill(&[b"else", bytes].concat()).unwrap();
        let range = 4..4 + bytes.len();
        let frame = Frame::received(SocketId(3), &buffer, range, auxiliary, outgoing, truncated);
        assert_eq!(&buffer.bytes()[frame.start..][..frame.bytes.len()], frame.bytes);
        (frame.bytes.to_vec(), frame.start, frame.meta)
    }

    #[test]
    fn golden_super_packet_from_this_host() {
        // As Linux 6.18 hands it over: flags 1, type 5, header 42, size 1400, start 34, offset 6.
        let mut bytes = vec![1, 5];
        for value in [42_u16, 1400, 34, 6] {
            bytes.extend(value.to_ne_bytes());
        }
        bytes.push(0xab);
        let auxiliary = PacketAuxData { checksum_pending: true, ..PacketAuxData::default() };
        let meta = FrameMeta {
            segmentation: Segmentation::Datagrams(1400),
            checksum_start: Some(34),
            checksum_trusted: true,
            ..FrameMeta::default()
        };
        assert_eq!(received(&bytes, Some(auxiliary), false, false), (vec![0xab], 14, meta));
        let meta = FrameMeta { checksum_trusted: false, ..meta };
        assert_eq!(received(&bytes, None, false, false), (vec![0xab], 14, meta));
    }

    #[test]
    fn segmentation_follows_the_type() {
        let size = u16::from_ne_bytes([9, 1]);
        for (gso_type, segmentation) in [
            (0, Segmentation::Whole),
            (1, Segmentation::Other),
            (0x81, Segmentation::Other),
            (2, Segmentation::Other),
            (3, Segmentation::Whole),
            (4, Segmentation::Other),
            (0x84, Segmentation::Other),
            (5, Segmentation::Datagrams(size)),
            (0x85, Segmentation::Datagrams(size)),
            (0x20, Segmentation::Other),
        ] {
            let bytes = [0, gso_type, 0, 0, 9, 1, 0, 0, 0, 0];
            let (_, _, meta) = received(&bytes, None, false, false);
            assert_eq!(meta.segmentation, segmentation, "{gso_type}");
        }
    }

    #[test]
    fn each_source_of_trust_is_enough() {
        let plain = PacketAuxData::default();
        for (flags, auxiliary, trusted) in [
            (0, None, false),
            (0, Some(plain), false),
            (1, Some(plain), false),
            (2, None, true),
            (0, Some(PacketAuxData { checksum_valid: true, ..plain }), true),
            (0, Some(PacketAuxData { checksum_pending: true, ..plain }), true),
        ] {
            let (_, _, meta) =
                received(&[flags, 0, 0, 0, 0, 0, 0, 0, 0, 0], auxiliary, false, false);
            assert_eq!(meta.checksum_trusted, trusted, "flags {flags}, {auxiliary:?}");
            assert_eq!(meta.checksum_start, (flags == 1).then_some(0));
        }
    }

    #[test]
    fn the_rest_is_passed_on() {
        let auxiliary = PacketAuxData { vlan: true, received_ns: 77, ..PacketAuxData::default() };
        let expected = FrameMeta { vlan: true, received_ns: 77, ..FrameMeta::default() };
        let bytes = [0; 10];
        assert_eq!(received(&bytes, Some(auxiliary), false, false).2, expected);
        let expected = FrameMeta { outgoing: true, ..FrameMeta::default() };
        assert_eq!(received(&bytes, None, true, false).2, expected);
        let expected = FrameMeta { truncated: true, ..FrameMeta::default() };
        assert_eq!(received(&bytes, None, false, true).2, expected);
    }

    #[test]
    fn less_than_the_kernels_header_is_truncated() {
        for length in 0..virtio::HEADER_BYTES {
            let bytes = vec![0xff; length];
            let (rest, start, meta) = received(&bytes, None, false, false);
            assert_eq!((rest, start), (bytes, 4), "{length}");
            assert_eq!(meta, FrameMeta { truncated: true, ..FrameMeta::default() });
        }
    }
}
