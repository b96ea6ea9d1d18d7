//! A laboratory with commands: a policy, one who may everything, and the program to ask with.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::lab::Lab;
use super::program;

/// A laboratory with a policy and the token of one who may everything.
pub struct Office {
    pub lab: Lab,
    pub token: String,
}

impl Office {
    pub fn open(devices: u32) -> Self {
        Self::of(Lab::registering(devices))
    }

    pub fn of(lab: Lab) -> Self {
        let text = lab.graph_text("").replace("[node.desk]\n", "[node.desk]\nrepeat_s = 2\ncatch_up_s = 6\n");
        std::fs::write(lab.graph(), text).unwrap();
        let root = lab.file("root.key").display().to_string();
        let state = lab.state().display().to_string();
        let run = |arguments: &[&str]| {
            let output = lab.program().args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        run(&["policy", "sample", "--state", &state, "--lab-root", &root]);
        let roles = "reader,operator,approver,security";
        let token = run(&["token", "add", "alice", "--role", roles, "--state", &state]);
        Self { lab, token }
    }

    /// Runs `metergraph ARGUMENTS --json` against the interface: exit code, what it printed, what it said.
    pub fn call(&self, arguments: &[&str]) -> (i32, Value, String) {
        let api = format!("http://127.0.0.1:{}", self.lab.api);
        let output = program()
            .args(arguments)
            .args(["--api", &api, "--json"])
            .env("METERGRAPH_TOKEN", &self.token)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let printed = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), printed, said)
    }

    /// As [`Self::call`], for what must succeed.
    pub fn done(&self, arguments: &[&str]) -> Value {
        let (code, printed, said) = self.call(arguments);
        let begin = &arguments[..arguments.len().min(6)];
        assert_eq!(code, 0, "{begin:?}: {printed} {said}: {}", self.lab.log());
        printed
    }

    /// Waits until `good` says so of what a call prints.
    pub fn until(&self, arguments: &[&str], good: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let (_, printed, said) = self.call(arguments);
            if good(&printed) {
                return printed;
            }
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "{arguments:?}: {printed} {said}: {}",
                self.lab.log()
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Waits until this device has registered.
    pub fn registered(&self, dev: &str) {
        self.until(&["device", "show", dev], |device| device["sid"].is_string());
    }

    pub fn approve(&self, id: &str, name: &str) -> (i32, Value, String) {
        let key = self.lab.file(&format!("{name}.key")).display().to_string();
        self.call(&["command", "approve", id, "--key", &key, "--name", name])
    }
}

/// The lab's device of this number.
pub fn dev(number: u32) -> String {
    format!("0200004d47{number:06x}")
}
