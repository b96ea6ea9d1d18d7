//! A command key is stolen.

use seal::command::{Addressee, Class, Classes, Command, KeyItem, Point};
use seal::control::Item;
use seal::frame::FrameType;
use seal::ids::Epoch;
use seal::signature::SigningKey;

use crate::house::{GID, House, NEXT, ROOT, SKID, signed, signing_key, switch};
use crate::loot::{Loot, off, to_group};
use crate::standing::Standing;

#[test]
fn the_command_key_is_stolen() {
    let (mut house, [a, mut b, mut c]) = House::with_meters();
    // Stolen: SK_cmd; and, what makes it worst, the group's key out of an opened meter.
    let stolen = signing_key("SK_cmd 1");
    let group = (Epoch(1), *a.agent.receiver().unwrap().groups.all()[0].held[0].gms.expose());

    // With SK_cmd alone he reaches nobody: he has no key that seals.
    let body = switch(false);
    let order = signed(&off(SKID, 900, 0, &body), Addressee::Device(b.dev()), &stolen);
    let guess = Loot::new(b.dev(), (house.prk(b.dev()).0, [9; 32]), 0);
    assert_eq!(b.take(&guess.down(FrameType::Command, 5000, &order)), ["SEC-DN-AUTH"]);
    assert!(!b.switched_off());
    // With both he switches the whole group off, and brings in a key of his own.
    let order = signed(&off(SKID, 900, 0, &body), Addressee::Group(GID), &stolen);
    for meter in [&mut b, &mut c] {
        assert!(meter.take(&to_group(group, 5000, &order)).is_empty());
        assert!(meter.switched_off());
    }
    let own = signing_key("the attacker's");
    let [_, xy @ ..] = own.verifying_key().uncompressed();
    let point = Point { x: xy[..32].try_into().unwrap(), y: xy[32..].try_into().unwrap() };
    let mut add = Vec::new();
    KeyItem::SignerAdd { skid: 66, point, classes: Classes(0b11_1111), not_before: 0 }.write(&mut add);
    let add = Command { class: 4, ctr: 901, body: &add, ..off(SKID, 0, 0, &[]) };
    let add = signed(&add, Addressee::Group(GID), &stolen);
    // He cannot revoke the next key: that is root's alone.
    let mut revoke = Vec::new();
    KeyItem::SignerRevoke { skid: NEXT }.write(&mut revoke);
    let revoke = Command { class: 4, ctr: 902, body: &revoke, ..off(SKID, 0, 0, &[]) };
    let revoke = signed(&revoke, Addressee::Group(GID), &stolen);
    for meter in [&mut b, &mut c] {
        meter.take(&to_group(group, 5001, &add));
        meter.take(&to_group(group, 5002, &revoke));
        house.settle(meter);
        let signers = &meter.agent.receiver().unwrap().signers;
        assert!(signers.get(66).is_some() && signers.get(NEXT).is_some());
    }
    // It is noticed: RESULTs come, signed for, of commands that nobody asked for.
    let foreign =
        house.results.iter().filter(|(dev, skid, result)| *dev == b.dev() && (*skid, *result) == (SKID, 5));
    assert_eq!(foreign.count(), 1);

    // The answer: root revokes both; the next key, which meters know already, takes over. Class 3 of an order
    // that was ahead of time is waited for.
    house.now += 400;
    let mut revoke = Vec::new();
    for skid in [SKID, 66] {
        KeyItem::SignerRevoke { skid }.write(&mut revoke);
    }
    for meter in [&mut b, &mut c] {
        meter.now = house.now;
        assert_eq!(house.order(meter, ROOT, Class::Keys, &revoke), Some(0));
        assert_eq!(house.order(meter, NEXT, Class::Load, &switch(true)), Some(0));
        assert!(!meter.switched_off());
    }
    // Nobody brings them back.
    let mut again = Vec::new();
    KeyItem::SignerAdd { skid: 66, point, classes: Classes(1), not_before: 0 }.write(&mut again);
    assert_eq!(house.order(&mut b, NEXT, Class::Keys, &again), Some(3));

    let mut believes = |skid: u8, key: &SigningKey, ctr: u32| {
        let order = signed(&off(skid, ctr, house.now, &body), Addressee::Group(GID), key);
        b.take(&to_group(group, 5000 + ctr, &order)) != ["SEC-DN-SIG"] || b.switched_off()
    };
    let (first, own) = (believes(SKID, &stolen, 910), believes(66, &own, 911));
    Standing::default()
        .of("SK_cmd 1", first)
        .of("the key that he brought in", own)
        .of(
            "root",
            house.order(&mut c, ROOT, Class::Keys, &{
                let mut item = Vec::new();
                KeyItem::SignerRevoke { skid: 77 }.write(&mut item);
                item
            }) == Some(0),
        )
        .of("SK_cmd 2", house.commands(&mut b, NEXT))
        .of("associations", house.hears(&mut b))
        .of("SK_reg", house.register(&mut c))
        .must_be(
            "SK_cmd stolen",
            &["root", "SK_cmd 2", "associations", "SK_reg"],
            &["SK_cmd 1", "the key that he brought in"],
        );
}
