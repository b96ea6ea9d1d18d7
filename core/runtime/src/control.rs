//! The control channel: a Unix socket in the state folder, one JSON line each way.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::status::{Board, Status};

/// The socket's name in the state folder.
pub const SOCKET: &str = "control.sock";
/// How long one peer may take to ask or to read.
const PEER_LIMIT: Duration = Duration::from_secs(2);
/// The longest request.
const REQUEST_MAX: u64 = 4096;
/// How often the server looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);

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

/// Serves the control socket until dropped.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Binds `state/control.sock` with mode 0600. A socket left by a dead process is replaced.
    ///
    /// # Errors
    /// What the operating system answered; `AddrInUse` when another head-end answers on it.
    pub fn bind(state: &Path, board: Arc<Board>) -> io::Result<Self> {
        let path = state.join(SOCKET);
        if UnixStream::connect(&path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("another head-end runs on {}", state.display()),
            ));
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let end = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&end);
        let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
            while !ends.load(Ordering::Acquire) {
                match listener.accept() {
                    Ok((peer, _)) => {
                        if let Err(error) = serve(&peer, &board) {
                            info!(%error, "a control peer was not served");
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(LOOK),
                    Err(error) => {
                        warn!(%error, "the control socket does not accept");
                        std::thread::sleep(LOOK);
                    }
                }
            }
        })?;
        Ok(Self { path, end, thread: Some(thread) })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        drop(std::fs::remove_file(&self.path));
    }
}

fn serve(peer: &UnixStream, board: &Board) -> io::Result<()> {
    peer.set_nonblocking(false)?;
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
    use node::Meters;
    use std::time::Instant;

    fn board() -> Arc<Board> {
        Arc::new(Board {
            graph: "g".into(),
            entries: vec![],
            edges: vec![],
            meters: Meters::default(),
            since: Instant::now(),
        })
    }

    #[test]
    fn status_is_asked_over_the_socket_and_only_by_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let server = ControlServer::bind(folder.path(), board()).unwrap();
        let mode = std::fs::metadata(folder.path().join(SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        match ask(folder.path(), &Request::Status).unwrap() {
            Answer::Status(status) => assert_eq!(status.graph, "g"),
            Answer::Error(error) => panic!("{error}"),
        }
        assert!(ControlServer::bind(folder.path(), board()).is_err(), "a second head-end is refused");
        drop(server);
        assert!(ask(folder.path(), &Request::Status).is_err());
    }
}
