//! The filter's programs, run over hand-written frames.

use std::collections::BTreeSet;

use super::*;

/// Runs a program as bpf(4) and the kernel's `filter.rst` describe it. `tagged` is the metadata
/// beside the frame.
fn run(program: &BpfProgram, frame: &[u8], tagged: bool) -> u32 {
    let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
    let load = |offset: u32, bytes: usize| -> Option<u32> {
        if offset == VLAN_TAG_PRESENT {
            return Some(u32::from(tagged));
        }
        let stretch = frame.get(offset as usize..)?.get(..bytes)?;
        Some(stretch.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    };
    loop {
        let step = program.code()[at];
        let (code, k) = (u32::from(step.code), step.k);
        at += 1;
        let loaded = match code {
            LD_WORD => load(k, 4),
            LD_HALF => load(k, 2),
            LD_BYTE => load(k, 1),
            LD_HALF_AT_X => load(k + x, 2),
            LDX_IP_HEADER => load(k, 1),
            RET_K => return k,
            JUMP => {
                at += k as usize;
                continue;
            }
            JEQ | JGE | JSET => {
                let holds = match code {
                    JEQ => a == k,
                    JGE => a >= k,
                    _ => a & k != 0,
                };
                at += usize::from(if holds { step.jt } else { step.jf });
                continue;
            }
            other => panic!("instruction {other:#x} at {at} is not one of ours"),
        };
        // A load beyond the frame's end rejects it.
        let Some(value) = loaded else { return 0 };
        if code == LDX_IP_HEADER { x = 4 * (value & 15) } else { a = value }
    }
}

/// 239.1.1.1:5001 from 10.0.0.1:4660, with four bytes of payload.
const GROUP_V4: [u8; 46] = [
    0x01, 0x00, 0x5e, 0x01, 0x01, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x08,
    0x00, // Ethernet
    0x45, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x01, 0x11, 0x00, 0x00, // IPv4
    10, 0, 0, 1, 239, 1, 1, 1, // from, to
    0x12, 0x34, 0x13, 0x89, 0x00, 0x0c, 0x00, 0x00, // UDP
    1, 2, 3, 4,
];

/// [ff15::1]:5001 from [fe80::1]:4660, with four bytes of payload.
const GROUP_V6: [u8; 66] = [
    0x33, 0x33, 0x00, 0x00, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x86,
    0xdd, // Ethernet
    0x60, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x11, 0x01, // IPv6
    0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // from
    0xff, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // to
    0x12, 0x34, 0x13, 0x89, 0x00, 0x0c, 0x00, 0x00, // UDP
    1, 2, 3, 4,
];

fn with(frame: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for (at, byte) in changes {
        frame[*at] = *byte;
    }
    frame
}

fn wanted(texts: &[&str]) -> Vec<Wanted> {
    texts
        .iter()
        .map(|text| {
            let address: std::net::SocketAddr = text.parse().unwrap();
            Wanted { address: address.ip(), port: address.port() }
        })
        .collect()
}

/// Whether the exact program passes a frame; also checks that the coarser ones pass what it does.
fn passes(filter: &FrameFilter, frame: &[u8], tagged: bool) -> bool {
    let verdicts: Vec<_> =
        filter.programs().iter().map(|program| run(program, frame, tagged)).collect();
    assert!(verdicts.iter().all(|verdict| [WHOLE, NOTHING].contains(verdict)), "{verdicts:?}");
    assert!(verdicts.is_sorted(), "a coarser program passes less: {verdicts:?}");
    verdicts[0] == WHOLE
}

#[test]
fn only_wanted_addresses_and_ports_pass() {
    let filter = compile(&wanted(&["239.1.1.1:5001", "239.1.1.1:5003", "[ff15::1]:5001"]));
    assert!(passes(&filter, &GROUP_V4, false));
    assert!(passes(&filter, &GROUP_V6, false));
    assert!(passes(&filter, &with(&GROUP_V4, &[(37, 0x8b)]), false), "the second port");
    for changes in [[(37, 0x8a)], [(33, 2)], [(30, 224)], [(23, 6)], [(13, 6)]] {
        assert!(!passes(&filter, &with(&GROUP_V4, &changes), false), "{changes:?}");
    }
    for changes in [[(57, 0x8b)], [(53, 2)], [(38, 0xfe)], [(45, 1)], [(20, 6)], [(20, 0)]] {
        assert!(!passes(&filter, &with(&GROUP_V6, &changes), false), "{changes:?}");
    }
}

#[test]
fn tagged_frames_do_not_pass() {
    let filter = compile(&wanted(&["239.1.1.1:5001", "[ff15::1]:5001"]));
    for frame in [&GROUP_V4[..], &GROUP_V6] {
        assert!(!passes(&filter, frame, true), "the tag is beside the frame");
        let mut inside = frame[..12].to_vec();
        inside.extend([0x81, 0x00, 0x00, 0x0a]);
        inside.extend(&frame[12..]);
        assert!(!passes(&filter, &inside, false), "a second tag is inside");
    }
}

#[test]
fn the_port_is_found_behind_ip_options() {
    let filter = compile(&wanted(&["239.1.1.1:5001"]));
    let mut frame = with(&GROUP_V4, &[(14, 0x46)]);
    frame.splice(34..34, [0x94, 0x04, 0x00, 0x00]);
    assert!(passes(&filter, &frame, false));
    frame[41] = 0x8a;
    assert!(!passes(&filter, &frame, false));
}

#[test]
fn fragments_pass_by_address() {
    let filter = compile(&wanted(&["239.1.1.1:5001", "[ff15::1]:5001"]));
    for flags in [[(20, 0x20), (37, 1)], [(21, 185), (37, 1)]] {
        assert!(passes(&filter, &with(&GROUP_V4, &flags), false));
        let elsewhere = with(&with(&GROUP_V4, &flags), &[(33, 2)]);
        assert!(!passes(&filter, &elsewhere, false));
    }
    let not_a_fragment = with(&GROUP_V4, &[(20, 0x40)]);
    assert!(passes(&filter, &not_a_fragment, false), "do not fragment is no fragment");
    let fragment = with(&GROUP_V6, &[(20, 44), (57, 1)]);
    assert!(passes(&filter, &fragment, false));
    assert!(!passes(&filter, &with(&fragment, &[(53, 2)]), false));
}

#[test]
fn no_cut_frame_passes() {
    let filter = compile(&wanted(&["239.1.1.1:5001", "[ff15::1]:5001"]));
    for (frame, ports_end) in [(&GROUP_V4[..], 38), (&GROUP_V6, 58)] {
        for length in 0..frame.len() {
            let passed = run(&filter.programs()[0], &frame[..length], false) == WHOLE;
            assert_eq!(passed, length >= ports_end, "{length} bytes");
        }
    }
}

#[test]
fn nothing_wanted_passes_nothing() {
    let filter = FrameFilter::nothing();
    for program in filter.programs() {
        assert_eq!(run(program, &GROUP_V4, false), NOTHING);
        assert_eq!(run(program, &GROUP_V6, false), NOTHING);
    }
    let one_family = compile(&wanted(&["239.1.1.1:5001"]));
    let coarsest = one_family.programs().last().unwrap();
    assert_eq!(run(coarsest, &GROUP_V6, false), NOTHING);
}

#[test]
fn many_rules_are_all_told_apart() {
    let mut random = fastrand::Rng::with_seed(3);
    for count in [2, 3, 17, 150] {
        let chosen: BTreeSet<[u8; 3]> =
            (0..count).map(|_| [random.u8(..), random.u8(..4), random.u8(0x80..)]).collect();
        let frame_v4 =
            |[c, d, port]: [u8; 3]| with(&GROUP_V4, &[(32, c), (33, d), (36, 0x80), (37, port)]);
        let frame_v6 =
            |[c, d, port]: [u8; 3]| with(&GROUP_V6, &[(40, c), (53, d), (56, 0x80), (57, port)]);
        let mut all = Vec::new();
        for [c, d, port] in &chosen {
            let port = u16::from_be_bytes([0x80, *port]);
            let v4 = std::net::Ipv4Addr::new(239, 1, *c, *d);
            let v6 = Ipv6Addr::new(0xff15, u16::from(*c) << 8, 0, 0, 0, 0, 0, u16::from(*d));
            all.push(Wanted { address: v4.into(), port });
            all.push(Wanted { address: v6.into(), port });
        }
        let filter = compile(&all);
        assert_eq!(filter.programs().len(), 3, "{count} fit");
        for c in 0..=255 {
            for d in 0..5 {
                for port in [0x80, 0x81, 0xc0, 0xff] {
                    let tried = [c, d, port];
                    let expected = chosen.contains(&tried);
                    assert_eq!(passes(&filter, &frame_v4(tried), false), expected, "{tried:?}");
                    assert_eq!(passes(&filter, &frame_v6(tried), false), expected, "{tried:?}");
                }
            }
        }
        for tried in &chosen {
            assert!(passes(&filter, &frame_v4(*tried), false));
            assert!(passes(&filter, &frame_v6(*tried), false));
        }
    }
}

#[test]
fn what_does_not_fit_goes_by_address_then_by_protocol() {
    let group = |index: u16, port: u16| Wanted {
        address: std::net::Ipv4Addr::from_bits(0xef01_0000 | u32::from(index)).into(),
        port,
    };
    let many_ports: Vec<_> = (1..2000).map(|port| group(0x0101, port)).collect();
    let by_address = compile(&many_ports);
    assert_eq!(by_address.programs().len(), 2);
    assert!(passes(&by_address, &GROUP_V4, false), "any port of a wanted address");
    assert!(!passes(&by_address, &with(&GROUP_V4, &[(33, 2)]), false));

    let many_groups: Vec<_> = (1..9000).map(|index| group(index, 5001)).collect();
    let by_protocol = compile(&many_groups);
    assert_eq!(by_protocol.programs().len(), 1);
    assert!(passes(&by_protocol, &with(&GROUP_V4, &[(30, 224)]), false), "any address");
    assert!(!passes(&by_protocol, &with(&GROUP_V4, &[(23, 6)]), false));
    assert!(!passes(&by_protocol, &GROUP_V4, true));
}

/// Attaching needs no rights, so any socket will do to show it.
#[test]
fn the_kernel_takes_the_longest_program() {
    let groups: Vec<_> = (0..500u16)
        .map(|index| Wanted {
            address: std::net::Ipv4Addr::from_bits(0xef01_0000 | u32::from(index)).into(),
            port: index,
        })
        .collect();
    let filter = compile(&groups);
    assert!(filter.programs()[0].code().len() > 2000);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for program in filter.programs() {
        program.attach(&socket, libc::SO_ATTACH_FILTER).unwrap();
    }
}
