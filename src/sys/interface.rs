//! Network interfaces and changes to them (netdevice(7), rtnetlink(7)).

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use nix::sys::socket::SockFlag;

use super::netlink::{LinkNews, News, RouteSocket};

/// A network interface, as it was when it was looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number in this namespace; a recreated interface of the same name has another.
    pub index: u32,
    /// The longest IP packet it carries, in bytes.
    pub mtu: u32,
    /// Whether it carries packets: it is administratively up, and its operational state is not
    /// down, as without a carrier (RFC 2863, section 3.1.13).
    pub up: bool,
    /// Whether its frames begin with an Ethernet header.
    pub ethernet: bool,
    /// Its addresses in order, without IPv6 addresses that are still being probed for duplicates.
    pub addresses: Vec<IpAddr>,
}

impl Interface {
    /// Looks an interface up by its name; `None` when there is none.
    ///
    /// # Errors
    /// When the kernel's tables cannot be read (rtnetlink(7)).
    pub fn find(name: &str) -> io::Result<Option<Self>> {
        Ok(Interfaces::read()?.find(name).cloned())
    }
}

/// What happened to an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// One interface changed.
    Changed {
        /// Its name.
        interface: String,
        /// Its index.
        index: u32,
        /// How.
        change: LinkChange,
    },
    /// News were lost: look at every interface again.
    Resync,
}

/// How an interface changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// There is one of this name now, perhaps with another index than before. It is down until
    /// [`LinkChange::Up`] follows.
    Appeared,
    /// There is none of this name any more: it was removed, renamed or moved elsewhere.
    Gone,
    /// It carries packets. Its IPv6 addresses may be usable a little later only, which is
    /// [`LinkChange::Addresses`] then.
    Up,
    /// It carries no packets: it was set down or lost its carrier.
    Down,
    /// Its MTU is now this many bytes.
    Mtu(u32),
    /// An address came or went.
    Addresses,
}

/// All interfaces of the namespace, by index.
#[derive(Debug, Default)]
pub(super) struct Interfaces(BTreeMap<u32, Interface>);

impl Interfaces {
    /// Reads them from the kernel.
    pub(super) fn read() -> io::Result<Self> {
        let mut socket = RouteSocket::open(0, SockFlag::empty())?;
        let mut torn = io::ErrorKind::Interrupted.into();
        for _ in 0..DUMPS_MAX {
            let mut all = Self::default();
            let mut take = |news| all.apply(news, &mut Vec::new());
            let links = socket.dump(libc::RTM_GETLINK, &mut take);
            match links.and_then(|()| socket.dump(libc::RTM_GETADDR, &mut take)) {
                Ok(()) => return Ok(all),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => torn = error,
                Err(error) => return Err(error),
            }
        }
        Err(torn)
    }

    pub(super) fn find(&self, name: &str) -> Option<&Interface> {
        self.0.values().find(|interface| interface.name == name)
    }

    /// Brings the table up to date with one piece of news, and appends what that changed.
    pub(super) fn apply(&mut self, news: News, events: &mut Vec<LinkEvent>) {
        match news {
            News::Link(link) => self.apply_link(link, events),
            News::LinkGone { index } => {
                if let Some(gone) = self.0.remove(&index) {
                    events.push(gone.event(LinkChange::Gone));
                }
            }
            News::Address { index, address, usable } => {
                let Some(interface) = self.0.get_mut(&index) else { return };
                match (interface.addresses.binary_search(&address), usable) {
                    (Ok(at), false) => drop(interface.addresses.remove(at)),
                    (Err(at), true) => interface.addresses.insert(at, address),
                    _ => return,
                }
                events.push(interface.event(LinkChange::Addresses));
            }
            News::Done | News::Torn | News::Refused(_) => {}
        }
    }

    fn apply_link(&mut self, news: LinkNews, events: &mut Vec<LinkEvent>) {
        let before = self.0.get(&news.index).cloned();
        let mut after = before.clone().unwrap_or_default();
        after.index = news.index;
        after.up = news.up;
        after.ethernet = news.ethernet;
        after.mtu = news.mtu.unwrap_or(after.mtu);
        after.name = news.name.unwrap_or(after.name);
        if after.name.is_empty() {
            return;
        }
        let same = before.as_ref().filter(|before| before.name == after.name);
        if let (None, Some(renamed)) = (same, &before) {
            events.push(renamed.event(LinkChange::Gone));
        }
        match same {
            Some(before) if before.mtu != after.mtu => {
                events.push(after.event(LinkChange::Mtu(after.mtu)));
            }
            Some(_) => {}
            None => events.push(after.event(LinkChange::Appeared)),
        }
        if after.up != same.is_some_and(|before| before.up) {
            events.push(after.event(if after.up { LinkChange::Up } else { LinkChange::Down }));
        }
        self.0.insert(after.index, after);
    }
}

impl Interface {
    fn event(&self, change: LinkChange) -> LinkEvent {
        LinkEvent::Changed { interface: self.name.clone(), index: self.index, change }
    }
}

/// How often the tables are read again because they changed meanwhile.
const DUMPS_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, mtu: u32, up: bool) -> News {
        let (name, mtu) = (Some(name.to_owned()), Some(mtu));
        News::Link(LinkNews { index, name, mtu, up, ethernet: true })
    }

    /// The changes that `news` make, as `name change` lines.
    fn changes(all: &mut Interfaces, news: impl IntoIterator<Item = News>) -> Vec<String> {
        let mut events = Vec::new();
        news.into_iter().for_each(|news| all.apply(news, &mut events));
        events
            .iter()
            .map(|event| match event {
                LinkEvent::Changed { interface, index, change } => {
                    format!("{interface}/{index} {change:?}")
                }
                LinkEvent::Resync => "resync".to_owned(),
            })
            .collect()
    }

    #[test]
    fn what_is_new_is_an_event_and_what_is_known_is_not() {
        let mut all = Interfaces::default();
        let first = link(3, "a", 1500, true);
        assert_eq!(changes(&mut all, [first.clone()]), ["a/3 Appeared", "a/3 Up"]);
        assert!(changes(&mut all, [first]).is_empty());
        assert_eq!(changes(&mut all, [link(3, "a", 9000, true)]), ["a/3 Mtu(9000)"]);
        assert_eq!(changes(&mut all, [link(3, "a", 9000, false)]), ["a/3 Down"]);
        assert_eq!(changes(&mut all, [News::LinkGone { index: 3 }]), ["a/3 Gone"]);
        assert!(changes(&mut all, [News::LinkGone { index: 3 }]).is_empty());
        assert_eq!(changes(&mut all, [link(7, "a", 1500, false)]), ["a/7 Appeared"]);
    }

    #[test]
    fn a_new_name_is_another_interface() {
        let mut all = Interfaces::default();
        changes(&mut all, [link(3, "a", 1500, true)]);
        let renamed = changes(&mut all, [link(3, "b", 1500, true)]);
        assert_eq!(renamed, ["a/3 Gone", "b/3 Appeared", "b/3 Up"]);
        assert_eq!(all.find("a"), None);
        assert_eq!(all.find("b").unwrap().index, 3);
    }

    #[test]
    fn what_a_message_leaves_out_stays() {
        let mut all = Interfaces::default();
        let bare = LinkNews { index: 3, up: true, ..LinkNews::default() };
        assert!(changes(&mut all, [News::Link(bare.clone())]).is_empty(), "of no known name");
        changes(&mut all, [link(3, "a", 1500, false)]);
        assert_eq!(changes(&mut all, [News::Link(bare)]), ["a/3 Up"]);
        assert_eq!(all.find("a").unwrap().mtu, 1500);
    }

    #[test]
    fn addresses_come_and_go() {
        let mut all = Interfaces::default();
        changes(&mut all, [link(3, "a", 1500, true)]);
        let news =
            |text: &str, usable| News::Address { index: 3, address: text.parse().unwrap(), usable };
        assert_eq!(changes(&mut all, [news("10.0.0.2", true)]), ["a/3 Addresses"]);
        assert!(changes(&mut all, [news("10.0.0.2", true)]).is_empty());
        assert_eq!(changes(&mut all, [news("10.0.0.1", true)]), ["a/3 Addresses"]);
        assert!(all.find("a").unwrap().addresses.is_sorted());
        assert_eq!(changes(&mut all, [news("10.0.0.2", false)]), ["a/3 Addresses"]);
        assert!(changes(&mut all, [news("fe80::1", false)]).is_empty());
        let elsewhere =
            News::Address { index: 9, address: "10.0.0.1".parse().unwrap(), usable: true };
        assert!(changes(&mut all, [elsewhere]).is_empty());
    }

    #[test]
    fn loopback_is_found() {
        let loopback = Interface::find("lo").unwrap().unwrap();
        assert!(loopback.ethernet && loopback.index > 0 && loopback.mtu > 0);
        assert_eq!(Interface::find("no such one").unwrap(), None);
    }
}
