//! Memberships as the kernel lists them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringtide::sys::membership::{Membership, MembershipError, Memberships};

use crate::common::{Cable, Namespace, eventually, switched_off};

/// The groups that an interface is a member of, without those that every interface has.
fn groups(namespace: &Namespace, interface: &str) -> BTreeSet<IpAddr> {
    let mut all = BTreeSet::new();
    let mut here = false;
    for line in namespace.proc_net("igmp").lines().skip(1) {
        let words: Vec<_> = line.split_whitespace().collect();
        if !line.starts_with('\t') {
            here = words[1] == interface;
        } else if here {
            let bits = u32::from_str_radix(words[0], 16).unwrap();
            all.insert(IpAddr::V4(Ipv4Addr::from(bits.to_ne_bytes())));
        }
    }
    for line in namespace.proc_net("igmp6").lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if words[1] == interface {
            all.insert(IpAddr::V6(address_v6(words[2])));
        }
    }
    all.retain(|address| match address {
        IpAddr::V4(v4) => v4.octets()[0] != 224,
        IpAddr::V6(v6) => v6.octets()[1] & 15 > 2,
    });
    all
}

/// The groups with the sources that are asked for. The kernel lists them only for interfaces
/// whose newest group has some (`igmp_mcf_get_first` looks no further), so such a group must be
/// joined last.
fn sources(namespace: &Namespace) -> BTreeSet<(IpAddr, IpAddr)> {
    let v4 = |text: &str| {
        let bits = u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
        IpAddr::V4(Ipv4Addr::from_bits(bits))
    };
    let v6 = |text: &str| IpAddr::V6(address_v6(text));
    let mut all = BTreeSet::new();
    for (file, read) in [("mcfilter", &v4 as &dyn Fn(&str) -> IpAddr), ("mcfilter6", &v6)] {
        for line in namespace.proc_net(file).lines().skip(1) {
            let words: Vec<_> = line.split_whitespace().collect();
            assert_ne!(words[4], "0", "asked for: {line}");
            all.insert((read(words[2]), read(words[3])));
        }
    }
    all
}

fn address_v6(text: &str) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from_str_radix(text, 16).unwrap())
}

fn any_source(group: IpAddr) -> Membership {
    Membership { group, source: None }
}

fn v4(index: u8) -> IpAddr {
    Ipv4Addr::new(239, 1, 1, index).into()
}

fn v6(index: u16) -> IpAddr {
    Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, index).into()
}

#[test]
fn joins_appear_and_go_away() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let index = cable.near.interface("a").index;
    let mut all = Memberships::new(index);
    let wanted = [v4(1), v4(2), v6(1), v6(2)];
    cable.near.run(|| {
        for group in wanted {
            all.join(any_source(group)).unwrap();
            all.join(any_source(group)).unwrap();
        }
        all.join(any_source("10.9.0.1".parse().unwrap())).unwrap();
    });
    assert_eq!(groups(&cable.near, "a"), wanted.into());
    all.leave(any_source(v4(1)));
    all.leave(any_source(v4(1)));
    all.leave(any_source(v6(2)));
    assert_eq!(groups(&cable.near, "a"), [v4(2), v6(1)].into());
    drop(all);
    // Another test may be starting a process, which for a moment has our sockets too.
    eventually("no membership", || groups(&cable.near, "a").is_empty().then_some(()));
}

#[test]
fn more_groups_than_a_socket_takes_work() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let index = cable.near.interface("a").index;
    let mut all = Memberships::new(index);
    let wanted: Vec<_> = (1..=65).flat_map(|n| [v4(n), v6(u16::from(n))]).collect();
    cable.near.run(|| {
        wanted.iter().for_each(|group| all.join(any_source(*group)).unwrap());
    });
    assert_eq!(groups(&cable.near, "a"), wanted.iter().copied().collect());
    for group in &wanted[..129] {
        all.leave(any_source(*group));
    }
    assert_eq!(groups(&cable.near, "a"), [wanted[129]].into());
}

#[test]
fn source_specific_joins_ask_for_their_sources_only() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let index = cable.near.interface("a").index;
    let mut all = Memberships::new(index);
    let pairs: Vec<(IpAddr, IpAddr)> = (1..=25u8)
        .map(|n| (v4(1), Ipv4Addr::new(10, 9, 0, n).into()))
        .chain((1..=80u16).map(|n| (v6(1), Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, n).into())))
        .collect();
    let membership = |(group, source): (IpAddr, IpAddr)| Membership { group, source: Some(source) };
    cable.near.run(|| {
        for pair in pairs.iter().chain(&pairs[..3]) {
            all.join(membership(*pair)).unwrap();
        }
    });
    assert_eq!(groups(&cable.near, "a"), [v4(1), v6(1)].into());
    assert_eq!(sources(&cable.near), pairs.iter().copied().collect());
    for pair in &pairs[..104] {
        all.leave(membership(*pair));
    }
    assert_eq!(sources(&cable.near), [pairs[104]].into());
    // The same group from anybody, beside the source.
    cable.near.run(|| all.join(any_source(v6(1))).unwrap());
    all.leave(membership(pairs[104]));
    assert_eq!(groups(&cable.near, "a"), [v6(1)].into());
}

#[test]
fn a_limit_that_no_socket_is_let_past_is_named() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let index = cable.near.interface("a").index;
    cable.near.sysctl("net/ipv4/igmp_max_memberships", "0");
    let error = cable.near.run(|| Memberships::new(index).join(any_source(v4(1)))).unwrap_err();
    assert!(matches!(error, MembershipError::Limit { .. }), "{error}");
    assert!(error.to_string().contains("net.ipv4.igmp_max_memberships"), "{error}");
}

#[test]
fn memberships_come_back_with_the_interface() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let mut all = Memberships::new(cable.near.interface("a").index);
    let source: IpAddr = "10.9.0.2".parse().unwrap();
    let specific = Membership { group: "239.232.1.1".parse().unwrap(), source: Some(source) };
    cable.near.run(|| {
        all.join(any_source(v4(1))).unwrap();
        all.join(any_source(v6(1))).unwrap();
        all.join(specific).unwrap();
    });
    let expected = groups(&cable.near, "a");
    assert_eq!(expected.len(), 3);
    // Down and up again: the kernel sees to it.
    cable.near.ip("link set dev a down");
    cable.near.ip("link set dev a up");
    assert_eq!(groups(&cable.near, "a"), expected);
    // Removed and made anew: it has another index, and nobody is a member.
    cable.near.ip("link del dev a");
    let gone = cable.near.run(|| all.rejoin(i32::MAX as u32)).unwrap_err();
    assert!(matches!(gone, MembershipError::Missing { .. }), "{gone}");
    cable.add("a", "b", 9);
    assert!(groups(&cable.near, "a").is_empty());
    let index = cable.near.interface("a").index;
    cable.near.run(|| all.rejoin(index)).unwrap();
    assert_eq!(groups(&cable.near, "a"), expected);
    assert_eq!(sources(&cable.near), [(specific.group, source)].into());
}
