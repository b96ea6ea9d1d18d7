//! The door: tokens, roles and limits.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use metergraph_api::Role;
use metergraph_api::tokens::Tokens;
use serde_json::json;
use support::desk::{DEV, GID};
use support::{Client, Lab};

/// Every route with the roles that it takes.
const ROUTES: [(&str, &str, &[Role]); 18] = {
    use Role::{Approver, Operator, Security};
    const ANY: &[Role] = &Role::ALL;
    [
        ("GET", "/v1/openapi.json", ANY),
        ("GET", "/v1/whoami", ANY),
        ("POST", "/v1/commands", &[Operator, Security]),
        ("GET", "/v1/commands", ANY),
        ("GET", "/v1/commands/ID", ANY),
        ("POST", "/v1/commands/ID/approvals", &[Approver]),
        ("GET", "/v1/devices/DEV", ANY),
        ("POST", "/v1/devices/DEV/revoke", &[Security]),
        ("GET", "/v1/groups", ANY),
        ("POST", "/v1/groups", &[Security]),
        ("GET", "/v1/groups/GID", ANY),
        ("POST", "/v1/groups/GID/members", &[Security]),
        ("DELETE", "/v1/groups/GID/members", &[Security]),
        ("POST", "/v1/groups/GID/rekey", &[Security]),
        ("POST", "/v1/campaigns", &[Security]),
        ("GET", "/v1/campaigns/7", ANY),
        ("POST", "/v1/campaigns/7/pause", &[Security]),
        ("POST", "/v1/campaigns/7/resume", &[Security]),
    ]
};

fn status(client: &Client, method: &str, pattern: &str) -> support::Answer {
    // `GID` first: `ID` is in it.
    let path = pattern.replace("GID", &GID.to_string()).replace("ID", &"ab".repeat(16));
    let path = path.replace("DEV", &DEV.to_string());
    let body = (method != "GET").then(|| "{}".to_owned());
    client.call(method, &path, body).unwrap()
}

#[test]
fn each_role_passes_where_it_may_and_nowhere_else() {
    let lab = Lab::start(&[]);
    let mut refused = 0;
    for (method, pattern, roles) in ROUTES {
        for role in Role::ALL {
            let answer = status(&lab.client(role), method, pattern);
            if roles.contains(&role) {
                assert!(![401, 403].contains(&answer.status), "{role} {method} {pattern}: {answer:?}");
            } else {
                answer.problem(403, "api-role");
                refused += 1;
            }
        }
        let nobody = Client::new(&lab, Some(lab.token_of_no_role()));
        status(&nobody, method, pattern).problem(403, "api-role");
        refused += 1;
    }
    assert_eq!(lab.refused("api-role"), refused);
    let event = lab.event("api-role");
    assert!(event.detail.contains("token `") && !event.detail.contains("mgt_"), "{}", event.detail);
}

#[test]
fn whoever_is_not_known_is_answered_alike_counted_and_told() {
    let lab = Lab::start(&[]);
    let good = lab.token(Role::Reader);
    let mut flipped = good.to_owned();
    let last = if flipped.pop() == Some('0') { '1' } else { '0' };
    flipped.push(last);
    let strangers =
        [None, Some(""), Some("mgt_"), Some(&flipped[..]), Some(&good[1..]), Some(lab.expired_token())];
    let mut texts = Vec::new();
    for stranger in strangers {
        for (method, pattern, _) in ROUTES {
            let answer = status(&Client::new(&lab, stranger), method, pattern);
            answer.problem(401, "api-token");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            texts.push(answer.text);
        }
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "one answer for all");
    assert_eq!(lab.refused("api-token"), (strangers.len() * ROUTES.len()) as u64);
    let event = lab.event("api-token");
    assert_eq!((event.severity, event.detail.contains("127.0.0.1")), (node::Severity::Warning, true));
    // Basic authentication, and a token in the query, are none.
    let client = Client::new(&lab, None);
    let basic = [("authorization", format!("Basic {good}"))];
    let answer = client.call_with("GET", "/v1/whoami", None, &[(basic[0].0, &basic[0].1)]).unwrap();
    answer.problem(401, "api-token");
    client.get(&format!("/v1/whoami?token={good}")).problem(401, "api-token");
}

#[test]
fn a_body_is_limited() {
    let lab = Lab::start(&[("body_max_kib", 2.into())]);
    let operator = lab.client(Role::Operator);
    let body = |octets: usize| {
        json!({
            "to": { "device": DEV.to_string() }, "request_id": "s",
            "order": { "do": "write-table", "table": "ST1", "data": "0".repeat(octets) },
        })
    };
    assert_eq!(operator.post("/v1/commands", &body(1000)).status, 202);
    operator.post("/v1/commands", &body(3000)).problem(413, "api-size");
    assert_eq!(lab.refused("api-size"), 1);
    assert_eq!(lab.event("api-size").count, 1);
}

#[test]
fn a_token_calls_no_faster_than_it_may_and_others_do_not_feel_it() {
    let lab = Lab::start(&[("rate_per_s", 1.into()), ("burst", 3.into())]);
    let reader = lab.client(Role::Reader);
    let answers: Vec<_> = (0..5).map(|_| reader.get("/v1/whoami")).collect();
    assert!(answers[..3].iter().all(|answer| answer.status == 200));
    let problem = answers[4].problem(429, "api-rate");
    assert_eq!((problem["retry_after_s"].as_u64(), answers[4].header("retry-after")), (Some(1), "1"));
    assert_eq!(lab.client(Role::Operator).get("/v1/whoami").status, 200);
    assert!(lab.refused("api-rate") >= 1);
    assert_eq!(lab.event("api-rate").detail, "token `reader`");
}

#[test]
fn requests_in_flight_are_limited() {
    let lab = Lab::start(&[("requests_max", 2.into()), ("wait_max_s", 3.into())]);
    lab.desk.looks.store(u32::MAX, Ordering::Release);
    let body = json!({
        "to": { "device": DEV.to_string() }, "order": { "do": "arm" }, "request_id": "f",
    });
    let id = lab.client(Role::Operator).post("/v1/commands", &body).json["id"].clone();
    let path = format!("/v1/commands/{}?wait=3", id.as_str().unwrap());
    std::thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..2).map(|_| scope.spawn(|| lab.client(Role::Reader).get(&path).status)).collect();
        let since = Instant::now();
        let busy = loop {
            let answer = lab.client(Role::Reader).get("/v1/whoami");
            if answer.status != 200 || since.elapsed() > Duration::from_secs(2) {
                break answer;
            }
        };
        busy.problem(503, "api-busy");
        assert_eq!(busy.header("retry-after"), "1");
        // Those that wait are served, and make room.
        assert!(waiting.into_iter().all(|waiting| waiting.join().unwrap() == 200));
    });
    assert_eq!(lab.client(Role::Reader).get("/v1/whoami").status, 200);
    assert!(lab.refused("api-busy") >= 1);
}

#[test]
fn a_request_that_trickles_in_ends_in_time() {
    let lab = Lab::start(&[("time_limit_s", 1.into())]);
    let mut stream = TcpStream::connect(lab.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "POST /v1/commands HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
        lab.token(Role::Operator)
    );
    stream.write_all(head.as_bytes()).unwrap();
    let since = Instant::now();
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer[..read]);
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(text.contains("application/problem+json"), "{text}");
    assert!(since.elapsed() < Duration::from_secs(10));
    assert_eq!(lab.refused("api-time"), 1);
}

#[test]
fn tokens_come_and_go_while_the_head_end_runs() {
    let lab = Lab::start(&[]);
    let path = lab.folder.path().join("tokens.toml");
    let mut tokens = Tokens::read(&path).unwrap();
    let token = tokens.add("late", &[Role::Reader], u64::MAX).unwrap();
    tokens.remove("operator").unwrap();
    tokens.write(&path).unwrap();
    let status = |client: Client| client.get("/v1/whoami").status;
    let late = || status(Client::new(&lab, Some(token.reveal())));
    let since = Instant::now();
    while late() != 200 && since.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(late(), 200);
    assert_eq!(status(lab.client(Role::Operator)), 401);
    // A file that cannot be read changes nothing.
    std::fs::write(&path, "nonsense").unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(late(), 200);
}

#[test]
fn nonsense_ends_no_server() {
    let lab = Lab::start(&[]);
    for nonsense in [
        &b"\0\xff\xfe"[..],
        b"GET",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/commands HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(lab.address).unwrap();
        stream.write_all(nonsense).unwrap();
        drop(stream);
    }
    let client = lab.client(Role::Reader);
    for path in ["/v1/commands/%00", "/v1/devices/%ff%fe", "/v1/groups/..%2f..", "/v1/commands/%"] {
        let answer = client.get(path);
        assert!([400, 404].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(client.get("/v1/whoami").status, 200);
}
