//! The HTTP side for operations: the Prometheus page and two health answers.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};

use crate::page::Page;

/// Connections held at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;

/// Serves `/metrics`, `/livez` and `/readyz` on `listener`, within the calling actix system.
///
/// # Errors
/// What the operating system answered when the server could not start.
pub fn serve(listener: TcpListener, page: Arc<Page>) -> std::io::Result<ServerHandle> {
    let page = web::Data::from(page);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(page.clone())
            .route("/metrics", web::get().to(metrics))
            .route("/livez", web::get().to(alive))
            .route("/readyz", web::get().to(ready))
    })
    .workers(1)
    .max_connections(CONNECTIONS_MAX)
    .disable_signals()
    .shutdown_timeout(1)
    .listen(listener)?
    .run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok(handle)
}

async fn metrics(page: web::Data<Page>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(page.render())
}

async fn alive(page: web::Data<Page>) -> HttpResponse {
    answer(&page.board().not_alive())
}

async fn ready(page: web::Data<Page>) -> HttpResponse {
    answer(&page.board().not_ready())
}

/// `ok`, or the nodes that stand in the way, a line each.
fn answer(faults: &[String]) -> HttpResponse {
    if faults.is_empty() {
        HttpResponse::Ok().body("ok\n")
    } else {
        HttpResponse::ServiceUnavailable().body(faults.join("\n") + "\n")
    }
}
