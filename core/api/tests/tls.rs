//! TLS: the server's certificate, clients' certificates, and what cannot be served.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use metergraph_api::{ApiKind, Role};
use node::{NodeKind, Value};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::{Client, Lab};
use tempfile::TempDir;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key as PEM.
fn issued(authority: &Issuer, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn tls(keys: &[&str]) -> Value {
    let path = |key: &&str| ((*key).to_owned(), Value::Text(format!("{key}.pem")));
    Value::Table(keys.iter().map(path).collect::<BTreeMap<_, _>>())
}

fn client(lab: &Lab, roots: &Issuer, certificate: Option<&(String, String)>) -> Client {
    let root = Certificate::from_pem(roots.pem().as_bytes()).unwrap().to_owned();
    let certificate = certificate.map(|(certificate, key)| {
        let chain = [Certificate::from_pem(certificate.as_bytes()).unwrap().to_owned()];
        ClientCert::new_with_certs(&chain, PrivateKey::from_pem(key.as_bytes()).unwrap().to_owned())
    });
    let tls =
        TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[root])).client_cert(certificate).build();
    let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).tls_config(tls).build();
    Client::with(agent.into(), format!("https://localhost:{}", lab.address.port()), lab.token(Role::Reader))
}

/// A lab that serves TLS, its folder's files made by `more`, and its authority.
fn served(keys: &[&str], more: impl Fn(&Path)) -> (Lab, Issuer) {
    let (folder, ours) = (tempfile::tempdir().unwrap(), authority());
    let (cert, key) = issued(&ours, "localhost");
    write(folder.path(), "cert.pem", &cert);
    write(folder.path(), "key.pem", &key);
    more(folder.path());
    (Lab::start_in(folder, &[("tls", tls(keys))]), ours)
}

#[test]
fn a_client_that_knows_the_root_is_served() {
    let (lab, ours) = served(&["cert", "key"], |_| {});
    assert_eq!(client(&lab, &ours, None).get("/v1/whoami").status, 200);
    assert!(client(&lab, &authority(), None).call("GET", "/v1/whoami", None).is_err(), "another root");
    let plain = Client::new(&lab, Some(lab.token(Role::Reader)));
    assert!(plain.call("GET", "/v1/whoami", None).is_err(), "plain HTTP on a TLS port");
}

#[test]
fn with_client_ca_only_clients_of_that_root_are_heard() {
    let clients = authority();
    let (lab, ours) =
        served(&["cert", "key", "client_ca"], |folder| write(folder, "client_ca.pem", &clients.pem()));
    let good = issued(&clients, "ops");
    assert_eq!(client(&lab, &ours, Some(&good)).get("/v1/whoami").status, 200);
    assert!(client(&lab, &ours, None).call("GET", "/v1/whoami", None).is_err(), "no certificate");
    let foreign = issued(&authority(), "ops");
    assert!(client(&lab, &ours, Some(&foreign)).call("GET", "/v1/whoami", None).is_err(), "another root");
    // A certificate is no token: both are needed.
    let stranger = Client::with(
        client(&lab, &ours, Some(&good)).agent,
        format!("https://localhost:{}", lab.address.port()),
        "mgt_00",
    );
    stranger.get("/v1/whoami").problem(401, "api-token");
}

#[test]
fn files_that_do_not_fit_are_named_and_never_quoted() {
    let ours = authority();
    let (cert, key) = issued(&ours, "localhost");
    let (_, other) = issued(&ours, "localhost");
    let cut = key.replace("-----END", "-----DNE");
    let cases: [(&str, &str, &str); 5] = [
        (&cert, &other, "certificate and key"),
        (&cert, "", "key.pem"),
        ("", &key, "cert.pem"),
        (&cert, &cut, "key.pem"),
        (&key, &key, "cert.pem"),
    ];
    for (cert, key, named) in cases {
        let folder: TempDir = tempfile::tempdir().unwrap();
        write(folder.path(), "cert.pem", cert);
        write(folder.path(), "key.pem", key);
        metergraph_api::tokens::Tokens::default().write(&folder.path().join("tokens.toml")).unwrap();
        let env = support::env(folder.path());
        env.services.provide("desk", commands::front::Front::new(1, std::time::Duration::ZERO).into());
        let config = support::config(&[("tls", tls(&["cert", "key"]))]);
        let error = ApiKind.build(&config, &env).err().unwrap();
        let text = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        assert!(text.contains(named), "{named}: {text}");
        let secret = key.lines().nth(1).unwrap_or("no key");
        assert!(!text.contains(secret), "{text}");
    }
}
