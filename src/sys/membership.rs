//! Multicast group memberships of an interface (`MCAST_JOIN_GROUP` in ip(7); RFC 3678), which make
//! the network deliver the groups' datagrams.
//!
//! Packet sockets see what arrives, but only a membership makes this host ask for it: IGMP for
//! IPv4 (RFC 3376), MLD for IPv6 (RFC 3810). Helper sockets hold the memberships and never
//! receive. A socket takes a limited number of groups and of sources per group, so there are as
//! many as it takes.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::errno::Cause;
use super::options::set_option;

/// A group to be a member of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Membership {
    /// The group. A unicast address needs no membership: joining it does nothing.
    pub group: IpAddr,
    /// With a source, only what it sends is asked for (ip(7), `IP_ADD_SOURCE_MEMBERSHIP`).
    pub source: Option<IpAddr>,
}

/// The memberships of one interface, for as long as this value lives.
#[derive(Debug)]
pub struct Memberships {
    interface_index: u32,
    wanted: BTreeSet<Membership>,
    helpers: Vec<Helper>,
}

/// A socket and what it is a member of.
#[derive(Debug)]
struct Helper {
    socket: Socket,
    ipv4: bool,
    /// A socket does not mix both kinds in one group; ours do not mix them at all.
    source_specific: bool,
    joined: BTreeSet<Membership>,
}

/// Why a group could not be joined.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The source and the group are of different families.
    #[error("source {from} and group {group} are not of the same family")]
    Families {
        /// The group.
        group: IpAddr,
        /// The source.
        from: IpAddr,
    },
    /// The interface went away or does not do this family.
    #[error(
        "{group} cannot be joined on interface {index}: it is gone, or the address family is \
         switched off there (sysctl net.ipv6.conf.*.disable_ipv6)"
    )]
    Missing {
        /// The group.
        group: IpAddr,
        /// The interface's index.
        index: u32,
    },
    /// Not even a fresh socket may join.
    #[error("{group} cannot be joined: a kernel limit is reached; raise the sysctl {sysctl}")]
    Limit {
        /// The group.
        group: IpAddr,
        /// What limits it.
        sysctl: &'static str,
    },
    /// Too many open files.
    #[error("too many open files while joining {group}; raise the limit (`ulimit -n`)")]
    TooManyFiles {
        /// The group.
        group: IpAddr,
    },
    /// Anything else.
    #[error("{group} cannot be joined on interface {index}")]
    Other {
        /// The group.
        group: IpAddr,
        /// The interface's index.
        index: u32,
        /// The kernel's error.
        source: io::Error,
    },
}

impl Memberships {
    /// No membership yet, on the interface with this index.
    pub fn new(interface_index: u32) -> Self {
        Self { interface_index, wanted: BTreeSet::new(), helpers: Vec::new() }
    }

    /// What is or should be joined, in order.
    pub fn wanted(&self) -> impl Iterator<Item = &Membership> {
        self.wanted.iter()
    }

    /// The sockets that hold the memberships: as long as anybody has one open, its groups are not
    /// left.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.helpers.iter().map(|helper| helper.socket.as_fd())
    }

    /// Joins a group. Joining again, or joining a unicast address, does nothing.
    ///
    /// # Errors
    /// What stands in the way. The membership stays wanted, for [`Memberships::rejoin`], until
    /// [`Memberships::leave`].
    pub fn join(&mut self, membership: Membership) -> Result<(), MembershipError> {
        let Membership { group, source } = membership;
        if !group.is_multicast() {
            return Ok(());
        }
        if let Some(from) = source.filter(|from| from.is_ipv4() != group.is_ipv4()) {
            return Err(MembershipError::Families { group, from });
        }
        self.wanted.insert(membership);
        self.join_wanted(membership)
            .map_err(|error| MembershipError::from_io(membership, self.interface_index, error))
    }

    /// Leaves a group. Leaving one that was not joined does nothing.
    pub fn leave(&mut self, membership: Membership) {
        self.wanted.remove(&membership);
        for helper in &mut self.helpers {
            if helper.joined.remove(&membership) {
                // It fails only when the interface took the membership with it.
                let _ = helper.change(membership, self.interface_index, false);
            }
        }
        self.helpers.retain(|helper| !helper.joined.is_empty());
    }

    /// Joins everything again on the interface that now has this index, as after it came back:
    /// routers and switches hear the reports again.
    ///
    /// # Errors
    /// The first membership that failed; the others are tried nevertheless.
    pub fn rejoin(&mut self, interface_index: u32) -> Result<(), MembershipError> {
        self.helpers.clear();
        self.interface_index = interface_index;
        let mut result = Ok(());
        for membership in self.wanted.clone() {
            result = result.and(self.join(membership));
        }
        result
    }

    fn join_wanted(&mut self, membership: Membership) -> io::Result<()> {
        if self.helpers.iter().any(|helper| helper.joined.contains(&membership)) {
            return Ok(());
        }
        for helper in self.helpers.iter_mut().filter(|helper| helper.is_for(membership)) {
            match helper.join(membership, self.interface_index) {
                Err(error) if is_limit(&error) => {}
                result => return result,
            }
        }
        let mut fresh = Helper::open(membership)?;
        fresh.join(membership, self.interface_index)?;
        self.helpers.push(fresh);
        Ok(())
    }
}

impl Helper {
    fn open(membership: Membership) -> io::Result<Self> {
        let ipv4 = membership.group.is_ipv4();
        let domain = if ipv4 { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
        let source_specific = membership.source.is_some();
        Ok(Self { socket, ipv4, source_specific, joined: BTreeSet::new() })
    }

    fn is_for(&self, membership: Membership) -> bool {
        (self.ipv4, self.source_specific)
            == (membership.group.is_ipv4(), membership.source.is_some())
    }

    fn join(&mut self, membership: Membership, interface_index: u32) -> io::Result<()> {
        self.change(membership, interface_index, true)?;
        self.joined.insert(membership);
        Ok(())
    }

    fn change(&self, membership: Membership, index: u32, join: bool) -> io::Result<()> {
        change(&self.socket, membership, index, join)
    }
}

/// Joins a group on a socket that itself receives what is sent to it.
pub(super) fn join_on(
    socket: &Socket,
    membership: Membership,
    interface_index: u32,
) -> Result<(), MembershipError> {
    change(socket, membership, interface_index, true)
        .map_err(|error| MembershipError::from_io(membership, interface_index, error))
}

/// Joins or leaves, by the options that serve both families (RFC 3678, section 5.1).
fn change(socket: &Socket, membership: Membership, index: u32, join: bool) -> io::Result<()> {
    let ipv4 = membership.group.is_ipv4();
    let level = if ipv4 { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    match membership.source {
        None => {
            let name = if join { libc::MCAST_JOIN_GROUP } else { libc::MCAST_LEAVE_GROUP };
            let gr_group = storage(membership.group);
            let request = libc::group_req { gr_interface: index, gr_group };
            set_option(socket, level, name, &request)
        }
        Some(source) => {
            let name =
                if join { libc::MCAST_JOIN_SOURCE_GROUP } else { libc::MCAST_LEAVE_SOURCE_GROUP };
            let request = libc::group_source_req {
                gsr_interface: index,
                gsr_group: storage(membership.group),
                gsr_source: storage(source),
            };
            set_option(socket, level, name, &request)
        }
    }
}

impl MembershipError {
    fn from_io(membership: Membership, index: u32, source: io::Error) -> Self {
        let group = membership.group;
        match Cause::of(&source) {
            Cause::NoDevice | Cause::NotLocal => Self::Missing { group, index },
            Cause::TooManyFiles => Self::TooManyFiles { group },
            Cause::NoMemory => {
                let sysctl = match (group, membership.source) {
                    (IpAddr::V4(_), None) => "net.ipv4.igmp_max_memberships",
                    (IpAddr::V4(_), Some(_)) => {
                        "net.ipv4.igmp_max_msf or net.ipv4.igmp_max_memberships"
                    }
                    (IpAddr::V6(_), None) => "net.core.optmem_max",
                    (IpAddr::V6(_), Some(_)) => "net.ipv6.mld_max_msf or net.core.optmem_max",
                };
                Self::Limit { group, sysctl }
            }
            _ => Self::Other { group, index, source },
        }
    }
}

fn storage(address: IpAddr) -> libc::sockaddr_storage {
    let mut storage = SockAddr::from(SocketAddr::new(address, 0)).as_storage();
    // SAFETY: `SockAddrStorage` is a `sockaddr_storage` by another name.
    *unsafe { storage.view_as::<libc::sockaddr_storage>() }
}

/// Whether this socket has reached a limit, which another socket may not have.
fn is_limit(error: &io::Error) -> bool {
    Cause::of(error) == Cause::NoMemory
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(group: &str, source: Option<&str>) -> Membership {
        let source = source.map(|text| text.parse().unwrap());
        Membership { group: group.parse().unwrap(), source }
    }

    #[test]
    fn unicast_needs_no_membership() {
        let mut all = Memberships::new(1);
        all.join(membership("127.0.0.1", None)).unwrap();
        all.join(membership("::1", Some("::1"))).unwrap();
        assert_eq!(all.wanted().count(), 0);
        assert!(all.helpers.is_empty());
    }

    #[test]
    fn errors_say_what_to_do() {
        let mixed = membership("232.1.1.1", Some("fe80::1"));
        let error = Memberships::new(1).join(mixed).unwrap_err();
        assert!(error.to_string().contains("same family"), "{error}");
        let group = membership("239.1.1.1", None);
        let mut nowhere = Memberships::new(u32::MAX >> 1);
        assert!(matches!(nowhere.join(group), Err(MembershipError::Missing { .. })));
        assert_eq!(nowhere.wanted().collect::<Vec<_>>(), [&group], "it stays wanted");
        let limit = |membership| {
            MembershipError::from_io(membership, 1, io::Error::from_raw_os_error(libc::ENOBUFS))
        };
        assert!(limit(group).to_string().contains("net.ipv4.igmp_max_memberships"));
        let specific = membership("ff35::1", Some("fe80::1"));
        assert!(limit(specific).to_string().contains("net.ipv6.mld_max_msf"));
    }
}
