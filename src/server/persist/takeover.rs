//! A new process takes over the sockets of the running one, so that no request and no frame is
//! lost.
//!
//! Sockets are handed over, not opened twice: two groups on one port would share its requests, and
//! steering would deliver to the wrong group; two packet sockets would see each frame twice. What
//! arrives meanwhile waits in the sockets.
//!
//! ```text
//! new  ->  "RTHANDOV", version, and what it wants to serve as a text with its length
//! old  ->  1 byte: 0 agreed, 1 it serves something else, 2 it speaks another version
//!          stops its workers, saves the swarms
//! old  ->  messages with sockets and their purpose, then one that says these were all
//! new  ->  1 byte: 0 all received
//! old  ->  ends, which the new process sees as the end of the stream
//! ```
//!
//! A process of version 1 answers every other version with 1.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use nix::unistd::geteuid;
use tracing::{info, warn};

use super::directory::PRIVATE_MODE;
use crate::sys::fd_bundle::{FdBundle, Inherited, receive_bundles, send_bundles};
use crate::sys::fd_passing::peer_user;
use crate::telemetry::log::LogOnChange;

/// Waits for a successor.
#[derive(Debug)]
pub struct Offer {
    path: PathBuf,
    serves: String,
    listener: Arc<UnixListener>,
    /// The stream to the successor, once one has connected.
    successor: Arc<Mutex<Option<UnixStream>>>,
    /// Readable once there is one.
    found: Arc<EventFd>,
}

/// The stream to a successor that has everything: it starts serving when this is dropped.
#[derive(Debug)]
pub struct HandedOver(#[expect(dead_code, reason = "its end is the message")] UnixStream);

impl Offer {
    /// Listens at `path` for a successor that wants to serve the same as this process, as `serves`
    /// says. The offer is readable once one has come.
    ///
    /// # Errors
    /// The system's.
    pub fn start(path: PathBuf, serves: String) -> io::Result<Self> {
        // A socket at this path is left from a process that has ended: the directory is locked.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = Arc::new(UnixListener::bind(&path)?);
        fs::set_permissions(&path, Permissions::from_mode(PRIVATE_MODE))?;
        let successor = Arc::new(Mutex::new(None));
        let found = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let listening = Arc::clone(&listener);
        let to_successor = Arc::clone(&successor);
        let wake = Arc::clone(&found);
        let expected = serves.clone();
        let wait = move || {
            let mut refused = LogOnChange::default();
            loop {
                let stream = match listening.accept() {
                    Ok((stream, _)) => stream,
                    // Shut down by the end of the offer.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                    // Most likely there are too many open files: that passes.
                    Err(error) => {
                        if refused.is_news(&error.to_string()) {
                            warn!("no process can take over now: {error}");
                        }
                        std::thread::sleep(ACCEPT_PAUSE);
                        continue;
                    }
                };
                refused.is_over();
                match agree(&stream, &expected) {
                    Ok(()) => {
                        info!("another process takes over");
                        *to_successor.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
                        // It cannot overflow: this is the only write.
                        let _ = wake.write(1);
                        return;
                    }
                    Err(error) => warn!("a process that asked to take over is refused: {error}"),
                }
            }
        };
        std::thread::Builder::new().name("handover".into()).spawn(wait)?;
        Ok(Self { path, serves, listener, successor, found })
    }

    /// Whether there is a successor, and whether it still waits.
    pub fn successor(&self) -> Option<Presence> {
        let successor = self.successor.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = successor.as_ref()?;
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        // It sends nothing before it has the sockets: anything to read is the end of the stream.
        match recv(stream.as_raw_fd(), &mut [0], flags) {
            Err(Errno::EAGAIN | Errno::EINTR) => Some(Presence::There),
            Ok(_) | Err(_) => Some(Presence::Gone),
        }
    }

    /// Sends the sockets in `bundles` to the successor, if there is one, and waits until it has
    /// them. The workers must have stopped, and everything else that it needs must be in place.
    ///
    /// # Errors
    /// When it does not confirm them.
    pub fn hand_over<S: AsFd>(&self, bundles: &[FdBundle<S>]) -> io::Result<()> {
        let successor = self.successor.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = successor.as_ref() else { return Ok(()) };
        deliver(stream, bundles)?;
        let sockets: usize = bundles.iter().map(|bundle| bundle.sockets.len()).sum();
        info!(sockets, "handed over");
        Ok(())
    }

    /// Stops waiting for a successor.
    pub fn finish(self) -> Option<HandedOver> {
        self.close().map(HandedOver)
    }

    /// Drops the successor, and waits for another.
    ///
    /// # Errors
    /// The system's.
    pub fn renew(self) -> io::Result<Self> {
        let (path, serves) = (self.path.clone(), self.serves.clone());
        drop(self.close());
        Self::start(path, serves)
    }

    fn close(self) -> Option<UnixStream> {
        // Before the successor starts: it creates its own at this path.
        let _ = fs::remove_file(&self.path);
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        self.successor.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl AsFd for Offer {
    /// Readable once a process has asked to take over.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.found.as_fd()
    }
}

/// Whether a successor still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It waits.
    There,
    /// It went away.
    Gone,
}

/// Takes over the sockets of the process that listens at `path`, and waits for its end. `None` when
/// nothing listens, or when it ended without handing anything over.
///
/// # Errors
/// When it refuses, or does not answer in time.
pub fn take_over(path: &Path, serves: &str) -> io::Result<Option<Inherited>> {
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
    check_answer(answer)?;
    info!("taking over from the process that runs");
    stream.set_read_timeout(Some(STOP_TIMEOUT))?;
    let bundles = match receive_bundles(&stream) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        received => received?,
    };
    stream.write_all(&[TAKEN])?;
    // The stream ends with the process, or at least after it has unlocked its directory.
    match stream.read(&mut [0]) {
        Ok(0) => Ok(Some(Inherited::new(bundles))),
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        Err(error) => Err(error),
    }
}

/// Turns a refusal into an error.
fn check_answer([answer]: [u8; 1]) -> io::Result<()> {
    let reason = match answer {
        AGREED => return Ok(()),
        OTHER_VERSION => "hands over in another way, as another version",
        _ => {
            "serves other addresses or with another number of workers, or hands over in another \
             way, as an earlier version"
        }
    };
    let text = format!("the process that runs {reason}; stop it before this one is started");
    Err(io::Error::other(text))
}

/// Sends the sockets, and waits for the confirmation.
fn deliver<S: AsFd>(mut stream: &UnixStream, bundles: &[FdBundle<S>]) -> io::Result<()> {
    send_bundles(stream, bundles)?;
    let mut word = [REFUSED];
    stream.read_exact(&mut word)?;
    if word == [TAKEN] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Reads the request of a process that connected, and answers it.
fn agree(mut stream: &UnixStream, serves: &str) -> io::Result<()> {
    check_peer(stream)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let expected = request(serves);
    let mut head = [0; REQUEST_HEAD_BYTES];
    stream.read_exact(&mut head)?;
    let mut wanted = Vec::new();
    if head == expected[..REQUEST_HEAD_BYTES] {
        // The length in the head is the expected one, so this reads no more than that.
        let length = expected.len() - REQUEST_HEAD_BYTES;
        stream.take(length as u64).read_to_end(&mut wanted)?;
    }
    let other_version = head[..VERSION_AT] == MAGIC && head[VERSION_AT..][..4] != VERSION_BYTES;
    let (answer, refusal) = match wanted == expected[REQUEST_HEAD_BYTES..] {
        _ if other_version => (OTHER_VERSION, "it is another version"),
        true => (AGREED, ""),
        false => (REFUSED, "it serves something else"),
    };
    stream.write_all(&[answer])?;
    if answer == AGREED { Ok(()) } else { Err(io::Error::other(refusal)) }
}

fn request(serves: &str) -> Vec<u8> {
    let length = serves.len() as u32;
    [&MAGIC[..], &VERSION_BYTES, &length.to_be_bytes(), serves.as_bytes()].concat()
}

/// Refuses a process that runs neither as the same user nor as root.
fn check_peer(stream: &UnixStream) -> io::Result<()> {
    let user = peer_user(stream)?;
    if user == geteuid().as_raw() || user == 0 {
        return Ok(());
    }
    let reason = format!("the process at the other end runs as user {user}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

const MAGIC: [u8; 8] = *b"RTHANDOV";
const VERSION_BYTES: [u8; 4] = 2u32.to_be_bytes();
const VERSION_AT: usize = MAGIC.len();
const REQUEST_HEAD_BYTES: usize = 16;
const AGREED: u8 = 0;
const REFUSED: u8 = 1;
const OTHER_VERSION: u8 = 2;
const TAKEN: u8 = 0;
/// Enough for an answer, which takes no work.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How long the other process may take to finish its replies and save its swarms: more than the
/// longest `shutdown_timeout`.
const STOP_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd_bundle::Purpose;

    #[test]
    fn golden_request() {
        let golden = [&b"RTHANDOV"[..], &[0, 0, 0, 2, 0, 0, 0, 2], b"ab"].concat();
        assert_eq!(request("ab"), golden);
    }

    #[test]
    fn only_who_serves_the_same_gets_an_agreement() {
        let earlier = [&b"RTHANDOV"[..], &[0, 0, 0, 1, 0, 0, 0, 8], b"the same"].concat();
        for (sent, expected) in [
            (request("the same"), AGREED),
            (request("the sam"), REFUSED),
            (request("the samE"), REFUSED),
            (request(&"x".repeat(1 << 20))[..16].to_vec(), REFUSED),
            (earlier, OTHER_VERSION),
            (b"GET / HTTP/1.1\r\n".to_vec(), REFUSED),
        ] {
            let (old, mut new) = UnixStream::pair().unwrap();
            new.write_all(&sent).unwrap();
            assert_eq!(agree(&old, "the same").is_ok(), expected == AGREED);
            drop(old);
            let mut answer = Vec::new();
            // What was left unread resets the stream; the answer comes first.
            let _ = new.read_to_end(&mut answer);
            assert_eq!(answer, [expected]);
            assert_eq!(check_answer([expected]).is_ok(), expected == AGREED);
        }
    }

    #[test]
    fn a_process_of_version_1_refuses_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let earlier = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; REQUEST_HEAD_BYTES]).unwrap();
            stream.write_all(&[1]).unwrap();
        });
        let refusal = take_over(&path, "").unwrap_err().to_string();
        assert!(refusal.contains("an earlier version"), "{refusal}");
        earlier.join().unwrap();
    }

    #[test]
    fn sockets_count_as_handed_over_when_the_other_one_says_so() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let bundles = [FdBundle { purpose: Purpose::Listening, sockets: vec![socket] }];
        for (word, delivered) in [(&[TAKEN][..], true), (&[REFUSED], false), (&[], false)] {
            let (old, mut new) = UnixStream::pair().unwrap();
            new.write_all(word).unwrap();
            new.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(deliver(&old, &bundles).is_ok(), delivered, "{word:?}");
            assert_eq!(receive_bundles(&new).unwrap().len(), 1);
        }
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
        offer.hand_over::<UnixStream>(&[]).unwrap();
        assert!(offer.finish().is_none());
        assert!(!path.exists());
    }
}
