//! The key of an approver is stolen.

use commands::approval::{Approval, prehash};
use commands::class::ProfileClassifier;
use commands::code::SignRefusal;
use commands::front::CommandId;
use commands::group::Membership;
use commands::intent::{Intent, SigningRequest};
use commands::policy::{Policy, PolicyError};
use commands::signer::{Fleet, Member, Signer, Verdict};
use seal::command::{Addressee, Class, Classes, KeyItem};
use seal::control::Item;
use seal::ids::Dev;
use seal::signature::{Signer as _, SigningKey, VerifyingKey};

use crate::house::{GID, SKID, SYSTEM, switch};
use crate::meter::{BEGIN, profile};
use crate::standing::Standing;
use crate::support;
use crate::support::lab::SYSTEM as LAB_SYSTEM;

/// What the signer asks about meters: three of the residential profile.
struct Meters(ProfileClassifier);

impl Fleet for Meters {
    fn member(&self, _: Dev) -> Option<Member> {
        Some(Member { profile: 0, classic: false })
    }

    fn profile(&self, _: u32) -> Option<&ProfileClassifier> {
        Some(&self.0)
    }
}

/// A signer with a group, and the keys of approvers in a laboratory's folder.
struct Desk {
    folder: tempfile::TempDir,
    signer: Signer,
    members: Membership,
    asked: u8,
}

impl Desk {
    fn new() -> Self {
        let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::new(SYSTEM, SKID));
        let mut desk = Self { folder, signer, members: Membership::EMPTY, asked: 0 };
        let (state, root) = (desk.path(""), desk.path("root.key"));
        desk.run(&["keys", "init", "--system", LAB_SYSTEM, "--lab-root", &root, "--state", &state]);
        desk.run(&["policy", "sample", "--state", &state, "--lab-root", &root, "--approvers", "ada,bob,eve"]);
        let policy = desk.accept("policy.toml", None).unwrap();
        desk.signer.set_policy(policy);
        // A member, as its meter answered.
        let mut join = Vec::new();
        KeyItem::Join { gid: GID, classes: Classes(0b00_1000) }.write(&mut join);
        let member = Dev([1; 8]);
        let join = desk.intent(Addressee::Device(member), Class::Keys, &join);
        let Verdict::Authorised(authorised) = desk.ask(&join, vec![]) else { panic!("refused") };
        desk.signer.signed(&authorised);
        let done =
            seal::control::Outcome { skid: SKID, kind: 1, ctr: authorised.ctr(), result: 0, rest: &[] };
        desk.signer.result(member, &done);
        desk.members.change(member);
        desk
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn run(&self, arguments: &[&str]) {
        let output = support::program().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn key(&self, name: &str) -> SigningKey {
        let text = std::fs::read_to_string(self.path(&format!("{name}.key"))).unwrap();
        SigningKey::from_octets(&seal::hex::read(text.trim()).unwrap()).unwrap()
    }

    fn root(&self) -> VerifyingKey {
        self.key("root").verifying_key()
    }

    fn accept(&self, file: &str, before: Option<&Policy>) -> Result<Policy, PolicyError> {
        let read = |name: String| std::fs::read_to_string(name).unwrap();
        let (text, signatures) = (read(self.path(file)), read(self.path(&format!("{file}.sig"))));
        Policy::accept(&text, &signatures, before, Some(&self.root()))
    }

    fn intent(&mut self, addressee: Addressee, class: Class, body: &[u8]) -> Intent {
        self.asked += 1;
        let group = matches!(addressee, Addressee::Group(_));
        Intent {
            id: CommandId([self.asked; 16]),
            system: SYSTEM,
            skid: SKID,
            class,
            addressee,
            membership: if group { self.members.version() } else { 0 },
            body: body.to_vec(),
            nbf: BEGIN as u32 + u32::from(self.asked),
            ttl: 60,
            requester: "alice".to_owned(),
        }
    }

    fn ask(&mut self, intent: &Intent, approvals: Vec<Approval>) -> Verdict {
        let octets = SigningRequest { intent: intent.clone(), approvals }.octets();
        self.signer.authorise(&octets, BEGIN, &Meters(ProfileClassifier(profile())))
    }

    /// Orders the group off with the approvals of these, `(name, whose key)`: how many counted, where refused.
    fn order(&mut self, by: &[(&str, &str)]) -> Result<(), usize> {
        let order = self.intent(Addressee::Group(GID), Class::Load, &switch(false));
        let approve = |(name, key): &(&str, &str)| {
            let Ok(signature) = self.key(key).sign(&prehash(&order.digest()));
            Approval { approver: (*name).to_owned(), signature }
        };
        let approvals = by.iter().map(approve).collect();
        match self.ask(&order, approvals) {
            Verdict::Authorised(authorised) => {
                self.signer.signed(&authorised);
                Ok(())
            }
            Verdict::Refused { refusal: SignRefusal::Approval { have, need: 2 }, .. } => Err(have),
            other => panic!("{other:?}"),
        }
    }

    /// Writes a policy with a line changed, signed by these with the real program.
    fn change(&self, file: &str, change: impl Fn(String) -> String, by: &[(&str, &str)]) {
        let text = change(std::fs::read_to_string(self.path("policy.toml")).unwrap());
        std::fs::write(self.path(file), text).unwrap();
        for (name, key) in by {
            let key = self.path(&format!("{key}.key"));
            self.run(&["policy", "sign", &self.path(file), "--key", &key, "--by", name]);
        }
    }
}

#[test]
fn an_approvers_key_is_stolen() {
    let mut desk = Desk::new();
    // Stolen: ada's key. It is one of two, whatever name it signs under.
    assert_eq!(desk.order(&[("ada", "ada")]), Err(1));
    assert_eq!(desk.order(&[("ada", "ada"), ("ada", "ada")]), Err(1));
    assert_eq!(desk.order(&[("ada", "ada"), ("bob", "ada")]), Err(1));
    // Nor does it change the policy alone.
    let version =
        |number: u64| move |text: String| text.replace("version = 1", &format!("version = {number}"));
    desk.change("his.toml", version(2), &[("ada", "ada"), ("bob", "ada")]);
    let in_force = desk.signer.policy().unwrap().clone();
    assert_eq!(desk.accept("his.toml", Some(&in_force)), Err(PolicyError::Signatures { valid: 1 }));
    // With one who is deceived it is enough: that is what he can do.
    assert_eq!(desk.order(&[("ada", "ada"), ("bob", "bob")]), Ok(()));

    // The answer: a policy without ada, signed by the two others.
    let without = |text: String| {
        let parts: Vec<&str> = text.split("\n[[approver]]").collect();
        let kept: Vec<&str> = parts.into_iter().filter(|part| !part.contains("name = \"ada\"")).collect();
        version(2)(kept.join("\n[[approver]]"))
    };
    desk.change("next.toml", without, &[("bob", "bob"), ("eve", "eve")]);
    let next = desk.accept("next.toml", Some(&in_force)).unwrap();
    assert_eq!(next.version(), 2);
    desk.signer.set_policy(next.clone());

    let ada = desk.order(&[("ada", "ada"), ("bob", "bob")]).is_ok();
    let back = desk.accept("policy.toml", Some(&next)).is_ok();
    desk.change("his-next.toml", version(3), &[("ada", "ada"), ("bob", "bob")]);
    let ada_on_policies = desk.accept("his-next.toml", Some(&next)).is_ok();
    let others = desk.order(&[("bob", "bob"), ("eve", "eve")]).is_ok();
    desk.change("by-root.toml", version(4), &[("root", "root")]);
    let root = desk.accept("by-root.toml", Some(&next)).is_ok();
    Standing::default()
        .of("ada's approvals", ada)
        .of("ada's signatures of policies", ada_on_policies)
        .of("the policy of then", back)
        .of("bob and eve", others)
        .of("root", root)
        .must_be(
            "an approver's key stolen",
            &["bob and eve", "root"],
            &["ada's approvals", "ada's signatures of policies", "the policy of then"],
        );
}
