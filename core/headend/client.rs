//! What speaks to a head-end's interface: one call, its answer or what the head-end says against it.

mod campaign;
mod command;
mod device;
mod group;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use api::Problem;
use clap::Args;
use miette::{IntoDiagnostic, WrapErr, miette};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

pub use campaign::{CampaignCommand, advance, campaign};
pub use command::{CommandCommand, command};
pub use device::{DeviceCommand, device};
pub use group::{GroupCommand, group};
pub use token::{TokenCommand, token};

/// Where the token is looked for.
const TOKEN: &str = "METERGRAPH_TOKEN";
/// How long one call may take beyond what it asks to wait for.
const CALL: Duration = Duration::from_secs(30);

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
    /// For people: no token, no such file.
    pub fn new(args: &ApiArgs) -> miette::Result<Self> {
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
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build()
            .new_agent();
        let base = args.api.trim_end_matches('/').to_owned();
        Ok(Self { agent, base, authorization: format!("Bearer {}", token.trim()) })
    }

    /// # Errors
    /// For people: no connection, or what the head-end says against it.
    pub fn get<T: DeserializeOwned>(&self, path: &str, wait: Duration) -> miette::Result<T> {
        let call = self.agent.get(self.url(path)).header("Authorization", &self.authorization);
        self.read(call.config().timeout_global(Some(CALL + wait)).build().call())
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

/// Prints an answer as JSON, or as `text` has it.
fn show<T: Serialize>(json: bool, answer: &T, text: impl FnOnce(&T) -> String) -> miette::Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string(answer).into_diagnostic()?);
    } else {
        println!("{}", text(answer));
    }
    Ok(ExitCode::SUCCESS)
}
