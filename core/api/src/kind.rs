//! The node kind: what it may be told, what is refused before anything is opened, and its worker.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::web;
use commands::front::Front;
use node::{
    BuildError, Config, Context, Env, FieldSpec, FieldType, KindSpec, Next, NodeError, NodeKind, Problem,
    Value, Worker,
};
use rustls::ServerConfig;

use crate::bucket::Rate;
use crate::server::Server;
use crate::service::{Limits, Service};
use crate::tls::{self, TlsFiles};
use crate::tokens::{TokenError, Tokens};

/// How often the worker looks at its orders, the token file and what to tell.
const LOOK: Duration = Duration::from_millis(500);

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApiKind;

/// The service that an `api` node offers under its name: where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listens(pub SocketAddr);

impl NodeKind for ApiKind {
    fn spec(&self) -> KindSpec {
        let tls = vec![
            FieldSpec::required(
                "cert",
                FieldType::Path,
                "PEM: the server's certificate, then those up to its root.",
            ),
            FieldSpec::required("key", FieldType::Path, "PEM: its private key."),
            FieldSpec::optional(
                "client_ca",
                FieldType::Path,
                "PEM: roots of clients' certificates; a client without one is then not heard.",
            ),
        ];
        KindSpec {
            name: "api",
            about: "Serves commands, devices and groups over HTTP, as /v1.",
            fields: vec![
                FieldSpec::required(
                    "desk",
                    FieldType::Node { service: crate::DESK_SERVICE },
                    "The command desk.",
                ),
                FieldSpec::or(
                    "listen",
                    FieldType::Address,
                    "127.0.0.1:8443",
                    "Where it listens; beyond loopback only with `tls`.",
                ),
                FieldSpec::optional("tls", FieldType::Table(tls), "Certificate and key: TLS 1.3."),
                FieldSpec::or("tokens", FieldType::Path, "tokens.toml", "File of the bearer tokens' hashes."),
                FieldSpec::integer("body_max_kib", (1, 65_536), 1024, "Longest body of a request, in KiB."),
                FieldSpec::integer("requests_max", (1, 4096), 256, "Requests in flight."),
                FieldSpec::integer("rate_per_s", (1, 10_000), 20, "Calls a second of one token."),
                FieldSpec::integer("burst", (1, 10_000), 40, "Calls at once of one token after a pause."),
                FieldSpec::integer("time_limit_s", (1, 600), 10, "Time that a request may take, in s."),
                FieldSpec::integer("wait_max_s", (0, 600), 60, "Longest wait for a command's end, in s."),
            ],
            inputs: vec![],
            outputs: vec![],
            provides: vec![],
            instances: None,
            transport: None,
        }
    }

    fn check(&self, config: &Config) -> Vec<Problem> {
        let listen = config.text("listen");
        if config.table("tls").is_some() || is_loopback(listen) {
            return Vec::new();
        }
        vec![Problem {
            code: "node::plain_http",
            field: Some("listen"),
            message: format!("`{listen}` can be reached from outside, and tokens would travel in clear"),
            help: Some(
                "add `tls = { cert = \"...\", key = \"...\" }`, or listen on a loopback address such as 127.0.0.1"
                    .to_owned(),
            ),
            warning: false,
        }]
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        let name = config.text("desk");
        let desk = env.services.find::<Front>(name);
        let desk = desk.ok_or_else(|| BuildError::new(env, format!("the desk `{name}` is not open")))?;
        let path = env.state.join(config.text("tokens"));
        let changed = changed(&path);
        let tokens = match Tokens::read(&path) {
            Ok(tokens) => tokens,
            // Nobody may call until there is a token; it is looked for again and again.
            Err(TokenError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Tokens::default(),
            Err(error) => {
                let what = format!("token file {} (`metergraph token add`)", path.display());
                return Err(BuildError::caused(env, what, error));
            }
        };
        let files = |table: &std::collections::BTreeMap<String, Value>| {
            let path = |key: &str| match table.get(key) {
                Some(Value::Text(text)) => Some(env.state.join(text)),
                _ => None,
            };
            TlsFiles {
                cert: path("cert").unwrap_or_default(),
                key: path("key").unwrap_or_default(),
                client_ca: path("client_ca"),
            }
        };
        let tls = config.table("tls").map(files).map(|files| tls::server_config(&files)).transpose();
        let tls = tls.map_err(|error| BuildError::caused(env, "TLS", error))?;
        let listen = config.text("listen");
        let cannot = |error| BuildError::caused(env, format!("listen on {listen}"), error);
        let listener = TcpListener::bind(listen).map_err(cannot)?;
        env.services.provide(&env.node, Arc::new(Listens(listener.local_addr().map_err(cannot)?)));
        let service = web::Data::new(Service::new(desk, tokens, limits(config), env));
        Ok(Box::new(Doorkeeper { open: Some((listener, tls)), service, path, changed }))
    }
}

fn limits(config: &Config) -> Limits {
    let seconds = |key| Duration::from_secs(config.count(key) as u64);
    let small = |key| u32::try_from(config.integer(key)).unwrap_or(1);
    Limits {
        body_max: config.count("body_max_kib").saturating_mul(1024),
        requests_max: config.count("requests_max"),
        rate: Rate { per_second: small("rate_per_s"), burst: small("burst") },
        time: seconds("time_limit_s"),
        wait_max: seconds("wait_max_s"),
    }
}

/// Whether nobody outside this machine reaches an address; a name other than `localhost` may lead anywhere.
fn is_loopback(listen: &str) -> bool {
    match listen.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => listen.rsplit_once(':').is_some_and(|(host, _)| host == "localhost"),
    }
}

/// Which token file it is, and when it was written: two writings may share a tick of the clock.
type Written = (SystemTime, u64, u64);

fn changed(path: &std::path::Path) -> Option<Written> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.modified().ok()?, data.ino(), data.len()))
}

struct Doorkeeper {
    /// Until the server runs.
    open: Option<(TcpListener, Option<ServerConfig>)>,
    service: web::Data<Service>,
    path: PathBuf,
    changed: Option<Written>,
}

impl Worker for Doorkeeper {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        let (listener, tls) =
            self.open.take().ok_or_else(|| NodeError::Rebuild("the listener was used".to_owned()))?;
        let server = Server::start(listener, tls, self.service.clone())
            .map_err(|error| NodeError::caused("serve HTTP", error))?;
        loop {
            let next = context.next(LOOK)?;
            self.service.refusals.tell(context);
            match next {
                Next::Finished => break,
                Next::Batch { batch, .. } => context.count_dropped(batch.len() as u64),
                Next::Event(_) | Next::Idle => {}
            }
            if server.has_ended() {
                return Err(NodeError::new("the HTTP server ended"));
            }
            self.follow_the_file();
        }
        server.stop();
        self.service.refusals.tell(context);
        Ok(())
    }
}

impl Doorkeeper {
    /// Tokens are added and removed while the head-end runs. A file that cannot be read changes nothing.
    fn follow_the_file(&mut self) {
        let changed = changed(&self.path);
        if changed == self.changed {
            return;
        }
        self.changed = changed;
        match Tokens::read(&self.path) {
            Ok(tokens) => self.service.set_tokens(tokens),
            Err(error) => tracing::warn!(
                file = %self.path.display(), %error, "the token file cannot be read; the tokens before it stay"
            ),
        }
    }
}
