//! An `api` node that runs in front of a desk made up for the test, and clients of it.

#![allow(dead_code)] // Each test program uses a part.

pub mod desk;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use commands::front::Front;
use metergraph_api::tokens::Tokens;
use metergraph_api::{ApiKind, Listens, Role};
use node::context::{Orders, Wiring};
use node::env::Services;
use node::event::EventEdge;
use node::{
    BatchPool, Config, Context, EdgeName, Env, Event, FieldType, Meters, NodeError, NodeKind, NodeStatus,
    Value, WhenFull,
};
use serde_json::Value as Json;
use tempfile::TempDir;

/// A running node.
pub struct Lab {
    pub folder: TempDir,
    pub address: std::net::SocketAddr,
    pub env: Env,
    pub desk: Arc<desk::Desk>,
    pub events: Arc<EventEdge>,
    tokens: Vec<(Option<Role>, String)>,
    orders: Orders,
    worker: Option<JoinHandle<Result<(), NodeError>>>,
}

/// The keys of the kind with their defaults, as a checked graph file would give them.
pub fn config(keys: &[(&str, Value)]) -> Config {
    let mut config = BTreeMap::new();
    for field in ApiKind.spec().fields {
        if let Some(default) = field.default {
            config.insert(field.name.to_string(), default);
        }
        assert!(!matches!(field.field_type, FieldType::List(_)));
    }
    config.insert("desk".to_owned(), "desk".into());
    config.insert("listen".to_owned(), "127.0.0.1:0".into());
    config.insert("rate_per_s".to_owned(), 10_000.into());
    config.insert("burst".to_owned(), 10_000.into());
    config.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    Config(config)
}

pub fn env(state: &Path) -> Env {
    Env {
        node: "api".to_owned(),
        instance: 0,
        instances: 1,
        run: 1,
        state: state.to_owned(),
        meters: Meters::default(),
        services: Services::default(),
        pool: BatchPool::new(1),
        status: NodeStatus::default(),
        wires: Arc::default(),
        transports: Arc::default(),
        transport: None,
    }
}

impl Lab {
    pub fn start(keys: &[(&str, Value)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), keys)
    }

    /// With one token of each role, one of no role (`None` in [`Self::token`]) and an expired one.
    pub fn start_in(folder: TempDir, keys: &[(&str, Value)]) -> Self {
        let mut file = Tokens::default();
        let mut tokens = Vec::new();
        for role in Role::ALL {
            let token = file.add(role.word(), &[role], u64::MAX).unwrap();
            tokens.push((Some(role), token.reveal().to_owned()));
        }
        tokens.push((None, file.add("nobody", &[], u64::MAX).unwrap().reveal().to_owned()));
        tokens.push((None, file.add("expired", &Role::ALL, 1).unwrap().reveal().to_owned()));
        file.write(&folder.path().join("tokens.toml")).unwrap();
        let env = env(folder.path());
        let front = Arc::new(Front::new(16, Duration::from_millis(500)));
        env.services.provide("desk", Arc::clone(&front));
        let desk = desk::Desk::open(front);
        let mut worker = ApiKind.build(&config(keys), &env).unwrap();
        let address = env.services.find::<Listens>("api").unwrap().0;
        let orders = Orders::default();
        let name = EdgeName {
            from: "api".into(),
            port: "events".into(),
            from_instance: 0,
            to: "monitor".into(),
            to_instance: 0,
        };
        let events = Arc::new(EventEdge::new(name, 64, WhenFull::Collapse));
        let wiring =
            Wiring { orders: orders.clone(), event_outputs: vec![Arc::clone(&events)], ..Wiring::default() };
        let worker = std::thread::spawn(move || worker.run(&mut Context::new(wiring)));
        Self { folder, address, env, desk, events, tokens, orders, worker: Some(worker) }
    }

    pub fn token(&self, role: Role) -> &str {
        self.tokens.iter().find(|(other, _)| *other == Some(role)).map(|(_, token)| token.as_str()).unwrap()
    }

    pub fn token_of_no_role(&self) -> &str {
        &self.tokens[4].1
    }

    pub fn expired_token(&self) -> &str {
        &self.tokens[5].1
    }

    pub fn client(&self, role: Role) -> Client {
        Client::new(self, Some(self.token(role)))
    }

    pub fn refused(&self, reason: &str) -> u64 {
        let help = "Calls refused before they reached the desk, by reason.";
        let reason = match reason {
            "api-token" => "api-token",
            "api-role" => "api-role",
            "api-rate" => "api-rate",
            "api-busy" => "api-busy",
            "api-time" => "api-time",
            "api-size" => "api-size",
            "api-format" => "api-format",
            other => panic!("{other}"),
        };
        self.env.counter("metergraph_api_refused_total", help, &[("reason", reason)]).get()
    }

    /// The first event of this reason, within some seconds.
    pub fn event(&self, reason: &str) -> Event {
        for _ in 0..500 {
            while let Some(event) = self.events.take() {
                if event.reason.0 == reason {
                    return event;
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no event {reason}")
    }

    /// Drains the node and waits for its end.
    pub fn drain(&mut self) -> Result<(), NodeError> {
        self.orders.drain();
        self.worker.take().map_or(Ok(()), |worker| worker.join().unwrap())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.orders.stop();
        if let Some(worker) = self.worker.take() {
            drop(worker.join());
        }
        self.desk.close();
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
    pub json: Json,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// That it is problem+json with this status and code; the problem.
    pub fn problem(&self, status: u16, code: &str) -> &Json {
        assert_eq!((self.status, self.json["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.json["status"], status);
        assert_eq!(self.json["type"], format!("urn:metergraph:problem:{code}"));
        assert!(!self.json["title"].as_str().unwrap().is_empty());
        assert!(!self.json["detail"].as_str().unwrap().is_empty());
        &self.json
    }
}

/// Calls with one token.
pub struct Client {
    pub agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    pub fn new(lab: &Lab, token: Option<&str>) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        Self { agent, base: format!("http://{}", lab.address), token: token.map(str::to_owned) }
    }

    pub fn with(agent: ureq::Agent, base: String, token: &str) -> Self {
        Self { agent, base, token: Some(token.to_owned()) }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).unwrap()
    }

    pub fn post(&self, path: &str, body: &Json) -> Answer {
        self.call("POST", path, Some(body.to_string())).unwrap()
    }

    pub fn call(&self, method: &str, path: &str, body: Option<String>) -> Result<Answer, ureq::Error> {
        self.call_with(method, path, body, &[])
    }

    pub fn call_with(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ureq::Error> {
        let url = format!("{}{path}", self.base);
        let mut all: Vec<(&str, String)> =
            headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        all.extend(self.token.as_ref().map(|token| ("authorization", format!("Bearer {token}"))));
        let typed = headers.iter().any(|(name, _)| *name == "content-type");
        if body.is_some() && !typed {
            all.push(("content-type", "application/json".to_owned()));
        }
        let mut response = if method == "GET" {
            let request = self.agent.get(url);
            all.iter().fold(request, |request, (name, value)| request.header(*name, value)).call()?
        } else {
            let request = match method {
                "POST" => self.agent.post(url),
                "PUT" => self.agent.put(url),
                "DELETE" => self.agent.delete(url).force_send_body(),
                other => panic!("{other}"),
            };
            let request = all.iter().fold(request, |request, (name, value)| request.header(*name, value));
            match body {
                Some(body) => request.send(body)?,
                None => request.send_empty()?,
            }
        };
        let text = response.body_mut().read_to_string()?;
        let json = serde_json::from_str(&text).unwrap_or(Json::Null);
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), text, json })
    }
}
