//! One meter is opened: everything that it stores is stolen.

use std::path::Path;

use seal::command::{Addressee, Receipt};
use seal::group::GroupKeys;
use seal::ids::Epoch;
use seal::secret::Key128;

use crate::house::{GID, House, SKID, SYSTEM, signed, switch};
use crate::loot::{HOUR, Loot, off, opens, to_group};
use crate::meter::Secrets;
use crate::standing::Standing;
use crate::support::office::{Office, dev};

#[test]
fn one_meter_is_opened() {
    let (mut house, [a, mut b, mut c]) = House::with_meters();
    // Stolen: everything that meter A stores.
    let receiver = a.agent.receiver().unwrap();
    let association = &receiver.association;
    let loot = Loot::new(a.dev(), (association.sid(), *association.prk().expose()), 0);
    let group = (Epoch(1), *receiver.groups.all()[0].held[0].gms.expose());

    // He reports as A, reads what the group is told, and registers as A.
    house.handle(&loot.report(40));
    assert_eq!(house.reports.last(), Some(&a.dev()));
    let told = house.broadcast();
    let keys = GroupKeys::derive(&Key128::from_octets(group.1), GID, group.0);
    assert!(opens(&keys.channel(SYSTEM), &told));
    let mut twin = house.make(a.secrets);
    assert!(house.register(&mut twin));
    let loot = Loot::new(a.dev(), house.prk(a.dev()), 0);

    // He opens nothing of B, does not register as B, orders nobody, and proves nothing of B.
    b.report();
    let of_b = b.sends();
    assert!(!of_b.is_empty() && of_b.iter().all(|apdu| !loot.opens(apdu)));
    let as_b = Loot { dev: b.dev(), ..Loot::new(a.dev(), house.prk(a.dev()), 0) };
    assert!(of_b.iter().all(|apdu| !as_b.opens(apdu)));
    house.settle(&mut b);
    let mut pretender = house.make(Secrets { dev: b.dev(), ..a.secrets });
    assert!(!house.register(&mut pretender));
    assert_eq!(house.refused.last(), Some(&"SEC-REG-MAC"));
    let body = switch(false);
    let forged = signed(&off(SKID, 900, 0, &body), Addressee::Group(GID), &a.secrets.signing_key());
    assert_eq!(b.take(&to_group(group, 5000, &forged)), ["SEC-DN-SIG"]);
    assert!(!b.switched_off());
    let receipt = Receipt { system: SYSTEM, dev: b.dev(), digest: [1; 32], result: 0, executed_at: 1 };
    let Ok(signature) = receipt.sign(&a.secrets.signing_key());
    assert!(!receipt.verifies(&b.secrets.public().1, &signature));

    // The answer: A is revoked, the group gets a new key at once, and the old one goes after 72 hours.
    house.revoke(a.dev());
    house.rekey();
    house.deliver(&mut b);
    house.deliver(&mut c);
    let told = house.broadcast();
    let guessed = GroupKeys::derive(&Key128::from_octets(group.1), GID, house.gms().0);
    assert!(!opens(&guessed.channel(SYSTEM), &told));
    assert!(b.take(&told).is_empty() && c.take(&told).is_empty());
    assert!(b.switched_off() && c.switched_off(), "the group is told, and A does not hear it");
    house.now += 73 * HOUR;
    b.now = house.now;

    house.handle(&loot.report(50));
    let association = house.refused.last() != Some(&"SEC-UP-REVOKED");
    let credential = house.register(&mut twin);
    assert_eq!(house.refused.last(), Some(&"SEC-REG-REVOKED"));
    let old_key = b.take(&to_group(group, 5001, &forged)) != ["SEC-DN-EPOCH"];
    let standing = Standing::default()
        .of("meter A's association", association)
        .of("meter A's credential", credential)
        .of("the group's key of then", old_key)
        .of("meter B", house.hears(&mut b))
        .of("meter C", house.hears(&mut c))
        .of("SK_cmd", house.commands(&mut b, SKID))
        .of("SK_reg", house.register(&mut c));
    standing.must_be(
        "one meter opened",
        &["meter B", "meter C", "SK_cmd", "SK_reg"],
        &["meter A's association", "meter A's credential", "the group's key of then"],
    );
}

/// The same against a head-end that runs: the thief is a second fleet with the secrets of one meter.
#[test]
fn an_opened_meter_is_revoked_at_a_running_head_end() {
    let office = Office::open(4);
    let head_end = office.lab.head_end();
    let text = std::fs::read_to_string(office.lab.file("lab.secrets.csv")).unwrap();
    let (shared, rows) = text.split_once("agreement,signing\n").unwrap();
    let stolen = rows.lines().find(|row| row.starts_with(&dev(1))).unwrap();
    let loot = office.lab.file("stolen.secrets.csv");
    std::fs::write(&loot, format!("{shared}agreement,signing\n{stolen}\n")).unwrap();
    let registers = |file: &Path| {
        let output = office
            .lab
            .program()
            .args(["fleet", "--json", "--rate", "4", "--duration", "6", "--relays", "1", "--grace", "4"])
            // What is lost while the head-end still gets its token is soon repeated.
            .args(["--time-scale", "60"])
            .args(["--connect", &format!("127.0.0.1:{}", office.lab.port), "--manifest-secrets"])
            .arg(file)
            .output()
            .unwrap();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        said["registered"].as_u64().unwrap()
    };
    assert_eq!(registers(&loot), 1, "he is the meter");

    office.done(&["device", "revoke", &dev(1)]);
    let as_the_meter = registers(&loot) == 1;
    let others = registers(&office.lab.file("lab.secrets.csv")) == 3;
    let revoked = office.done(&["device", "show", &dev(1)])["revoked"] == true;
    Standing::default()
        .of("the opened meter", as_the_meter || !revoked)
        .of("the other three", others)
        .must_be("one meter opened, running", &["the other three"], &["the opened meter"]);
    office.lab.stop(head_end);
}
