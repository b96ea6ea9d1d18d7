//! A running graph, as its owner holds it.

use std::cell::OnceCell;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix::{Addr, System};
use graph::Plan;
use node::env::Services;
use node::{BuildError, Registry};
use tokio::sync::oneshot;
use transport::TransportError;

use crate::build::{Built, build};
use crate::control::{ControlServer, ControlSocket};
use crate::head::{BeginStop, End, Head};
use crate::http;
use crate::page::Page;
use crate::status::{Board, Status};

/// What a program brings to a graph.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The state folder; made when absent.
    pub state: PathBuf,
    /// Folders in which plugins are looked for, in order.
    pub plugin_dirs: Vec<PathBuf>,
    /// Services of the program itself, under the name `""`.
    pub services: Services,
}

/// Why a graph could not be started.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The plan names a kind that the registry does not have: it was made with another registry.
    #[error("node `{node}`: kind `{kind}` is not known here")]
    UnknownKind {
        /// The node.
        node: String,
        /// The kind.
        kind: String,
    },
    /// A node could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A transport could not be opened.
    #[error("transport `{transport}`")]
    Transport {
        /// The transport.
        transport: String,
        /// What came back.
        #[source]
        source: TransportError,
    },
    /// The state folder, the control socket or the HTTP address.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system answered.
        #[source]
        source: std::io::Error,
    },
    /// The actor system ended before the graph ran.
    #[error("the actor system did not start")]
    System,
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> RuntimeError {
    let what = what.into();
    move |source| RuntimeError::Io { what, source }
}

/// A running graph. Dropping it stops the graph and waits for its end.
pub struct Running {
    head: Addr<Head>,
    board: Arc<Board>,
    services: Services,
    http: Option<SocketAddr>,
    control: Option<ControlServer>,
    ended: mpsc::Receiver<End>,
    end: OnceCell<End>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({})", self.board.graph)
    }
}

/// Builds and starts `plan`.
///
/// # Errors
/// [`RuntimeError`], when something could not be opened; then nothing runs.
pub fn start(plan: &Plan, registry: &Registry, options: Options) -> Result<Running, RuntimeError> {
    std::fs::create_dir_all(&options.state)
        .map_err(io(format!("state folder {}", options.state.display())))?;
    // Before any node opens its files: two head-ends on one state folder would spoil them.
    let control = ControlSocket::claim(&options.state)
        .map_err(io(format!("control socket in {}", options.state.display())))?;
    let bind = |address: &String| TcpListener::bind(address).map_err(io(format!("http listen {address}")));
    let listener = plan.http.as_ref().map(bind).transpose()?;
    let http = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let built = build(plan, registry, &options)?;
    let board = Arc::new(built.board(plan));
    let control = control.serve(Arc::clone(&board)).map_err(io("thread of the control socket"))?;
    let pages = listener.map(|listener| (listener, Arc::new(Page::new(Arc::clone(&board)))));
    let drain_timeout = Duration::from_millis(plan.runtime.drain_timeout_ms);
    let (send_end, ended) = mpsc::channel();
    let (thread, head) = start_actors(built, drain_timeout, pages, send_end)?;
    Ok(Running {
        head,
        board,
        services: options.services,
        http,
        control: Some(control),
        ended,
        end: OnceCell::new(),
        thread: Some(thread),
    })
}

/// What the HTTP side listens on and shows.
type Pages = Option<(TcpListener, Arc<Page>)>;

/// Starts the thread of the actors; it ends when the graph has.
fn start_actors(
    built: Built,
    drain_timeout: Duration,
    pages: Pages,
    send_end: mpsc::Sender<End>,
) -> Result<(JoinHandle<()>, Addr<Head>), RuntimeError> {
    let (send_head, receive_head) = mpsc::channel();
    let body = move || {
        System::new().block_on(async move {
            let server = match pages.map(|(listener, page)| http::serve(listener, page)).transpose() {
                Ok(server) => server,
                Err(error) => return drop(send_head.send(Err(io("the HTTP side")(error)))),
            };
            let (on_end, ended) = oneshot::channel();
            // The owner waits for the head.
            drop(send_head.send(Ok(Head::start(built, drain_timeout, on_end))));
            let end = ended.await.unwrap_or(End::BROKEN);
            if let Some(server) = server {
                server.stop(false).await;
            }
            // The owner may have let go already.
            let _ = send_end.send(end);
        });
    };
    let thread = std::thread::Builder::new()
        .name("actors".into())
        .spawn(body)
        .map_err(io("thread of the actor system"))?;
    let head = receive_head.recv().map_err(|_| RuntimeError::System)??;
    Ok((thread, head))
}

impl Running {
    /// Begins to stop from the ingress end; returns at once.
    pub fn begin_stop(&self) {
        // A head that is gone has stopped already.
        if self.head.try_send(BeginStop).is_err() {
            tracing::debug!("the graph has ended already");
        }
    }

    /// Waits for the end, at most `limit`; `None` when the graph still runs.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> Option<End> {
        if self.end.get().is_none() {
            let end = match self.ended.recv_timeout(limit) {
                Ok(end) => end,
                Err(mpsc::RecvTimeoutError::Timeout) => return None,
                Err(mpsc::RecvTimeoutError::Disconnected) => End::BROKEN,
            };
            return Some(*self.end.get_or_init(|| end));
        }
        self.end.get().copied()
    }

    /// Stops and waits for the end (bounded by the graph's drain limit and the head's stop limit).
    #[must_use]
    pub fn stop(self) -> (End, Status) {
        let end = loop {
            self.begin_stop();
            if let Some(end) = self.wait(Duration::from_secs(1)) {
                break end;
            }
        };
        (end, self.board.status())
    }

    /// The board as it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.board.status()
    }

    /// The states, edges and meters themselves.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// What the nodes offer.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Where the HTTP side listens.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        drop(self.control.take());
    }
}
