//! Every route: what it answers, and how it refuses.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use commands::front::{OrderKind, Part, TableRead};
use metergraph_api::Role;
use metergraph_api::view::{Command, Intent, Outcome, To};
use serde_json::{Value as Json, json};
use support::desk::{DEV, GID};
use support::{Answer, Lab};

const NO_DEV: &str = "00ff00ff00ff00ff";

fn disconnect(id: &str) -> Json {
    json!({ "to": { "device": DEV.to_string() }, "order": { "do": "disconnect" }, "request_id": id })
}

fn accepted(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    let id = answer.json["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("/v1/commands/{id}"));
    id.to_owned()
}

#[test]
fn a_command_is_submitted_shown_and_listed() {
    let lab = Lab::start(&[]);
    let operator = lab.client(Role::Operator);
    let id = accepted(&operator.post("/v1/commands", &disconnect("a")), 202);
    let submission = lab.desk.submitted.lock().unwrap().first().cloned().unwrap();
    assert_eq!((&*submission.requester, submission.ttl_min, submission.nbf), ("operator", 60, None));
    assert_eq!(submission.order, OrderKind::Disconnect);

    let answer = lab.client(Role::Reader).get(&format!("/v1/commands/{id}"));
    let command: Command = serde_json::from_value(answer.json.clone()).unwrap();
    assert_eq!(
        (&*command.state, &command.outcome),
        ("ended", &Some(Outcome::Done { result: 0, response: "8000".into() }))
    );
    assert_eq!(command.to, To::Device(DEV.to_string()));
    assert!(command.receipt.unwrap().verified);
    assert_eq!(command.history.iter().map(|step| &*step.what).collect::<Vec<_>>(), ["accepted", "ended"]);
    // The digest can be computed anew from what is shown.
    let intent: Intent = command.intent.unwrap();
    assert_eq!(seal::hex::Hex(&intent.digest().unwrap()).to_string(), command.digest);
    let other = Intent { body: "00".into(), ..intent };
    assert_ne!(seal::hex::Hex(&other.digest().unwrap()).to_string(), command.digest);

    accepted(&operator.post("/v1/commands", &disconnect("b")), 202);
    let listed = |query: &str| {
        let answer = operator.get(&format!("/v1/commands{query}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["commands"].as_array().unwrap().len()
    };
    assert_eq!(listed(""), 2);
    assert_eq!(listed("?pending=true"), 1);
    assert_eq!(listed("?skip=1"), 1);
    assert_eq!(listed("?count=0"), 0);
    assert_eq!(listed(&format!("?device={DEV}&requester=operator")), 2);
    assert_eq!(listed(&format!("?group={GID}")), 0);
    for wrong in ["?device=1", "?group=00000001", "?pending=maybe", "?count=-1", "?colour=red"] {
        operator.get(&format!("/v1/commands{wrong}")).problem(400, "api-format");
    }
    let both = format!("/v1/commands?device={DEV}&group={GID}");
    operator.get(&both).problem(400, "api-format");
}

#[test]
fn every_order_reaches_the_desk_as_it_was_meant() {
    let lab = Lab::start(&[]);
    let point = "11".repeat(32);
    let orders = [
        (
            json!({ "do": "read-tables", "tables": [{ "table": "ST23" }, { "table": "ST64", "part": { "index": [1, 0], "count": 2 } }] }),
            OrderKind::ReadTables(vec![
                TableRead { table: "ST23".parse().unwrap(), part: Part::Whole },
                TableRead {
                    table: "ST64".parse().unwrap(),
                    part: Part::Elements { index: vec![1, 0], count: 2 },
                },
            ]),
        ),
        (
            json!({ "do": "write-table", "table": "MT5", "offset": 3, "data": "0aff" }),
            OrderKind::WriteTable { table: "MT5".parse().unwrap(), offset: Some(3), data: vec![10, 255] },
        ),
        (
            json!({ "do": "procedure", "procedure": "SP4", "parameters": "01" }),
            OrderKind::Procedure { procedure: "SP4".parse().unwrap(), parameters: vec![1] },
        ),
        (json!({ "do": "reconnect" }), OrderKind::Reconnect),
        (json!({ "do": "arm" }), OrderKind::Arm),
        (
            json!({ "do": "limit", "watts": 1500, "minutes": 30 }),
            OrderKind::LoadLimit { watts: 1500, minutes: 30 },
        ),
        (
            json!({ "do": "demand-response", "event": 1, "start": 2, "minutes": 3, "percent": 4 }),
            OrderKind::DemandResponse { event: 1, start: 2, minutes: 3, percent: 4 },
        ),
        (json!({ "do": "set-time" }), OrderKind::SetTime { nonce: None }),
        (
            json!({ "do": "set-time", "nonce": "0102030405060708" }),
            OrderKind::SetTime { nonce: Some([1, 2, 3, 4, 5, 6, 7, 8]) },
        ),
        (
            json!({ "do": "firmware-block", "offset": 256, "data": "00" }),
            OrderKind::FirmwareBlock { offset: 256, data: vec![0] },
        ),
        (
            json!({ "do": "firmware-activate", "size": 257, "sha256": point }),
            OrderKind::FirmwareActivate { size: 257, digest: [0x11; 32] },
        ),
    ];
    let operator = lab.client(Role::Operator);
    for (number, (order, kind)) in orders.iter().enumerate() {
        let body = json!({
            "to": { "group": GID.to_string() }, "order": order, "request_id": format!("o{number}"),
            "valid_from": 1_800_000_000, "ttl_min": 5,
        });
        accepted(&operator.post("/v1/commands", &body), 202);
        let submission = lab.desk.submitted.lock().unwrap().last().cloned().unwrap();
        assert_eq!(&submission.order, kind);
        assert_eq!((submission.nbf, submission.ttl_min), (Some(1_800_000_000), 5));
    }
    let keys = [
        (
            json!({ "do": "signer-add", "skid": 2, "x": point, "y": point, "classes": [0, 3], "not_before": 9 }),
            OrderKind::SignerAdd { skid: 2, x: [0x11; 32], y: [0x11; 32], classes: 0b1001, not_before: 9 },
        ),
        (json!({ "do": "signer-revoke", "skid": 2 }), OrderKind::SignerRevoke { skid: 2 }),
        (
            json!({ "do": "credential-next", "kid": 3, "x": point, "y": point }),
            OrderKind::CredentialNext { kid: 3, x: [0x11; 32], y: [0x11; 32] },
        ),
    ];
    for (number, (order, kind)) in keys.iter().enumerate() {
        let body = json!({
            "to": { "device": DEV.to_string() }, "order": order, "request_id": format!("k{number}"),
        });
        // The desk's word: keys are not for operators.
        operator.post("/v1/commands", &body).problem(403, "SEC-CMD-POLICY");
        accepted(&lab.client(Role::Security).post("/v1/commands", &body), 202);
        assert_eq!(&lab.desk.submitted.lock().unwrap().last().unwrap().order, kind);
    }
    lab.client(Role::Security).post("/v1/commands", &disconnect("s")).problem(403, "SEC-CMD-POLICY");
}

#[test]
fn what_root_signed_is_handed_to_the_desk_as_it_is() {
    let lab = Lab::start(&[]);
    let body = |signed: &str| json!({ "to": { "device": DEV.to_string() }, "signed": signed });
    let security = lab.client(Role::Security);
    let id = accepted(&security.post("/v1/commands/signed", &body("0004ff")), 202);
    assert_eq!(accepted(&security.post("/v1/commands/signed", &body("0004FF")), 200), id);
    let signed = lab.desk.signed.lock().unwrap().first().cloned().unwrap();
    assert_eq!((signed.octets, &*signed.requester), (vec![0, 4, 255], "security"));
    assert!(signed.roles.cover(commands::front::Roles::SECURITY));

    let problem = security.post("/v1/commands/signed", &body("0104ff"));
    assert!(problem.problem(403, "SEC-CMD-POLICY")["help"].is_string());
    for wrong in ["0", "zz"] {
        security.post("/v1/commands/signed", &body(wrong)).problem(400, "api-format");
    }
    for role in [Role::Reader, Role::Operator, Role::Approver] {
        lab.client(role).post("/v1/commands/signed", &body("0004ff")).problem(403, "api-role");
    }
    // It is no command of that name.
    security.get("/v1/commands/signed").problem(400, "api-format");
}

#[test]
fn the_same_request_is_the_same_command() {
    let lab = Lab::start(&[]);
    let operator = lab.client(Role::Operator);
    let first = accepted(&operator.post("/v1/commands", &disconnect("x")), 202);
    let again = operator.post("/v1/commands", &disconnect("x"));
    assert_eq!(accepted(&again, 200), first);
    assert_eq!(again.json["repeated"], true);
    assert_eq!(lab.desk.submitted.lock().unwrap().len(), 1);
    let mut other = disconnect("x");
    other["order"] = json!({ "do": "reconnect" });
    let problem = operator.post("/v1/commands", &other);
    assert!(problem.problem(409, "desk-request-id")["help"].is_string());

    // By the header as well; but by one of the two, and by one name.
    let mut bare = disconnect("x");
    bare.as_object_mut().unwrap().remove("request_id");
    let by = |key: &[(&str, &str)], body: &Json| {
        operator.call_with("POST", "/v1/commands", Some(body.to_string()), key).unwrap()
    };
    assert_eq!(accepted(&by(&[("idempotency-key", "x")], &bare), 200), first);
    assert_eq!(accepted(&by(&[("idempotency-key", "x")], &disconnect("x")), 200), first);
    by(&[("idempotency-key", "y")], &disconnect("x")).problem(400, "api-format");
    by(&[], &bare).problem(400, "api-format");
    by(&[], &disconnect("")).problem(400, "api-format");
    by(&[], &disconnect(&"z".repeat(65))).problem(400, "api-format");
}

#[test]
fn what_is_no_command_is_refused_with_the_reason() {
    let lab = Lab::start(&[]);
    let operator = lab.client(Role::Operator);
    let change = |change: &dyn Fn(&mut Json)| {
        let mut body = disconnect("w");
        change(&mut body);
        operator.post("/v1/commands", &body)
    };
    for wrong in [
        change(&|body| body["to"] = json!({ "device": "12" })),
        change(&|body| body["to"] = json!({ "group": "00000001" })),
        change(&|body| body["to"] = json!({ "everybody": true })),
        change(&|body| body["order"] = json!({ "do": "explode" })),
        change(&|body| body["order"] = json!({ "do": "write-table", "table": "ST1", "data": "0" })),
        change(&|body| body["order"] = json!({ "do": "procedure", "procedure": "4" })),
        change(&|body| body["ttl_min"] = json!(-1)),
        change(&|body| body["valid_from"] = json!(1_u64 << 40)),
        change(&|body| body["colour"] = json!("red")),
        operator.call("POST", "/v1/commands", Some("{".to_owned())).unwrap(),
        operator.call("POST", "/v1/commands", None).unwrap(),
        operator
            .call_with("POST", "/v1/commands", Some("{}".into()), &[("content-type", "text/plain")])
            .unwrap(),
    ] {
        let problem = wrong.problem(400, "api-format");
        assert!(problem["help"].as_str().unwrap().contains("openapi"));
    }
    assert!(change(&|body| body["to"] = json!({ "device": "12" })).text.contains("to.device"));
    change(&|body| body["to"] = json!({ "device": NO_DEV })).problem(404, "desk-not-found");
    change(&|body| body["to"] = json!({ "group": "8fffffff" })).problem(404, "desk-not-found");
    assert!(lab.refused("api-format") >= 12);
    assert_eq!(lab.event("api-format").severity, node::Severity::Info);
}

#[test]
fn one_may_wait_for_the_end_within_the_limit() {
    let lab = Lab::start(&[("wait_max_s", 1.into())]);
    let id = accepted(&lab.client(Role::Operator).post("/v1/commands", &disconnect("a")), 202);
    let reader = lab.client(Role::Reader);
    lab.desk.looks.store(2, Ordering::Release);
    assert_eq!(reader.get(&format!("/v1/commands/{id}")).json["state"], "awaiting-approval");
    assert_eq!(reader.get(&format!("/v1/commands/{id}?wait=30")).json["state"], "ended");

    lab.desk.looks.store(u32::MAX, Ordering::Release);
    let id = accepted(&lab.client(Role::Operator).post("/v1/commands", &disconnect("b")), 202);
    let since = Instant::now();
    assert_eq!(reader.get(&format!("/v1/commands/{id}?wait=30")).json["state"], "awaiting-approval");
    let waited = since.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(6)).contains(&waited), "{waited:?}");
    reader.get(&format!("/v1/commands/{id}?wait=long")).problem(400, "api-format");
    reader.get("/v1/commands/xyz").problem(400, "api-format");
    reader.get(&format!("/v1/commands/{}", "ab".repeat(16))).problem(404, "desk-not-found");
}

#[test]
fn approvals_are_handed_on_with_their_signature() {
    let lab = Lab::start(&[]);
    lab.desk.looks.store(u32::MAX, Ordering::Release);
    let id = accepted(&lab.client(Role::Operator).post("/v1/commands", &disconnect("a")), 202);
    let approver = lab.client(Role::Approver);
    let path = format!("/v1/commands/{id}/approvals");
    let approval = |name: &str, signature: &str| json!({ "approver": name, "signature": signature });
    let signature = "5a".repeat(64);
    let answer = approver.post(&path, &approval("ada", &signature));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json["history"][1], json!({ "at": 2, "what": "approved", "by": "ada" }));
    let handed = lab.desk.approvals.lock().unwrap().clone();
    assert_eq!((handed[0].0.to_string(), &*handed[0].1, handed[0].2), (id, "ada", [0x5a; 64]));
    approver.post(&path, &approval("ada", "5a")).problem(400, "api-format");
    approver.post(&path, &approval("", &signature)).problem(400, "api-format");
    approver.post(&path, &json!({ "approver": "ada" })).problem(400, "api-format");
    let other = format!("/v1/commands/{}/approvals", "ab".repeat(16));
    approver.post(&other, &approval("ada", &signature)).problem(404, "desk-not-found");

    lab.desk.looks.store(0, Ordering::Release);
    approver.get(path.trim_end_matches("/approvals"));
    approver.post(&path, &approval("ada", &signature)).problem(409, "desk-not-awaiting");
}

#[test]
fn devices_are_shown_and_revoked() {
    let lab = Lab::start(&[]);
    let security = lab.client(Role::Security);
    let device = security.get(&format!("/v1/devices/{DEV}"));
    assert_eq!((device.status, &device.json["revoked"]), (200, &json!(false)));
    assert_eq!(device.json["sid"], "01000002");
    assert_eq!(device.json["groups"], json!([GID.to_string()]));
    let revoked = security.post(&format!("/v1/devices/{DEV}/revoke"), &json!({}));
    assert_eq!((revoked.status, &revoked.json["revoked"]), (200, &json!(true)));
    security.get(&format!("/v1/devices/{NO_DEV}")).problem(404, "desk-not-found");
    security.get("/v1/devices/zz").problem(400, "api-format");
    security.post(&format!("/v1/devices/{NO_DEV}/revoke"), &json!({})).problem(404, "desk-not-found");
    security.post("/v1/devices/zz/revoke", &json!({})).problem(400, "api-format");
}

#[test]
fn groups_are_made_filled_emptied_and_rekeyed() {
    let lab = Lab::start(&[]);
    let security = lab.client(Role::Security);
    let made = security.post("/v1/groups", &json!({ "name": "wave 2", "classes": [2, 3] }));
    assert_eq!((made.status, &made.json["classes"]), (201, &json!([2, 3])), "{made:?}");
    let gid = made.json["gid"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), format!("/v1/groups/{gid}"));
    for wrong in [
        json!({ "name": "", "classes": [] }),
        json!({ "name": "x".repeat(65), "classes": [] }),
        json!({ "name": "x", "classes": [6] }),
        json!({ "name": "x" }),
    ] {
        security.post("/v1/groups", &wrong).problem(400, "api-format");
    }
    let all = security.get("/v1/groups");
    assert_eq!(all.json["groups"].as_array().unwrap().len(), 2);
    let shown = security.get(&format!("/v1/groups/{GID}"));
    assert_eq!((&shown.json["name"], &shown.json["page"]), (&json!("wave 1"), &json!([DEV.to_string()])));
    let shown = security.get(&format!("/v1/groups/{GID}?skip=1&count=5"));
    assert!(shown.json.get("page").is_none());

    let members = json!({ "devices": [DEV.to_string()] });
    let path = format!("/v1/groups/{gid}/members");
    let joining = security.post(&path, &members);
    assert_eq!((joining.status, joining.json["commands"].as_array().unwrap().len()), (202, 1));
    let leaving = security.call("DELETE", &path, Some(members.to_string())).unwrap();
    assert_eq!((leaving.status, leaving.json["commands"].as_array().unwrap().len()), (202, 1));
    let submitted = lab.desk.submitted.lock().unwrap().clone();
    assert!(submitted.iter().all(|submission| submission.requester == "security"));
    for wrong in [json!({ "devices": [] }), json!({ "devices": ["1"] }), json!({ "device": DEV.to_string() })]
    {
        security.post(&path, &wrong).problem(400, "api-format");
        security.call("DELETE", &path, Some(wrong.to_string())).unwrap().problem(400, "api-format");
    }
    let stranger = json!({ "devices": [NO_DEV] });
    security.post(&path, &stranger).problem(404, "desk-not-found");
    let rekeyed = security.post(&format!("/v1/groups/{gid}/rekey"), &json!({}));
    assert_eq!((rekeyed.status, &rekeyed.json["next_at"]), (200, &json!(1_800_000_000)));

    let nowhere = "/v1/groups/8fffffff";
    security.get(nowhere).problem(404, "desk-not-found");
    security.post(&format!("{nowhere}/members"), &members).problem(404, "desk-not-found");
    security.post(&format!("{nowhere}/rekey"), &json!({})).problem(404, "desk-not-found");
    security.get("/v1/groups/00000001").problem(400, "api-format");
}

#[test]
fn a_campaign_starts_pauses_and_goes_on() {
    let lab = Lab::start(&[]);
    let security = lab.client(Role::Security);
    security.get("/v1/campaigns/7").problem(404, "desk-not-found");
    security.post("/v1/campaigns", &json!({ "delta": 5 })).problem(400, "desk-invalid");
    security.post("/v1/campaigns", &json!({ "group": "1" })).problem(400, "api-format");
    let started = security.post("/v1/campaigns", &json!({ "group": GID.to_string() }));
    assert_eq!((started.status, started.header("location")), (202, "/v1/campaigns/7"));
    assert_eq!((&started.json["state"], &started.json["delta"]), (&json!("broadcast"), &json!(1)));
    security.post("/v1/campaigns", &json!({})).problem(409, "desk-campaign-runs");
    assert_eq!(security.post("/v1/campaigns/7/pause", &json!({})).json["state"], "paused");
    assert_eq!(security.post("/v1/campaigns/7/resume", &json!({})).json["state"], "catch-up");
    let shown = security.get("/v1/campaigns/7");
    assert_eq!((&shown.json["proved"], &shown.json["reregister"]), (&json!(4), &json!([DEV.to_string()])));
    security.post("/v1/campaigns/8/pause", &json!({})).problem(404, "desk-not-found");
    security.post("/v1/campaigns/8/resume", &json!({})).problem(404, "desk-not-found");
    security.get("/v1/campaigns/first").problem(400, "api-format");
}

#[test]
fn a_group_command_shows_counts_and_a_page_of_results() {
    let lab = Lab::start(&[]);
    let body = json!({
        "to": { "group": GID.to_string() }, "order": { "do": "limit", "watts": 1, "minutes": 2 },
        "request_id": "g",
    });
    let id = accepted(&lab.client(Role::Operator).post("/v1/commands", &body), 202);
    let command = lab.client(Role::Reader).get(&format!("/v1/commands/{id}?count=2")).json;
    assert_eq!(command["counts"]["missing"], 1);
    assert_eq!(command["results"].as_array().unwrap().len(), 2);
    assert_eq!(command["results"][0]["receipt"]["verified"], true);
    *lab.desk.end.lock().unwrap() = support::desk::refused_by_device();
    let id = accepted(&lab.client(Role::Operator).post("/v1/commands", &disconnect("r")), 202);
    let command = lab.client(Role::Reader).get(&format!("/v1/commands/{id}")).json;
    assert_eq!(command["outcome"], json!({ "end": "refused", "by": "device", "code": "SEC-DN-TIME" }));
}

#[test]
fn a_desk_that_does_not_answer_is_no_silence() {
    let lab = Lab::start(&[]);
    lab.desk.deaf.store(true, Ordering::Release);
    let answer = lab.client(Role::Reader).get("/v1/groups");
    let problem = answer.problem(503, "desk-closed");
    assert_eq!((answer.header("retry-after"), &problem["retry_after_s"]), ("1", &json!(1)));
    lab.desk.close();
    let answer = lab.client(Role::Reader).get("/v1/groups");
    answer.problem(504, "desk-timed-out");
}

#[test]
fn one_learns_who_one_is_and_what_there_is() {
    let lab = Lab::start(&[]);
    let approver = lab.client(Role::Approver);
    let me = approver.get("/v1/whoami");
    assert_eq!((&me.json["name"], &me.json["roles"]), (&json!("approver"), &json!(["approver"])));
    assert_eq!(approver.get("/v1/openapi.json").json["info"]["title"], "Metergraph");
    approver.get("/v1/nowhere").problem(404, "api-not-found");
    approver.get("/").problem(404, "api-not-found");
    // A method that a path does not have is for nobody; who may do everything hears that it is not there.
    let put = lab.client(Role::Security).call("PUT", "/v1/groups", Some("{}".to_owned())).unwrap();
    put.problem(404, "api-not-found");
}
