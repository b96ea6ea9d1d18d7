//! The HTTP server: an actix system on a thread of its own, stopped when it is dropped.

use std::io;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::rt::System;
use actix_web::{App, HttpServer, web};
use rustls::ServerConfig;

use crate::guard::guard;
use crate::routes;
use crate::service::Service;

/// Connections held at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;
/// Threads that wait for the desk.
const DESK_THREADS: usize = 16;
/// How long a connection may take over TLS, and over a request's head.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long calls in flight may go on when the server stops, in seconds.
const STOP_LIMIT_S: u64 = 2;

/// A running server.
#[derive(Debug)]
pub struct Server {
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves on `listener`; in plain HTTP without `tls`.
    ///
    /// # Errors
    /// What the operating system answered.
    pub fn start(
        listener: TcpListener,
        tls: Option<ServerConfig>,
        service: web::Data<Service>,
    ) -> io::Result<Self> {
        let (send, receive) = mpsc::channel();
        let body = move || {
            System::new().block_on(async move {
                match serve(listener, tls, service) {
                    Ok(server) => {
                        drop(send.send(Ok(server.handle())));
                        if let Err(error) = server.await {
                            tracing::error!(%error, "the HTTP server failed");
                        }
                    }
                    Err(error) => drop(send.send(Err(error))),
                }
            });
        };
        let thread = std::thread::Builder::new().name("api".into()).spawn(body)?;
        let handle = receive.recv().map_err(io::Error::other)??;
        Ok(Self { handle, thread: Some(thread) })
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Takes no more calls, lets those in flight end within a limit, and waits for that.
    pub fn stop(mut self) {
        self.end(true);
    }

    fn end(&mut self, gracefully: bool) {
        if let Some(thread) = self.thread.take() {
            // The order is given by the call; the future would only wait for its end, as the thread does.
            drop(self.handle.stop(gracefully));
            if thread.join().is_err() {
                tracing::error!("the HTTP server's thread panicked");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(false);
    }
}

fn serve(
    listener: TcpListener,
    tls: Option<ServerConfig>,
    service: web::Data<Service>,
) -> io::Result<actix_web::dev::Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(service.clone())
            .configure(|config| routes::configure(config, service.limits.body_max))
            .wrap(from_fn(guard))
    })
    .workers(1)
    .worker_max_blocking_threads(DESK_THREADS)
    .max_connections(CONNECTIONS_MAX)
    .client_request_timeout(HEAD_LIMIT)
    .tls_handshake_timeout(HEAD_LIMIT)
    .keep_alive(KEEP_ALIVE)
    .disable_signals()
    .shutdown_timeout(STOP_LIMIT_S);
    Ok(match tls {
        Some(tls) => server.listen_rustls_0_23(listener, tls)?,
        None => server.listen(listener)?,
    }
    .run())
}
