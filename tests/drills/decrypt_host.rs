//! The decrypt host is taken: associations and group keys of its shards are stolen.

use seal::command::{Addressee, Class, KeyItem};
use seal::control::{Ack, Down, Item};
use seal::frame::FrameType;
use seal::ids::Epoch;

use crate::house::{GID, House, SKID, registration_key, signed, signing_key, switch};
use crate::loot::{HOUR, Loot, off, to_group};
use crate::meter::Secrets;
use crate::standing::Standing;

#[test]
fn the_decrypt_host_is_taken() {
    let (mut house, [mut a, mut b, mut c]) = House::with_meters();
    a.report();
    let earlier = a.sends();
    earlier.iter().for_each(|apdu| drop(house.handle(apdu)));
    // An epoch later the host is taken: associations and group keys, of all its shards.
    house.issue(a.dev());
    let mut advance = Vec::new();
    KeyItem::Advance { campaign: 1, delta: 1, challenge: &[7; 8] }.write(&mut advance);
    assert_eq!(house.order(&mut a, SKID, Class::Keys, &advance), Some(0));
    let loot = Loot::new(a.dev(), house.prk(a.dev()), 1);
    let of_b = Loot::new(b.dev(), house.prk(b.dev()), 0);
    let group = house.gms();

    // He reads what comes, makes up reports, and takes a reading from B by an acknowledgement of his own.
    a.report();
    let sent = a.sends();
    assert!(!sent.is_empty() && sent.iter().all(|apdu| loot.opens(apdu)));
    sent.iter().for_each(|apdu| drop(house.handle(apdu)));
    house.handle(&of_b.report(60));
    assert_eq!(house.reports.last(), Some(&b.dev()));
    b.report();
    assert!(!b.sends().is_empty() && b.agent.waiting() > 0);
    let mut ack = Vec::new();
    Down::Ack(Ack { epoch: Epoch(0), highest: 63, bitmap: u64::MAX }).write(&mut ack);
    b.take(&of_b.down(FrameType::DownControl, 5000, &ack));
    assert_eq!(b.agent.waiting(), 0, "it believes that it is durable");
    // The next epoch does not heal: he ratchets along.
    house.issue(a.dev());
    advance.clear();
    KeyItem::Advance { campaign: 2, delta: 1, challenge: &[7; 8] }.write(&mut advance);
    assert_eq!(house.order(&mut a, SKID, Class::Keys, &advance), Some(0));
    a.report();
    assert!(a.sends().iter().all(|apdu| loot.next().opens(apdu)));

    // He opens nothing of an earlier epoch, orders nobody, and registers neither as a meter nor as the head-end.
    assert!(earlier.iter().all(|apdu| !loot.opens(apdu)));
    let (body, own) = (switch(false), signing_key("the attacker's"));
    let forged = signed(&off(SKID, 900, house.now, &body), Addressee::Device(b.dev()), &own);
    assert_eq!(b.take(&of_b.down(FrameType::Command, 5001, &forged)), ["SEC-DN-SIG"]);
    let forged = signed(&off(SKID, 900, house.now, &body), Addressee::Group(GID), &own);
    assert_eq!(c.take(&to_group(group, 5000, &forged)), ["SEC-DN-SIG"]);
    assert!(!b.switched_off() && !c.switched_off());
    let mut pretender = house.make(Secrets { dev: c.dev(), ..Secrets::of(9) });
    assert!(!house.register(&mut pretender));
    let mut rogue = House::new(registration_key(0, "the attacker's"), 900);
    assert!(!rogue.register(&mut c));

    // The answer: every association of that host is made anew, the group gets a new key.
    house.now += 400;
    for meter in [&mut a, &mut b, &mut c] {
        meter.now = house.now;
        house.settle(meter);
        assert!(house.register(meter));
    }
    house.rekey();
    for meter in [&mut a, &mut b, &mut c] {
        house.deliver(meter);
    }
    b.report();
    assert!(b.sends().iter().all(|apdu| !of_b.opens(apdu)));
    house.settle(&mut b);
    house.now += 73 * HOUR;
    (b.now, c.now) = (house.now, house.now);

    house.handle(&of_b.report(61));
    let up = house.refused.last() != Some(&"SEC-UP-UNKNOWN");
    let down = b.take(&of_b.down(FrameType::Command, 5002, &forged)) != ["SEC-DN-EPOCH"];
    let old_key = c.take(&to_group(group, 5001, &forged)) != ["SEC-DN-EPOCH"];
    Standing::default()
        .of("reports under the associations of then", up)
        .of("orders under the associations of then", down)
        .of("the group's key of then", old_key)
        .of("meters' credentials", house.register(&mut a))
        .of("SK_reg", house.register(&mut b))
        .of("SK_cmd", house.commands(&mut b, SKID))
        .of("the associations made since", house.hears(&mut c))
        .must_be(
            "decrypt host taken",
            &["meters' credentials", "SK_reg", "SK_cmd", "the associations made since"],
            &[
                "reports under the associations of then",
                "orders under the associations of then",
                "the group's key of then",
            ],
        );
}
