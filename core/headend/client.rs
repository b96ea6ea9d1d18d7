//! What speaks to a head-end's interface: one call, its answer or what the head-end says against it.

mod campaign;
mod command;
mod device;
mod group;
mod token;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use api::Problem;
use clap::Args;
use miette::{IntoDiagnostic, WrapErr, miette};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Uri;
use ureq::http::header::RETRY_AFTER;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy};

pub use campaign::{CampaignCommand, advance, campaign};
pub(crate) use command::now;
pub use command::{CommandCommand, command};
pub use device::{DeviceCommand, device};
pub use group::{GroupCommand, group};
pub use token::{TokenCommand, token};

/// Where the token is looked for.
const TOKEN: &str = "METERGRAPH_TOKEN";
/// How long one call may take beyond what it asks to wait for.
const CALL: Duration = Duration::from_secs(30);
/// How often a question is asked again when the head-end is busy.
const TRIES: u32 = 5;
/// The longest pause before it is asked again, in seconds.
const PAUSE_MAX_S: u64 = 5;

/// Where the interface is, and who calls.
#[derive(Clone, Debug, Args)]
pub struct ApiArgs {
    /// The head-end's interface.
    #[arg(long, global = true, default_value = "http://127.0.0.1:8443")]
    pub api: String,
    /// The bearer token's file; default: the environment's METERGRAPH_TOKEN.
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// PEM: the roots that the interface's certificate hangs under.
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// One JSON object.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The interface of a head-end.
pub struct Client {
    agent: Agent,
    base: String,
    authorization: String,
}

impl Client {
    /// # Errors
    /// For people: no token, no such file, an address to which the token would travel in clear.
    pub fn new(args: &ApiArgs) -> miette::Result<Self> {
        let sealed = sealed(&args.api)?;
        let token = match &args.token_file {
            Some(path) => std::fs::read_to_string(path)
                .into_diagnostic()
                .wrap_err_with(|| format!("{}", path.display()))?,
            None => std::env::var(TOKEN).map_err(|_| {
                miette!(
                    help = "`metergraph token add NAME --role operator` makes one",
                    "no token: set {TOKEN} or give --token-file"
                )
            })?,
        };
        let roots = match &args.ca {
            None => RootCerts::new_with_certs(&[]),
            Some(path) => {
                let pem =
                    std::fs::read(path).into_diagnostic().wrap_err_with(|| format!("{}", path.display()))?;
                let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
                    .filter_map(|item| match item {
                        Ok(PemItem::Certificate(certificate)) => Some(certificate),
                        _ => None,
                    })
                    .collect();
                RootCerts::new_with_certs(&certificates)
            }
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // The token is for this address alone; a proxy sees it only sealed.
            .max_redirects(0)
            .proxy(sealed.then(Proxy::try_from_env).flatten())
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build()
            .new_agent();
        let base = args.api.trim_end_matches('/').to_owned();
        Ok(Self { agent, base, authorization: format!("Bearer {}", token.trim()) })
    }

    /// # Errors
    /// For people: no connection, or what the head-end says against it.
    pub fn get<T: DeserializeOwned>(&self, path: &str, wait: Duration) -> miette::Result<T> {
        let mut tries = 1;
        loop {
            let call = self.agent.get(self.url(path)).header("Authorization", &self.authorization);
            let answer = call.config().timeout_global(Some(CALL + wait)).build().call();
            let pause = answer.as_ref().ok().and_then(pause).filter(|_| tries < TRIES);
            let Some(pause) = pause else { return self.read(answer) };
            std::thread::sleep(pause);
            tries += 1;
        }
    }

    /// # Errors
    /// As for [`Self::get`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> miette::Result<T> {
        let call = self.agent.post(self.url(path)).header("Authorization", &self.authorization);
        self.read(call.config().timeout_global(Some(CALL)).build().send_json(body))
    }

    /// # Errors
    /// As for [`Self::get`].
    pub fn delete<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> miette::Result<T> {
        let call = self.agent.delete(self.url(path)).header("Authorization", &self.authorization);
        let call = call.config().timeout_global(Some(CALL)).build().force_send_body();
        self.read(call.send_json(body))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> miette::Result<T> {
        let mut answer = answer.map_err(|error| {
            miette!(
                help = "is the head-end running, and has its graph a node of kind `api`?",
                "{}: {error}",
                self.base
            )
        })?;
        if answer.status().is_success() {
            return answer.body_mut().read_json().into_diagnostic().wrap_err("the interface's answer");
        }
        let status = answer.status();
        match answer.body_mut().read_json::<Problem>() {
            Ok(Problem { code, detail, help: Some(help), .. }) => {
                Err(miette!(help = help, "{code}: {detail}"))
            }
            Ok(Problem { code, detail, .. }) => Err(miette!("{code}: {detail}")),
            Err(_) => Err(miette!("the interface answered {status}")),
        }
    }
}

/// Whether what travels to this address is sealed; plain HTTP is for this machine alone.
fn sealed(base: &str) -> miette::Result<bool> {
    let uri: Uri = base.parse().into_diagnostic().wrap_err_with(|| format!("--api {base}"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(true),
        Some("http") if here => Ok(false),
        _ => Err(miette!(
            help = "use https://, or a loopback address",
            "--api {base}: the token would travel in clear"
        )),
    }
}

/// How soon a busy head-end wants to be asked again, where that is soon.
fn pause(answer: &ureq::http::Response<ureq::Body>) -> Option<Duration> {
    let busy = matches!(answer.status().as_u16(), 429 | 503);
    let seconds = answer.headers().get(RETRY_AFTER).filter(|_| busy)?.to_str().ok()?.parse().ok()?;
    (seconds <= PAUSE_MAX_S).then(|| Duration::from_secs(seconds))
}

/// Prints an answer as JSON, or as `text` has it.
fn show<T: Serialize>(json: bool, answer: &T, text: impl FnOnce(&T) -> String) -> miette::Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string(answer).into_diagnostic()?);
    } else {
        println!("{}", text(answer));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn a_token_leaves_this_machine_only_sealed() {
        for (base, is) in [
            ("http://127.0.0.1:8443", false),
            ("http://[::1]:8443", false),
            ("http://localhost:8443", false),
            ("https://head-end.example", true),
        ] {
            assert_eq!(sealed(base).unwrap(), is, "{base}");
        }
        for base in [
            "http://head-end.example:8443",
            "http://10.0.0.1",
            "http://localhost.example",
            "http://127.0.0.1@head-end.example",
            "127.0.0.1:8443",
            "ftp://127.0.0.1",
            "",
        ] {
            assert!(sealed(base).is_err(), "{base}");
        }
    }

    /// Gives these answers, one a connection; then nobody is there.
    fn served(answers: Vec<&'static str>) -> (Client, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            for answer in answers {
                let (mut peer, _) = listener.accept().unwrap();
                let mut head = [0; 4096];
                let read = peer.read(&mut head).unwrap();
                assert!(String::from_utf8_lossy(&head[..read]).contains("Bearer mgt_1"));
                peer.write_all(answer.as_bytes()).unwrap();
            }
        });
        let agent = Agent::config_builder().http_status_as_error(false).max_redirects(0).proxy(None).build();
        (Client { agent: agent.into(), base, authorization: "Bearer mgt_1".into() }, server)
    }

    #[test]
    fn a_busy_head_end_is_asked_again_and_a_redirect_is_not_followed() {
        const BUSY: &str =
            "HTTP/1.1 429 x\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        const OK: &str = "HTTP/1.1 200 x\r\ncontent-length: 1\r\nconnection: close\r\n\r\n7";
        const AWAY: &str = "HTTP/1.1 302 x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let (client, server) = served(vec![BUSY, BUSY, OK]);
        assert_eq!(client.get::<u32>("/", Duration::ZERO).unwrap(), 7);
        server.join().unwrap();
        let (client, server) = served(vec![BUSY; TRIES as usize]);
        assert!(client.get::<u32>("/", Duration::ZERO).unwrap_err().to_string().contains("429"));
        server.join().unwrap();
        let (client, server) = served(vec![AWAY]);
        assert!(client.get::<u32>("/", Duration::ZERO).unwrap_err().to_string().contains("302"));
        server.join().unwrap();
    }
}
