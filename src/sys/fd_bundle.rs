//! Sockets that one process hands over to another, and checks that they are what they are meant to
//! be (socket(7), packet(7)).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use socket2::{Domain, SockRef, Socket, Type};

use super::interface::Interface;
use super::options::get_option;
use super::packet_socket::FANOUT_MODE;

/// The purpose of sockets that are handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// They receive requests: those of all listen addresses for one worker, then for the next.
    Listening,
    /// They receive the frames of an interface, one for each worker, in the order of the workers.
    Packets {
        /// The interface's name.
        interface: String,
        /// Its index.
        index: u32,
    },
    /// They hold group memberships, and receive nothing.
    Memberships,
}

/// Sockets for one purpose: borrowed where they come from, owned where they arrive.
#[derive(Debug)]
pub struct FdBundle<S> {
    /// Their purpose.
    pub purpose: Purpose,
    /// The sockets, in order.
    pub sockets: Vec<S>,
}

/// The sockets that another process handed over, until they are taken. Those that are left are
/// closed with this value, and their memberships end.
#[derive(Debug, Default)]
pub struct Inherited(Vec<FdBundle<OwnedFd>>);

/// Why packet sockets of another process cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The other process had another number of workers.
    #[error("there are {sockets} for {workers} workers")]
    Workers {
        /// How many were handed over.
        sockets: usize,
        /// How many there must be.
        workers: usize,
    },
    /// The interface was recreated.
    #[error("they are of an interface that is gone")]
    Gone,
    /// One of them differs from what it must be.
    #[error("one of them {0}")]
    Strange(&'static str),
    /// The kernel does not report enough.
    #[error("one of them cannot be looked at: {0}")]
    Unknown(#[from] io::Error),
}

impl Inherited {
    /// Joins the sockets of `bundles` that have the same purpose.
    pub fn new(bundles: impl IntoIterator<Item = FdBundle<OwnedFd>>) -> Self {
        let mut all: Vec<FdBundle<OwnedFd>> = Vec::new();
        for bundle in bundles {
            match all.iter_mut().find(|earlier| earlier.purpose == bundle.purpose) {
                Some(earlier) => earlier.sockets.extend(bundle.sockets),
                None => all.push(bundle),
            }
        }
        Self(all)
    }

    /// Takes the sockets that receive requests.
    pub fn take_listening(&mut self) -> Vec<OwnedFd> {
        let is_listening = |bundle: &FdBundle<_>| bundle.purpose == Purpose::Listening;
        let at = self.0.iter().position(is_listening);
        at.map_or_else(Vec::new, |at| self.0.swap_remove(at).sockets)
    }

    /// Takes the packet sockets of an interface, if there are any.
    ///
    /// # Errors
    /// Why they cannot be used by `workers` workers on this interface. They stay here then, so that
    /// nothing is closed before others are open.
    pub fn take_packets(
        &mut self,
        interface: &Interface,
        workers: usize,
    ) -> Result<Option<Vec<OwnedFd>>, Unfit> {
        let named = |bundle: &FdBundle<_>| match &bundle.purpose {
            Purpose::Packets { interface: name, .. } => *name == interface.name,
            _ => false,
        };
        let Some(at) = self.0.iter().position(named) else { return Ok(None) };
        let FdBundle { purpose, sockets } = &self.0[at];
        match purpose {
            Purpose::Packets { index, .. } if *index == interface.index => {}
            _ => return Err(Unfit::Gone),
        }
        if sockets.len() != workers {
            return Err(Unfit::Workers { sockets: sockets.len(), workers });
        }
        check_group(sockets, interface.index)?;
        Ok(Some(self.0.swap_remove(at).sockets))
    }
}

/// Checks that these are packet sockets of one fanout group on this interface, in this process's
/// network namespace, as [`open_silent`](crate::sys::packet_socket::open_silent) opens them.
fn check_group(sockets: &[OwnedFd], interface_index: u32) -> Result<(), Unfit> {
    let here = namespace_of(&Socket::new(Domain::UNIX, Type::DGRAM.cloexec(), None)?)?;
    let mut group = None;
    for socket in sockets {
        let [domain] = get_option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN)?;
        let [kind] = get_option(socket, libc::SOL_SOCKET, libc::SO_TYPE)?;
        if (domain, kind) != (libc::AF_PACKET as u32, libc::SOCK_RAW as u32) {
            return Err(Unfit::Strange("is no packet socket"));
        }
        if namespace_of(socket)? != here {
            return Err(Unfit::Strange("is of another network namespace"));
        }
        let expected = (interface_index as i32, (libc::ETH_P_ALL as u16).to_be());
        if bound_to(socket)? != expected {
            return Err(Unfit::Strange("is not bound to the interface"));
        }
        for option in [libc::PACKET_VNET_HDR, libc::PACKET_AUXDATA] {
            if get_option(socket, libc::SOL_PACKET, option)? != [1] {
                return Err(Unfit::Strange("does not report enough about frames"));
            }
        }
        let [fanout] = get_option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT)?;
        if fanout >> 16 != FANOUT_MODE || *group.get_or_insert(fanout) != fanout {
            return Err(Unfit::Strange("is in no fanout group with the others"));
        }
    }
    Ok(())
}

/// The interface's index and the protocol that a packet socket is bound to.
fn bound_to(socket: &OwnedFd) -> io::Result<(i32, u16)> {
    let mut storage = SockRef::from(socket).local_addr()?.as_storage();
    // SAFETY: a `sockaddr_ll` is shorter than the storage and made of integers, for which any bytes
    // are valid.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    Ok((address.sll_ifindex, address.sll_protocol))
}

/// The identity of a socket's network namespace (`SO_NETNS_COOKIE`).
fn namespace_of(socket: &impl AsRawFd) -> io::Result<[u32; 2]> {
    get_option(socket, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE)
}
