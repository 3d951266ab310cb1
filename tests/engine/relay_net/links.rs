//! What is heard of interfaces.

use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use ringtide::sys::interface::{LinkChange, LinkEvent};
use ringtide::sys::link_watch::LinkWatch;

use crate::common::{Cable, DEADLINE, Namespace, eventually, switched_off};

/// A watch, and what it told that no test has looked at yet.
struct Heard<'n> {
    namespace: &'n Namespace,
    watch: LinkWatch,
    events: Vec<LinkEvent>,
}

impl<'n> Heard<'n> {
    fn start(namespace: &'n Namespace) -> Self {
        let watch = namespace.run(LinkWatch::start).unwrap();
        Self { namespace, watch, events: Vec::new() }
    }

    /// Waits for one event and drops those before it. They are polled for, as the control
    /// thread does.
    fn wait(&mut self, what: &str, wanted: impl Fn(&LinkEvent) -> bool) -> LinkEvent {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.events.iter().position(&wanted) {
                return self.events.drain(..=at).next_back().unwrap();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not heard in time: {what}; heard {:?}", self.events);
            let mut fds = [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::try_from(left).unwrap()).unwrap();
            self.drain();
        }
    }

    fn drain(&mut self) {
        let watch = &mut self.watch;
        self.events.extend(self.namespace.run(|| watch.drain()).unwrap());
    }

    /// Waits for a change of one interface and returns the index that came with it.
    fn change(&mut self, name: &str, wanted: LinkChange) -> u32 {
        let what = format!("{name} {wanted:?}");
        let event = self.wait(&what, |event| {
            matches!(event, LinkEvent::Changed { interface, change, .. }
                if interface == name && *change == wanted)
        });
        let LinkEvent::Changed { index, .. } = event else { unreachable!("only these match") };
        index
    }
}

#[test]
fn every_change_of_an_interface_is_heard() {
    if switched_off() {
        return;
    }
    let namespace = Namespace::new();
    let mut heard = Heard::start(&namespace);
    assert_eq!(heard.watch.find("x"), None);
    namespace.ip("link add name x type veth peer name y");
    let first = heard.change("x", LinkChange::Appeared);
    assert!(!heard.watch.find("x").unwrap().up);
    // Both ends must be up for a carrier.
    namespace.ip("link set dev x up");
    namespace.ip("link set dev y up");
    assert_eq!(heard.change("x", LinkChange::Up), first);
    namespace.ip("addr add 10.1.0.1/24 dev x");
    namespace.ip("addr add fd01::1/64 dev x nodad");
    namespace.ip("link set dev x mtu 9000");
    assert_eq!(heard.change("x", LinkChange::Mtu(9000)), first);
    // IPv6 addresses are told of some time after they are there.
    let expected = ["10.1.0.1", "fd01::1"].map(|text| text.parse().unwrap());
    eventually("addresses that are told and looked up are the same", || {
        heard.drain();
        let told = heard.watch.find("x").unwrap();
        let all = expected.iter().all(|address| told.addresses.contains(address));
        (all && *told == namespace.interface("x")).then_some(())
    });
    heard.events.clear();
    namespace.ip("addr del 10.1.0.1/24 dev x");
    heard.change("x", LinkChange::Addresses);
    namespace.ip("link set dev y down");
    heard.change("x", LinkChange::Down);
    namespace.ip("link set dev y up");
    heard.change("x", LinkChange::Up);
    namespace.ip("link set dev x down");
    heard.change("x", LinkChange::Down);
    namespace.ip("link set dev x name z");
    heard.change("x", LinkChange::Gone);
    assert_eq!(heard.change("z", LinkChange::Appeared), first);
    assert_eq!(heard.watch.find("z").unwrap().mtu, 9000);
    namespace.ip("link del dev z");
    heard.change("z", LinkChange::Gone);
    namespace.ip("link add name x type veth peer name x-peer");
    let second = heard.change("x", LinkChange::Appeared);
    assert_ne!(first, second);
    assert_eq!(namespace.interface("x").index, second);
}

#[test]
fn moving_to_another_namespace_is_leaving() {
    if switched_off() {
        return;
    }
    let (here, there) = (Namespace::new(), Namespace::new());
    here.ip("link add name x type veth peer name x-peer");
    let mut heard = Heard::start(&here);
    let mut heard_there = Heard::start(&there);
    assert!(heard.watch.find("x").is_some(), "known from the start");
    here.ip(&format!("link set dev x netns {}", there.path()));
    heard.change("x", LinkChange::Gone);
    heard_there.change("x", LinkChange::Appeared);
}

#[test]
fn leaving_a_bridge_is_not_leaving() {
    if switched_off() {
        return;
    }
    let namespace = Namespace::new();
    namespace.ip("link add name x type veth peer name x-peer");
    namespace.ip("link add name bridge type bridge");
    let mut heard = Heard::start(&namespace);
    namespace.ip("link set dev x master bridge");
    namespace.ip("link set dev x nomaster");
    namespace.ip("link set dev x mtu 1400");
    let event = heard.wait("anything of x", |event| {
        matches!(event, LinkEvent::Changed { interface, change, .. }
            if interface == "x" && matches!(change, LinkChange::Mtu(_) | LinkChange::Gone))
    });
    assert!(matches!(event, LinkEvent::Changed { change: LinkChange::Mtu(1400), .. }));
}

#[test]
fn an_address_counts_once_it_is_known_to_be_unique() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    cable.near.sysctl("net/ipv6/conf/a/accept_dad", "1");
    let mut heard = Heard::start(&cable.near);
    cable.near.ip("addr add fd09::5/64 dev a");
    heard.change("a", LinkChange::Addresses);
    let address = "fd09::5".parse().unwrap();
    assert!(heard.watch.find("a").unwrap().addresses.contains(&address));
    assert!(cable.near.interface("a").addresses.contains(&address));
}

#[test]
fn lost_news_are_said_and_made_up_for() {
    if switched_off() {
        return;
    }
    let namespace = Namespace::new();
    namespace.ip("link add name x type veth peer name x-peer");
    let mut heard = Heard::start(&namespace);
    setsockopt(&heard.watch, sockopt::RcvBuf, &1).unwrap();
    for mtu in 1000..1020 {
        namespace.ip(&format!("link set dev x mtu {mtu}"));
    }
    heard.wait("lost news", |event| *event == LinkEvent::Resync);
    assert_eq!(heard.watch.find("x").unwrap().mtu, 1019);
    setsockopt(&heard.watch, sockopt::RcvBuf, &(1 << 20)).unwrap();
    namespace.ip("link del dev x");
    heard.change("x", LinkChange::Gone);
}
