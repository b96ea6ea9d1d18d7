//! An installation with known secrets: a head-end with all its nodes, a fleet, somebody who asks for commands.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::lab::{Lab, Running, SYSTEM, free_port};
use crate::support::{program, root};

/// Kinds of keys, the files of their tokens, and those of the passphrases: one token stands in clear.
pub const HOLDERS: [(&str, &str, Option<&str>); 4] = [
    ("sk-cmd", "signer.token", Some("signer.pin")),
    ("sk-reg", "registrar.token", Some("registrar.pin")),
    ("sk-audit", "audit.token", None),
    ("kek", "key-store.token", Some("key-store.pin")),
];

/// Devices of the laboratory.
pub const DEVICES: u32 = 24;

/// The installation.
pub struct Site {
    pub lab: Lab,
    /// A word that is no secret, in the places where one could be.
    pub canary: String,
    /// Who asks for commands.
    pub bearer: String,
    /// What programs and interfaces said, by where.
    pub said: Vec<(String, Vec<u8>)>,
}

impl Site {
    /// Makes keys, devices, a policy and a bearer token.
    pub fn new() -> Self {
        let lab = Lab {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            http: free_port(),
            api: free_port(),
            env: Vec::new(),
        };
        let mut octets = [0; 8];
        getrandom::fill(&mut octets).unwrap();
        let canary = format!("canary-{}", seal::hex::Hex(&octets));
        let mut site = Self { lab, canary, bearer: String::new(), said: Vec::new() };
        let path = |name: &str| site.lab.file(name).display().to_string();
        let (root_key, state, profile) = (path("root.key"), path("state"), path("profile.toml"));
        let (tokens, devices, manifest) = (path("tokens.conf"), DEVICES.to_string(), path("lab.csv"));
        site.write_files(Path::new(&profile));
        site.call(&[
            "keys",
            "init",
            "--system",
            SYSTEM,
            "--lab-root",
            &root_key,
            "--state",
            &state,
            "--token",
            &tokens,
        ]);
        site.call(&[
            "keys",
            "sample",
            "--manifest",
            "--devices",
            &devices,
            "--lab-root",
            &root_key,
            "--state",
            &state,
            "--profile",
            &profile,
            "--out",
            &manifest,
        ]);
        site.call(&["keys", "import", &manifest, "--state", &state]);
        site.call(&["policy", "sample", "--lab-root", &root_key, "--state", &state]);
        let name = site.canary.clone();
        let roles = "reader,operator,approver,security";
        site.bearer =
            site.call(&["token", "add", &name, "--role", roles, "--state", &state]).trim().to_owned();
        // It is the one answer that must be told.
        site.said.pop();
        site
    }

    fn write_files(&self, profile: &Path) {
        let mut tokens = String::new();
        for (holder, (_, file, pin)) in ["signer", "registrar", "audit", "key-store"].iter().zip(HOLDERS) {
            tokens += &format!("[{holder}]\nprovider = \"software\"\nfile = \"{file}\"\n");
            tokens += &match pin {
                Some(pin) => format!("pin = {{ file = \"{pin}\" }}\n"),
                None => "unprotected = true\n".to_owned(),
            };
            if let Some(pin) = pin {
                let mut octets = [0; 12];
                getrandom::fill(&mut octets).unwrap();
                let path = self.lab.file(pin);
                std::fs::write(&path, format!("{holder} horse {}", seal::hex::Hex(&octets))).unwrap();
                std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
            }
        }
        std::fs::write(self.lab.file("tokens.conf"), tokens).unwrap();
        let residential = std::fs::read_to_string(root().join("graphs/profiles/residential.toml")).unwrap();
        std::fs::write(profile, format!("# {}\n{residential}", self.canary)).unwrap();
        let graph = self.lab.graph_text("");
        let graph = graph.replace("[transport.wan]", &format!("[transport.{}]", self.canary));
        let graph = graph.replace("transport = \"wan\"", &format!("transport = \"{}\"", self.canary));
        std::fs::write(self.lab.graph(), graph).unwrap();
    }

    /// A call of the program, which must succeed; answers what it printed.
    pub fn call(&mut self, arguments: &[&str]) -> String {
        let output = program().args(arguments).env("METERGRAPH_TOKEN", &self.bearer).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        let place = format!("command line {}", arguments[..2].join(" "));
        self.said.push((place, [&output.stdout[..], &output.stderr].concat()));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, of the head-end's interface.
    pub fn ask(&mut self, arguments: &[&str]) -> String {
        let api = format!("http://127.0.0.1:{}", self.lab.api);
        self.call(&[arguments, &["--api", &api]].concat())
    }

    /// The head-end, saying in its log all that it can.
    pub fn head_end(&self) -> Running {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.lab.file("log")).unwrap();
        let mut command = program();
        command.arg("run").arg(self.lab.graph()).arg("--state").arg(self.lab.state());
        command.args(["--log", "json", "--report"]).arg(self.lab.file("report.json"));
        let running = Running(
            command.env("METERGRAPH_LOG", "trace").stdout(Stdio::null()).stderr(log).spawn().unwrap(),
        );
        let said = || self.lab.log();
        wait(said, || self.lab.status().is_some_and(|status| status.ready).then_some(()));
        running
    }

    /// What the head-end says to who asks without a key.
    pub fn listen(&mut self) {
        for page in ["metrics", "livez", "readyz"] {
            let address = format!("http://127.0.0.1:{}/{page}", self.lab.http);
            let text = ureq::get(address).call().unwrap().body_mut().read_to_string().unwrap();
            self.said.push((format!("page {page}"), text.into_bytes()));
        }
        for request in ["\"status\"", "{\"call\":\"status\"}", "{\"call\":\"keys\"}"] {
            let mut socket = UnixStream::connect(self.lab.state().join("control.sock")).unwrap();
            writeln!(socket, "{request}").unwrap();
            let mut line = String::new();
            BufReader::new(socket).read_line(&mut line).unwrap();
            self.said.push(("control socket".to_owned(), line.into_bytes()));
        }
        for path in ["openapi.json", "v1/commands", "v1/groups"] {
            let address = format!("http://127.0.0.1:{}/{path}", self.lab.api);
            let call = ureq::get(address).header("Authorization", format!("Bearer {}", self.bearer));
            if let Ok(mut answer) = call.call() {
                self.said.push((format!("interface {path}"), answer.body_mut().read_to_vec().unwrap()));
            }
        }
    }
}

/// Waits for something, half a minute at most.
pub fn wait<T>(said: impl Fn() -> String, mut there: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(thing) = there() {
            return thing;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "waited too long: {}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
}
