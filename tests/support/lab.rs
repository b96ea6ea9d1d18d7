//! A laboratory for scenario tests: a folder with made-up devices, a key store and a graph on free ports.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{program, root};

/// The installation's identity in tests: a public test value.
pub const SYSTEM: &str = "0011223344556677";

/// A folder with everything that a head-end and a fleet need; gone when dropped.
pub struct Lab {
    pub folder: tempfile::TempDir,
    /// Where the head-end listens for meters.
    pub port: u16,
    /// Where it serves metrics.
    pub http: u16,
    /// Where its interface is.
    pub api: u16,
    /// What tokens need in the environment.
    pub env: Vec<(String, PathBuf)>,
}

/// A child process that is killed when dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free, and given to nobody else by this process. It is below those that the system gives to
/// connections: else a fleet that dials while its head-end is down can be given the very port that it dials,
/// is connected to itself, and the head-end cannot have it again.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(64);
    loop {
        let next = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(12_000 + next % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Lab {
    /// Without devices, keys and a graph.
    pub fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            http: free_port(),
            api: free_port(),
            env: Vec::new(),
        }
    }

    /// The program, with what its tokens need.
    pub fn program(&self) -> Command {
        let mut command = program();
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A laboratory with so many profile-1 devices; `more` is appended to the shipment file.
    pub fn new(devices: u32, more: &str) -> Self {
        let lab = Self::empty();
        lab.must(
            &["keys", "sample", "--devices", &devices.to_string(), "--profile"],
            &[&root().join("graphs/profiles/residential.toml"), Path::new("--out"), &lab.shipment()],
        );
        let mut file = std::fs::OpenOptions::new().append(true).open(lab.shipment()).unwrap();
        file.write_all(more.as_bytes()).unwrap();
        lab.must(&["keys", "init", "--system", SYSTEM, "--state"], &[&lab.state()]);
        lab.must(&["keys", "import", "--test-keys"], &[&lab.shipment(), Path::new("--state"), &lab.state()]);
        std::fs::write(lab.graph(), lab.graph_text("")).unwrap();
        lab
    }

    /// A laboratory whose devices are only known by a manifest: they have to register.
    pub fn registering(devices: u32) -> Self {
        Self::with_tokens(devices, |_| None)
    }

    /// As [`Self::registering`], with the tokens of a configuration: `prepare` makes them, and answers its file.
    pub fn with_tokens(devices: u32, prepare: impl FnOnce(&mut Self) -> Option<PathBuf>) -> Self {
        let mut lab = Self::empty();
        let tokens = prepare(&mut lab);
        let (root_key, devices) = (lab.file("root.key"), devices.to_string());
        let state = lab.state();
        let mut init = vec![root_key.as_path(), Path::new("--state"), &state];
        if let Some(tokens) = &tokens {
            lab.must(
                &["keys", "ceremony", "--token"],
                &[tokens, Path::new("--transcript"), &lab.file("made.txt")],
            );
            init.extend([Path::new("--token"), tokens]);
        }
        lab.must(&["keys", "init", "--system", SYSTEM, "--lab-root"], &init);
        lab.must(
            &["keys", "sample", "--manifest", "--devices", &devices, "--lab-root"],
            &[
                &root_key,
                Path::new("--state"),
                &lab.state(),
                Path::new("--profile"),
                &root().join("graphs/profiles/residential.toml"),
                Path::new("--out"),
                &lab.shipment(),
            ],
        );
        lab.must(&["keys", "import"], &[&lab.shipment(), Path::new("--state"), &lab.state()]);
        std::fs::write(lab.graph(), lab.graph_text("")).unwrap();
        lab
    }

    /// A fleet of whole end devices, which register.
    pub fn devices(&self, more: &[&str]) -> Running {
        self.devices_at(self.port, more)
    }

    /// As [`Self::devices`], by way of another port.
    pub fn devices_at(&self, port: u16, more: &[&str]) -> Running {
        self.devices_of("lab.secrets.csv", port, more)
    }

    /// As [`Self::devices_at`], those of another file.
    pub fn devices_of(&self, secrets: &str, port: u16, more: &[&str]) -> Running {
        let mut command = program();
        command.arg("fleet").arg("--manifest-secrets").arg(self.file(secrets));
        command.args(["--connect", &format!("127.0.0.1:{port}"), "--json", "--ledger"]);
        command.arg(self.file("ledger")).args(more);
        let out = std::fs::File::create(self.file("fleet.json")).unwrap();
        let log = std::fs::File::create(self.file("fleet.log")).unwrap();
        Running(command.stdout(out).stderr(log).spawn().unwrap())
    }

    /// A second laboratory from a copy of this one's state, its tokens with it. Both must stand still.
    pub fn copy(&self) -> Self {
        let copy = Self { env: self.env.clone(), ..Self::empty() };
        let copied = Command::new("cp").arg("-a").arg(self.state()).arg(copy.state()).status().unwrap();
        assert!(copied.success(), "{}", copy.state().display());
        std::fs::write(copy.graph(), copy.graph_text("")).unwrap();
        copy
    }

    fn must(&self, words: &[&str], paths: &[&Path]) {
        let mut arguments: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        arguments.extend(paths.iter().map(|path| path.display().to_string()));
        let output = self.program().args(&arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The demo's graph on this laboratory's ports, with further lines.
    pub fn graph_text(&self, more: &str) -> String {
        let text = std::fs::read_to_string(root().join("graphs/demo.toml")).unwrap();
        let text = text.replace("127.0.0.1:11153", &format!("127.0.0.1:{}", self.port));
        let text = text.replace("127.0.0.1:18443", &format!("127.0.0.1:{}", self.api));
        text.replace("127.0.0.1:19153", &format!("127.0.0.1:{}", self.http)) + "\n" + more
    }

    pub fn graph(&self) -> PathBuf {
        self.folder.path().join("graph.toml")
    }

    pub fn shipment(&self) -> PathBuf {
        self.folder.path().join("lab.csv")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the head-end and waits until every node runs.
    pub fn head_end(&self) -> Running {
        let running = self.head_end_unready();
        let since = Instant::now();
        while !self.status().is_some_and(|status| status.ready) {
            assert!(since.elapsed() < Duration::from_secs(60), "not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    /// Starts the head-end.
    pub fn head_end_unready(&self) -> Running {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.file("log")).unwrap();
        let mut command = self.program();
        command.arg("run").arg(self.graph()).arg("--state").arg(self.state());
        command.args(["--log", "json", "--report"]).arg(self.file("report.json"));
        Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// Tells the head-end to end, waits until it has drained, and answers its last status.
    pub fn stop(&self, mut running: Running) -> runtime::Status {
        let id = running.0.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let since = Instant::now();
        let ended = loop {
            if let Some(status) = running.0.try_wait().unwrap() {
                break status;
            }
            assert!(since.elapsed() < Duration::from_secs(90), "does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(ended.success(), "{ended}: {}", self.log());
        serde_json::from_slice(&std::fs::read(self.file("report.json")).unwrap()).unwrap()
    }

    /// What the head-end says of itself now.
    pub fn status(&self) -> Option<runtime::Status> {
        match runtime::ask(&self.state(), &runtime::Request::Status) {
            Ok(runtime::Answer::Status(status)) => Some(status),
            _ => None,
        }
    }

    /// The end of the head-end's log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.file("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// A fleet of all profile-1 devices against this head-end; its list goes to `list.txt`.
    pub fn fleet(&self, more: &[&str]) -> Running {
        let mut command = program();
        command.arg("fleet").arg("--shipment").arg(self.shipment()).args(["--system", SYSTEM]);
        command.args(["--connect", &format!("127.0.0.1:{}", self.port), "--json", "--list"]);
        command.arg(self.file("list.txt")).args(more);
        let out = std::fs::File::create(self.file("fleet.json")).unwrap();
        let log = std::fs::File::create(self.file("fleet.log")).unwrap();
        Running(command.stdout(out).stderr(log).spawn().unwrap())
    }

    /// Waits until the fleet has ended by itself and answers what it printed.
    pub fn fleet_end(&self, mut fleet: Running) -> serde_json::Value {
        fleet.0.wait().unwrap();
        let log = std::fs::read_to_string(self.file("fleet.log")).unwrap();
        serde_json::from_slice(&std::fs::read(self.file("fleet.json")).unwrap())
            .unwrap_or_else(|_| panic!("the fleet said: {log}"))
    }
}
