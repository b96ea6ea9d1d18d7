//! What a head-end needs to sign, and those who ask it to: a policy under root's signature, people and their
//! orders.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use c1222::TableId;
use commands::front::{
    Accepted, CommandId, CommandView, Front, OrderKind, Outcome, Page, Part, Roles, Submission, TableRead,
};
use keystore::token::{self, Holder, SigningHandle};
use node::Value;
use seal::command::Addressee;
use seal::ids::Dev;
use seal::signature::{Signer, SigningKey, sha256};

use super::graph::{Graph, Wishes};
use super::site::Site;
use super::wait_for;

/// Keys by number: 1 and 2 approvers, 9 root.
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_octets(&[number; 32]).unwrap()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Alice may ask for everything, ada and bob approve.
fn write_policy(state: &Path) {
    let mut text = "policy = 1\nversion = 1\n[roles]\nall = [0, 1, 2, 3, 4, 5]\n".to_owned();
    text += "[requesters]\nalice = [\"all\"]\n";
    for (number, name) in [(1, "ada"), (2, "bob")] {
        let [_, xy @ ..] = key(number).verifying_key().uncompressed();
        let (x, y) = xy.split_at(32);
        text += &format!("[[approver]]\nname = \"{name}\"\nx = \"{}\"\ny = \"{}\"\n", hex(x), hex(y));
    }
    let Ok(signature) = key(9).sign(&sha256(text.as_bytes()));
    let signature = format!("[[signature]]\nby = \"root\"\nes256 = \"{}\"\n", hex(&signature));
    std::fs::write(state.join("policy.toml.sig"), signature).unwrap();
    std::fs::write(state.join("policy.toml"), text).unwrap();
    std::fs::write(state.join("root.pub"), hex(&key(9).verifying_key().uncompressed())).unwrap();
}

/// A graph that signs, monitored.
pub fn wishes(site: &Site) -> Wishes {
    write_policy(&site.state());
    let text = |text: &str| Value::Text(text.to_owned());
    Wishes {
        commands: true,
        monitor: true,
        settings: vec![
            ("signer", "policy", text("policy.toml")),
            ("signer", "root", text("root.pub")),
            ("desk", "repeat_s", 1.into()),
            ("desk", "repeat_max_s", 1.into()),
            ("desk", "grace_s", 0.into()),
        ],
        ..Wishes::default()
    }
}

/// The signing key in the signer's token: what a thief of it would have.
pub fn signing_key(site: &Site) -> SigningHandle {
    let token = token::open(&site.state().join(keystore::FOLDER), Holder::Signer).unwrap();
    token.command(1).unwrap()
}

pub fn front(graph: &Graph) -> Arc<Front> {
    wait_for("the desk", || graph.services.find("desk"))
}

/// Alice's order.
pub fn submission(to: Addressee, order: OrderKind) -> Submission {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    Submission {
        request_id: format!("r-{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
        addressee: to,
        order,
        nbf: None,
        ttl_min: 60,
        requester: "alice".to_owned(),
        roles: Roles(0xf),
    }
}

/// ST1 is to be read.
pub fn read(to: Dev) -> Submission {
    let tables = vec![TableRead { table: TableId::standard(1), part: Part::Whole }];
    submission(Addressee::Device(to), OrderKind::ReadTables(tables))
}

pub fn ask(graph: &Graph, submission: Submission) -> Accepted {
    front(graph).submit(submission).unwrap()
}

pub fn view(graph: &Graph, id: CommandId) -> Option<CommandView> {
    front(graph).command(id, Page::NONE).ok()
}

/// How a command ended, once it has.
pub fn ended(graph: &Graph, id: CommandId) -> Option<Outcome> {
    view(graph, id)?.outcome
}

/// Waits until the policy is in force.
pub fn open(graph: &Graph) {
    wait_for("the policy", || (graph.sum("metergraph_policy_version", None) == 1).then_some(()));
}
