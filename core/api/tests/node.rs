//! The node: what is refused before it is opened, what cannot be opened, and its end.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use commands::front::Front;
use metergraph_api::tokens::Tokens;
use metergraph_api::{ApiKind, Role};
use node::{NodeKind, Value};
use support::Lab;

#[test]
fn plain_http_is_for_loopback_alone() {
    let faults = |listen: &str, tls: bool| {
        let mut keys = vec![("listen", Value::from(listen))];
        keys.extend(tls.then(|| ("tls", Value::Table(BTreeMap::new()))));
        ApiKind.check(&support::config(&keys))
    };
    for inside in ["127.0.0.1:8443", "127.8.9.1:1", "[::1]:8443", "localhost:8443"] {
        assert!(faults(inside, false).is_empty(), "{inside}");
    }
    for outside in
        ["0.0.0.0:8443", "[::]:8443", "10.0.0.1:443", "head-end.example:443", "localhost.example:1"]
    {
        let faults = faults(outside, false);
        assert_eq!(
            (faults[0].code, faults[0].field, faults[0].warning),
            ("node::plain_http", Some("listen"), false)
        );
        assert!(faults[0].help.as_ref().unwrap().contains("tls"));
    }
    assert!(faults("0.0.0.0:8443", true).is_empty());
}

#[test]
fn without_desk_address_or_a_file_of_ones_own_it_is_not_built() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    let env = support::env(folder.path());
    let why = |keys: &[(&str, Value)]| {
        ApiKind.build(&support::config(keys), &env).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(why(&[]).contains("the desk `desk` is not open"));
    env.services.provide("desk", Arc::new(Front::new(1, Duration::ZERO)));
    assert_eq!(why(&[]), "", "without a token nobody may call");
    Tokens::default().write(&path).unwrap();
    assert_eq!(why(&[]), "");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(why(&[]).contains("tokens.toml"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(why(&[("listen", Value::Text(address.clone()))]).contains(&format!("listen on {address}")));
}

#[test]
fn a_drain_ends_it_and_frees_its_address() {
    let mut lab = Lab::start(&[]);
    assert_eq!(lab.client(Role::Reader).get("/v1/whoami").status, 200);
    lab.drain().unwrap();
    assert!(lab.client(Role::Reader).call("GET", "/v1/whoami", None).is_err());
    drop(std::net::TcpListener::bind(lab.address).unwrap());
}
