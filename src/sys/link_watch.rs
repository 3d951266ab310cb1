//! Watching interfaces and their addresses while the program runs (rtnetlink(7)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::SockFlag;

use super::interface::{Interface, Interfaces, LinkEvent};
use super::netlink::RouteSocket;

/// Hears from the kernel when interfaces or their addresses change (rtnetlink(7)).
///
/// The descriptor is readable when [`LinkWatch::drain`] has something to do.
#[derive(Debug)]
pub struct LinkWatch {
    socket: RouteSocket,
    interfaces: Interfaces,
    /// News were lost, and the tables have not been read since.
    behind: bool,
}

impl LinkWatch {
    /// Starts to watch the interfaces of this thread's network namespace.
    ///
    /// # Errors
    /// When the socket cannot be opened or the kernel's tables not be read.
    pub fn start() -> io::Result<Self> {
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        // Heard before looked: what changes in between is news that is known already, at worst.
        let socket = RouteSocket::open(groups, SockFlag::SOCK_NONBLOCK)?;
        Ok(Self { socket, interfaces: Interfaces::read()?, behind: false })
    }

    /// The interface of this name, as of the last [`LinkWatch::drain`].
    pub fn find(&self, name: &str) -> Option<&Interface> {
        self.interfaces.find(name)
    }

    /// Takes what is there, without waiting, and says what changed. At most
    /// [`DATAGRAMS_MAX`] datagrams at a time: the descriptor stays readable when there are more.
    ///
    /// # Errors
    /// When news were lost and the kernel's tables cannot be read. The next call tries again.
    pub fn drain(&mut self) -> io::Result<Vec<LinkEvent>> {
        let mut events = Vec::new();
        for _ in 0..DATAGRAMS_MAX {
            let interfaces = &mut self.interfaces;
            match self.socket.receive(|news| interfaces.apply(news, &mut events)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Usually ENOBUFS: the socket's buffer overflowed.
                    tracing::debug!(%error, "news of interfaces were lost");
                    self.behind = true;
                }
            }
        }
        if self.behind {
            self.interfaces = Interfaces::read()?;
            self.behind = false;
            return Ok(vec![LinkEvent::Resync]);
        }
        Ok(events)
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The most datagrams that one call of [`LinkWatch::drain`] takes.
pub const DATAGRAMS_MAX: usize = 1024;
