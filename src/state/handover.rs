//! A new process takes the sockets of the one that runs, so that no request is lost.
//!
//! Sockets are handed over, not opened twice: two groups on one port would share its requests, and
//! steering would deliver to the wrong ones. What clients send meanwhile waits in the sockets.
//!
//! ```text
//! new  ->  "RTHANDOV", version, length and text of what it wants to serve
//! old  ->  1 byte: 0 agreed, 1 it serves something else
//!          stops its workers, saves the swarms
//! old  ->  messages of a count and as many sockets, a count of 0 at last
//!          ends, which the new process sees as the end of the stream
//! ```

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use nix::unistd::{Pid, geteuid};
use tracing::{info, warn};

use super::directory::PRIVATE_MODE;
use crate::net::descriptors::{DESCRIPTORS_MAX, peer_user, receive_descriptors, send_descriptors};

/// Waits for a successor.
#[derive(Debug)]
pub struct Offer {
    path: PathBuf,
    serves: String,
    listener: Arc<UnixListener>,
    /// The stream to the successor, once there is one.
    successor: Arc<Mutex<Option<UnixStream>>>,
}

/// The stream to a successor that has everything: it starts when this is dropped.
#[derive(Debug)]
pub struct HandedOver(#[expect(dead_code, reason = "its end is the message")] UnixStream);

impl Offer {
    /// Listens at `path` for a successor that wants to serve the same as this process, as `serves`
    /// tells. When one comes, the process is sent SIGTERM.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(path: PathBuf, serves: String) -> io::Result<Self> {
        // Whatever is there is of a process that has ended: the directory is locked.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = Arc::new(UnixListener::bind(&path)?);
        fs::set_permissions(&path, Permissions::from_mode(PRIVATE_MODE))?;
        let successor = Arc::new(Mutex::new(None));
        let (listening, found) = (Arc::clone(&listener), Arc::clone(&successor));
        let told = serves.clone();
        let wait = move || {
            while let Ok((stream, _)) = listening.accept() {
                match agree(&stream, &told) {
                    Ok(()) => {
                        info!("another process takes over");
                        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
                        // The control thread waits for signals: it is asked as an operator would.
                        let _ = kill(Pid::this(), Signal::SIGTERM);
                        return;
                    }
                    Err(error) => warn!("a process that asked to take over is refused: {error}"),
                }
            }
        };
        std::thread::Builder::new().name("handover".into()).spawn(wait)?;
        Ok(Self { path, serves, listener, successor })
    }

    /// Whether there is a successor, and whether it is still there.
    pub fn successor(&self) -> Option<Presence> {
        let successor = self.successor.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = successor.as_ref()?;
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        // It says nothing more: what can be read is the end.
        match recv(stream.as_raw_fd(), &mut [0], flags) {
            Err(Errno::EAGAIN | Errno::EINTR) => Some(Presence::There),
            Ok(_) | Err(_) => Some(Presence::Gone),
        }
    }

    /// Gives `sockets` to the successor, if there is one. The workers must not run any more, and
    /// everything else that it needs must be in place by now.
    ///
    /// # Errors
    /// When it does not take them.
    pub fn hand_over(&self, sockets: &[impl AsFd]) -> io::Result<()> {
        let successor = self.successor.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = successor.as_ref() else { return Ok(()) };
        give(stream, sockets)?;
        info!(sockets = sockets.len(), "handed over");
        Ok(())
    }

    /// Stops waiting.
    pub fn finish(self) -> Option<HandedOver> {
        self.close().map(HandedOver)
    }

    /// Forgets the successor, and waits for another one.
    ///
    /// # Errors
    /// What the system says.
    pub fn renew(self) -> io::Result<Self> {
        let (path, serves) = (self.path.clone(), self.serves.clone());
        drop(self.close());
        Self::start(path, serves)
    }

    fn close(self) -> Option<UnixStream> {
        // Before the successor starts: it makes one of its own at this place.
        let _ = fs::remove_file(&self.path);
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        self.successor.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Whether one that asked to take over still wants to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It waits.
    There,
    /// It went away.
    Gone,
}

/// Takes the sockets of the process that listens at `path`, and waits for its end. `None` when
/// nobody listens, or when it ended without handing anything over.
///
/// # Errors
/// When it does not agree, or does not answer in time.
pub fn take_over(path: &Path, serves: &str) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                _ => Err(error),
            };
        }
    };
    check_peer(&stream)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(&request(serves))?;
    let mut answer = [REFUSED];
    stream.read_exact(&mut answer)?;
    if answer != [AGREED] {
        return Err(io::Error::other(
            "the process that runs serves other addresses or with another number of workers; \
             stop it before this one is started",
        ));
    }
    info!("taking over from the process that runs");
    stream.set_read_timeout(Some(STOP_TIMEOUT))?;
    let sockets = match receive(&stream) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        received => received?,
    };
    // The end of the stream is the end of the process, or at least of what it has locked.
    match stream.read(&mut [0]) {
        Ok(0) => Ok(Some(sockets)),
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        Err(error) => Err(error),
    }
}

/// Reads the request of one that connected, and answers it.
fn agree(mut stream: &UnixStream, serves: &str) -> io::Result<()> {
    check_peer(stream)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let expected = request(serves);
    let mut head = [0; REQUEST_HEAD_BYTES];
    stream.read_exact(&mut head)?;
    let mut wanted = Vec::new();
    if head == expected[..REQUEST_HEAD_BYTES] {
        // The length is the one that is expected, so this reads no more than that.
        let length = expected.len() - REQUEST_HEAD_BYTES;
        stream.take(length as u64).read_to_end(&mut wanted)?;
    }
    let agreed = wanted == expected[REQUEST_HEAD_BYTES..];
    stream.write_all(&[if agreed { AGREED } else { REFUSED }])?;
    if agreed { Ok(()) } else { Err(io::Error::other("it serves something else")) }
}

fn request(serves: &str) -> Vec<u8> {
    let length = serves.len() as u32;
    [&MAGIC[..], &VERSION.to_be_bytes(), &length.to_be_bytes(), serves.as_bytes()].concat()
}

/// The other end must run as the same user, or as root.
fn check_peer(stream: &UnixStream) -> io::Result<()> {
    let user = peer_user(stream)?;
    if user == geteuid().as_raw() || user == 0 {
        return Ok(());
    }
    let reason = format!("the process at the other end runs as user {user}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

fn give(stream: &UnixStream, sockets: &[impl AsFd]) -> io::Result<()> {
    for batch in sockets.chunks(DESCRIPTORS_MAX) {
        let descriptors: Vec<_> = batch.iter().map(AsFd::as_fd).collect();
        send_descriptors(stream, &(batch.len() as u32).to_be_bytes(), &descriptors)?;
    }
    send_descriptors(stream, &[0; COUNT_BYTES], &[])
}

fn receive(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::new();
    for _ in 0..BATCHES_MAX {
        let mut count = [0; COUNT_BYTES];
        let (length, descriptors) = receive_descriptors(stream, &mut count)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let announced = u32::from_be_bytes(count) as usize;
        if length != COUNT_BYTES || announced != descriptors.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if announced == 0 {
            return Ok(sockets);
        }
        sockets.extend(descriptors);
    }
    Err(io::ErrorKind::InvalidData.into())
}

const MAGIC: [u8; 8] = *b"RTHANDOV";
const VERSION: u32 = 1;
const REQUEST_HEAD_BYTES: usize = 16;
const AGREED: u8 = 0;
const REFUSED: u8 = 1;
const COUNT_BYTES: usize = 4;
/// Enough for 64 addresses in each of 1,024 workers.
const BATCHES_MAX: usize = 1 + (64 * 1024usize).div_ceil(DESCRIPTORS_MAX);
/// An answer needs no work.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the other process may take to finish its replies and to save its swarms: more than the
/// longest `shutdown_timeout`.
const STOP_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_request() {
        let golden = [&b"RTHANDOV"[..], &[0, 0, 0, 1, 0, 0, 0, 2], b"ab"].concat();
        assert_eq!(request("ab"), golden);
    }

    #[test]
    fn only_who_serves_the_same_gets_an_agreement() {
        for (sent, agreed) in [
            (request("the same"), true),
            (request("the sam"), false),
            (request("the samE"), false),
            (request(&"x".repeat(1 << 20))[..16].to_vec(), false),
            (b"GET / HTTP/1.1\r\n".to_vec(), false),
        ] {
            let (old, mut new) = UnixStream::pair().unwrap();
            new.write_all(&sent).unwrap();
            assert_eq!(agree(&old, "the same").is_ok(), agreed);
            drop(old);
            let mut answer = Vec::new();
            // What was left unread resets the stream; the answer comes first.
            let _ = new.read_to_end(&mut answer);
            assert_eq!(answer == [AGREED], agreed);
        }
    }

    #[test]
    fn many_sockets_arrive_and_cut_streams_are_noticed() {
        let sockets: Vec<_> =
            (0..600).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let (old, new) = UnixStream::pair().unwrap();
        give(&old, &sockets).unwrap();
        let received = receive(&new).unwrap();
        let address = |socket: OwnedFd| std::net::UdpSocket::from(socket).local_addr().unwrap();
        assert!(
            received.into_iter().map(address).eq(sockets.iter().map(|s| s.local_addr().unwrap()))
        );
        send_descriptors(&old, &[0, 0, 0, 2], &[sockets[0].as_fd()]).unwrap();
        assert_eq!(receive(&new).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(old);
        assert_eq!(receive(&new).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn nobody_to_take_over_from_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover.sock");
        assert!(take_over(&path, "").unwrap().is_none());
        drop(UnixListener::bind(&path).unwrap());
        assert!(take_over(&path, "").unwrap().is_none());
    }

    #[test]
    fn an_offer_that_nobody_took_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover.sock");
        let offer = Offer::start(path.clone(), String::new()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        offer.hand_over(&[] as &[OwnedFd]).unwrap();
        assert!(offer.finish().is_none());
        assert!(!path.exists());
    }
}
