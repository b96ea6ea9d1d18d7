//! The registration key is stolen.

use seal::command::{Class, KeyItem, Point};
use seal::control::Item;
use seal::ids::Sid;

use crate::house::{House, SKID, carried, carry, registration_key, signing_key, switch};
use crate::meter::{Secrets, at};
use crate::standing::Standing;

#[test]
fn the_registration_key_is_stolen() {
    let (mut house, [mut a, mut b, mut c]) = House::with_meters();
    // A registration that he recorded before.
    c.agent.register(at(0));
    let message_1 = c.sends().remove(0);
    house.handle(&message_1).iter().for_each(|apdu| drop(c.take(apdu)));
    let message_3 = c.sends().into_iter().find(|apdu| carried(apdu).0[0] == 0x1a).unwrap();
    house.handle(&message_3).iter().for_each(|apdu| drop(c.take(apdu)));
    house.settle(&mut c);

    // Stolen: SK_reg. A head-end of his own has it, and signing keys of his own.
    let mut rogue = House::new(registration_key(0, "SK_reg"), 900);
    rogue.keys.insert(SKID, signing_key("the attacker's"));
    // A meter in his reach registers with him; he reads its reports.
    assert!(rogue.register(&mut a) && rogue.hears(&mut a));
    // It does not do what he says; what others registered stays theirs; what he recorded stays closed.
    assert_eq!(rogue.order(&mut a, SKID, Class::Load, &switch(false)), Some(16));
    assert!(!a.switched_off());
    assert!(house.hears(&mut b));
    let answer = rogue.handle(&message_1).remove(0);
    assert_eq!(carried(&answer).0[0], 0x19);
    let (head, body) = carried(&message_3);
    // His own run's association in the place of the recorded one: 900 was A's, this is the next.
    let sid = Sid::new(0, 901).unwrap().0.to_be_bytes();
    rogue.handle(&carry(&[&head[..1], &sid, &body].concat()));
    assert_eq!(rogue.refused, ["SEC-REG-MAC"]);
    let mut pretender = house.make(Secrets { dev: b.dev(), ..Secrets::of(9) });
    assert!(!house.register(&mut pretender), "SK_reg makes nobody a meter");

    // The answer: he is cut off, A comes back, all are told of the next credential and register with it.
    house.now += 400;
    assert!(house.register(&mut a));
    let next = registration_key(1, "SK_reg, the next");
    let (x, y) = (next.0.key.x(), next.0.key.y());
    let mut item = Vec::new();
    KeyItem::CredentialNext { kid: 1, point: Point { x: &x, y: &y } }.write(&mut item);
    for meter in [&mut a, &mut b, &mut c] {
        meter.now = house.now;
        assert_eq!(house.order(meter, SKID, Class::Keys, &item), Some(0));
    }
    let before = house.hears(&mut b);
    house.registration = next;
    for meter in [&mut a, &mut b, &mut c] {
        assert!(house.register(meter));
    }

    rogue.now = house.now;
    let stolen = rogue.register(&mut c);
    Standing::default()
        .of("SK_reg that was stolen", stolen)
        .of("the associations made before", before)
        .of("SK_reg, the next", house.register(&mut b))
        .of("meters' credentials", house.register(&mut a))
        .of("SK_cmd", house.commands(&mut b, SKID))
        .must_be(
            "SK_reg stolen",
            &["the associations made before", "SK_reg, the next", "meters' credentials", "SK_cmd"],
            &["SK_reg that was stolen"],
        );
}
