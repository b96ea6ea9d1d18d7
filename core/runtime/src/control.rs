//! The control channel: a Unix socket in the state folder, one JSON line each way.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::status::{Board, Status};

/// The socket's name in the state folder.
pub const SOCKET: &str = "control.sock";
/// The file whose lock says that a head-end works on the state folder.
const LOCK: &str = "control.lock";
/// How long a head-end that is ending may hold on to the state folder.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
/// How long one peer may take to ask or to read.
const PEER_LIMIT: Duration = Duration::from_secs(2);
/// The longest request.
const REQUEST_MAX: u64 = 4096;
/// Pause after a failed accept, or between two looks at the lock.
const PAUSE: Duration = Duration::from_millis(50);

/// A request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case")]
pub enum Request {
    /// The whole board.
    Status,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Status),
    /// The request was not understood.
    Error(String),
}

/// The claim on a state folder: one head-end at a time works on it.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
    /// Held for as long as the claim; the operating system lets go of it when the process dies.
    _lock: File,
}

impl ControlSocket {
    /// Locks the folder and binds `control.sock` in it with mode 0600; peers wait until it is served. A
    /// socket left by a dead process is replaced.
    ///
    /// # Errors
    /// What the operating system answered; `AddrInUse` when another head-end runs on the folder.
    pub fn claim(state: &Path) -> io::Result<Self> {
        let path = state.join(SOCKET);
        let lock = lock(state, &path)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { path, listener, _lock: lock })
    }

    /// Serves the socket on a thread of its own.
    ///
    /// # Errors
    /// What the operating system answered.
    pub fn serve(self, board: Arc<Board>) -> io::Result<ControlServer> {
        let listener = self.listener.try_clone()?;
        let end = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&end);
        let body = move || {
            loop {
                let accepted = listener.accept();
                if ends.load(Ordering::Acquire) {
                    return;
                }
                if let Err(error) = accepted.and_then(|(peer, _)| serve(&peer, &board)) {
                    info!(%error, "a control peer was not served");
                    std::thread::sleep(PAUSE);
                }
            }
        };
        let thread = std::thread::Builder::new().name("control".into()).spawn(body)?;
        Ok(ControlServer { socket: self, end, thread: Some(thread) })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

/// The lock of the folder; a process that dies just now is waited for.
fn lock(state: &Path, socket: &Path) -> io::Result<File> {
    let lock = File::create(state.join(LOCK))?;
    let since = Instant::now();
    while lock.try_lock().is_err() {
        if UnixStream::connect(socket).is_ok() || since.elapsed() > LOCK_LIMIT {
            let text = format!("another head-end runs on {}", state.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(lock)
}

/// Serves the control socket until dropped.
#[derive(Debug)]
pub struct ControlServer {
    socket: ControlSocket,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        // The thread sleeps in `accept`: a peer wakes it.
        match (UnixStream::connect(&self.socket.path), self.thread.take()) {
            (Ok(_), Some(thread)) => drop(thread.join()),
            (Err(error), _) => warn!(%error, "the control socket is gone; its thread stays behind"),
            _ => {}
        }
    }
}

fn serve(peer: &UnixStream, board: &Board) -> io::Result<()> {
    peer.set_read_timeout(Some(PEER_LIMIT))?;
    peer.set_write_timeout(Some(PEER_LIMIT))?;
    let mut line = String::new();
    BufReader::new(io::Read::take(peer, REQUEST_MAX)).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line) {
        Ok(Request::Status) => Answer::Status(board.status()),
        Err(error) => Answer::Error(error.to_string()),
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    let mut peer = peer;
    peer.write_all(text.as_bytes())
}

/// Asks the head-end that runs on this state folder.
///
/// # Errors
/// What the operating system answered; `NotFound` or `ConnectionRefused` when none runs there.
pub fn ask(state: &Path, request: &Request) -> io::Result<Answer> {
    let mut peer = UnixStream::connect(state.join(SOCKET))?;
    peer.set_read_timeout(Some(PEER_LIMIT))?;
    peer.set_write_timeout(Some(PEER_LIMIT))?;
    let mut text = serde_json::to_string(request)?;
    text.push('\n');
    peer.write_all(text.as_bytes())?;
    let mut line = String::new();
    BufReader::new(peer).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(folder: &Path) -> io::Result<ControlServer> {
        ControlSocket::claim(folder)?.serve(Arc::new(crate::status::tests::board()))
    }

    #[test]
    fn status_is_asked_over_the_socket_and_only_by_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let server = served(folder.path()).unwrap();
        let mode = std::fs::metadata(folder.path().join(SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        match ask(folder.path(), &Request::Status).unwrap() {
            Answer::Status(status) => assert_eq!(status.graph, "g"),
            Answer::Error(error) => panic!("{error}"),
        }
        let second = ControlSocket::claim(folder.path()).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        drop(server);
        assert!(ask(folder.path(), &Request::Status).is_err());
        assert!(!folder.path().join(SOCKET).exists());
    }

    #[test]
    fn a_socket_of_a_dead_process_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(folder.path().join(SOCKET)).unwrap());
        let _server = served(folder.path()).unwrap();
        assert!(ask(folder.path(), &Request::Status).is_ok());
    }

    #[test]
    fn nonsense_is_answered_and_the_next_peer_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let _server = served(folder.path()).unwrap();
        let mut peer = UnixStream::connect(folder.path().join(SOCKET)).unwrap();
        peer.write_all(&vec![b'x'; 100_000]).ok();
        drop(UnixStream::connect(folder.path().join(SOCKET)).unwrap());
        let mut peer = UnixStream::connect(folder.path().join(SOCKET)).unwrap();
        peer.write_all(b"{\"call\":\"dance\"}\n").unwrap();
        let mut line = String::new();
        BufReader::new(peer).read_line(&mut line).unwrap();
        assert!(line.starts_with("{\"error\":"), "{line}");
        assert!(ask(folder.path(), &Request::Status).is_ok());
    }

    #[test]
    fn a_folder_that_went_away_does_not_hold_up_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let server = served(folder.path()).unwrap();
        drop(folder);
        drop(server);
    }
}
