//! What reading a frame and gathering a batch cost, in nanoseconds on one core.
//!
//! `cargo bench --bench relay_frame [-- ROUNDS]`. The rounds take turns, so that a disturbance
//! meets all figures alike; the median and the least of each are printed. "trusted" frames carry
//! the mark of the kernel or the hardware; for "verified" ones the UDP checksum is computed.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use ringtide::io::{BufferSlice, FrameMeta, ReceivePool, SendOptions};
use ringtide::relay::stats::RelayDrop;
use ringtide::relay::{Batch, Datagram, Pushed, Split};
use ringtide::wire::checksum::Checksum;

/// A name and what to time; it returns how many operations it did.
type Case = (String, Box<dyn FnMut() -> usize>);

fn main() {
    let rounds = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(15);
    let mut cases: Vec<Case> = Vec::new();
    checksums(&mut cases);
    parsing(&mut cases);
    batches(&mut cases);
    let mut figures = vec![Vec::new(); cases.len()];
    for _ in 0..rounds {
        for ((_, run), figures) in cases.iter_mut().zip(&mut figures) {
            let start = Instant::now();
            let operations = run();
            figures.push(start.elapsed().as_nanos() as f64 / operations as f64);
        }
    }
    for ((name, _), figures) in cases.iter().zip(&mut figures) {
        figures.sort_by(f64::total_cmp);
        let (median, least) = (figures[figures.len() / 2], figures[0]);
        println!("{name:<44} {median:>9.1} ns, least {least:>9.1} ns");
    }
}

fn checksums(cases: &mut Vec<Case>) {
    for bytes in [20, 64, 1400, 65_536] {
        let data = vec![0xa5; bytes];
        let turns = (TURNS * 64 / bytes).clamp(100, TURNS);
        let run = move || {
            for _ in 0..turns {
                black_box(Checksum::default().append(black_box(&data)).value());
            }
            turns
        };
        cases.push((format!("checksum of {bytes} bytes"), Box::new(run)));
    }
}

fn parsing(cases: &mut Vec<Case>) {
    for ipv6 in [false, true] {
        for bytes in [64, 1400] {
            for (flags, trust) in [(2, "trusted"), (0, "verified")] {
                let frame = frame(ipv6, flags, bytes);
                let parsed = parse(&frame).unwrap();
                assert_eq!(parsed.payload.len(), bytes);
                let run = move || {
                    for _ in 0..TURNS {
                        let frame = black_box(&frame[..]);
                        let _ = black_box(parse(frame));
                    }
                    TURNS
                };
                let family = if ipv6 { "IPv6" } else { "IPv4" };
                cases.push((format!("parse, {family}, {bytes} bytes, {trust}"), Box::new(run)));
            }
        }
    }
}

/// Reads a frame behind its virtio header.
fn parse(received: &[u8]) -> Result<Datagram, RelayDrop> {
    let (meta, frame) = FrameMeta::split(received, None, false, false);
    Datagram::parse(frame, &meta)
}

fn batches(cases: &mut Vec<Case>) {
    let pool = ReceivePool::new(64, 2048);
    let slices: Vec<BufferSlice> = (0..64)
        .map(|_| BufferSlice { buffer: pool.fill(&[0xa5; 1000]).unwrap(), range: 0..1000 })
        .collect();
    let (gathered, single, cut) = (slices.clone(), slices.clone(), slices);
    let mut batch = Batch::new(1472);
    let gather = move || {
        for _ in 0..TURNS / 64 {
            for slice in &gathered {
                let pushed = batch.push(slice.clone(), SendOptions::default());
                assert!(!matches!(pushed, Pushed::Refused(_)));
            }
            assert_eq!(
                batch.close(|slices, options| black_box((slices, options)).0.len()),
                Some(64)
            );
        }
        TURNS / 64 * 64
    };
    cases.push(("push, and close at 64, per datagram".into(), Box::new(gather)));
    let mut batch = Batch::new(0);
    let alone = move || {
        for slice in single.iter().cycle().take(TURNS) {
            let pushed = batch.push(slice.clone(), SendOptions::default());
            assert!(matches!(pushed, Pushed::Full));
            batch.close(|slices, options| black_box((slices, options)).0.len());
        }
        TURNS
    };
    cases.push(("push and close, per single datagram".into(), Box::new(alone)));
    let split = move || {
        for _ in 0..TURNS / 64 {
            Split::new(black_box(&cut), Some(1000)).for_each(|slice| drop(black_box(slice)));
        }
        TURNS / 64 * 64
    };
    cases.push(("split, per datagram".into(), Box::new(split)));
}

/// A frame with right checksums behind a virtio header with these flags.
fn frame(ipv6: bool, flags: u8, payload_bytes: usize) -> Vec<u8> {
    let udp_bytes = 8 + payload_bytes as u16;
    let (addresses, mut ip) = if ipv6 {
        let mut ip = vec![0x60, 0, 0, 0];
        ip.extend(udp_bytes.to_be_bytes());
        ip.extend([17, 7]);
        ([[0xfd; 16], [0xff; 16]].concat(), ip)
    } else {
        let mut ip = vec![0x45, 0];
        ip.extend((20 + udp_bytes).to_be_bytes());
        ip.extend([0, 0, 0x40, 0, 7, 17, 0, 0]);
        (vec![10, 0, 0, 1, 239, 1, 1, 1], ip)
    };
    ip.extend(&addresses);
    if !ipv6 {
        let value = Checksum::default().append(&ip).value();
        ip[10..12].copy_from_slice(&value.to_be_bytes());
    }
    let mut udp = vec![0x13, 0x88, 0x13, 0x89];
    udp.extend(udp_bytes.to_be_bytes());
    udp.extend([0, 0]);
    udp.resize(usize::from(udp_bytes), 0xa5);
    let pseudo =
        Checksum::default().append(&addresses).append(&[0, 17]).append(&udp_bytes.to_be_bytes());
    let value = pseudo.append(&udp).value();
    udp[6..8].copy_from_slice(&value.to_be_bytes());
    let mut frame = vec![0; 24];
    frame[0] = flags;
    frame[22..24].copy_from_slice(if ipv6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
    frame.extend(ip);
    frame.extend(udp);
    frame
}

/// How often each cheap operation is done in one round.
const TURNS: usize = 200_000;
