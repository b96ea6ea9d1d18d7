//! The state is that of a backup.

use super::*;
use crate::front::CampaignState;

fn restored(world: &mut World, incarnation: u64, days: u32) {
    world.tell(Some(world.now), Heard::Restored { incarnation, days });
}

fn pass(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.now += 1;
        world.act(true);
    }
}

fn told(world: &World, number: u8) -> usize {
    world.advances().iter().filter(|(to, _)| *to == dev(number)).count()
}

#[test]
fn one_campaign_moves_all_on_one_by_one_however_often_the_log_tells_of_the_restore() {
    let mut world = World::new();
    let before = CampaignChange::Started { campaign: 7, delta: 1, wave: 1, group: None, challenge: [3; 8] };
    world.tell(Some(world.now), Heard::Campaign(before));
    pass(&mut world, 3);
    let read = world.take(Addressee::Device(dev(0)), Class::Read, read(), "");
    restored(&mut world, 5, 2);
    assert_eq!(world.outcome(read), Some(Outcome::Unknown), "nobody knows what became of it");
    assert_eq!(world.desk.pending(), 0);
    assert_eq!(world.desk.campaigns().state(7), Some(CampaignState::Finished));
    let old = world.advances().len();
    pass(&mut world, 10);
    restored(&mut world, 5, 2);
    pass(&mut world, 10);
    let campaign = world.desk.campaigns().running().unwrap();
    assert!(u64::from(campaign) >= START + 3, "above all that a device may know: {campaign}");
    let advances = world.advances();
    let mut devs: Vec<Dev> = advances[old..].iter().map(|(dev, _)| *dev).collect();
    devs.sort();
    assert_eq!(devs, (0..4).map(dev).collect::<Vec<_>>());
    assert!(advances[old..].iter().all(|(_, number)| *number == campaign));
    for at in 0..=world.log.len() {
        assert!(world.rebuilt(at) == world.desk, "from a checkpoint after {at} records");
    }
    // The first frame that gets through proves its device, whatever epoch it is in; so does its answer.
    let report = Heard::Report { sid: Sid(0), dev: dev(0), epoch: Epoch(2) };
    world.tell(Some(world.now), report);
    world.tell(None, Heard::Proved { dev: dev(1) });
    let ids: Vec<CommandId> = world.signed.keys().copied().collect();
    for id in ids {
        world.result(2, id, 0, false);
    }
    let view = world.desk.campaign(campaign, &Four, Page::NONE).unwrap();
    assert_eq!((view.total, view.proved, view.pending), (4, 3, 1));
    for _ in 0..3 {
        world.finish(true);
    }
    let view = world.desk.campaign(campaign, &Four, Page { skip: 0, count: 9 }).unwrap();
    assert_eq!((view.state, view.reregister), (CampaignState::Finished, vec![dev(3)]));
    // A later restore is another one.
    restored(&mut world, 6, 1);
    pass(&mut world, 10);
    assert!(world.desk.campaigns().running().unwrap() > campaign);
}

#[test]
fn nothing_waits_in_front_of_what_opens_the_gate() {
    let mut world = World::new();
    let ask = |order| Submission {
        request_id: "x".into(),
        addressee: Addressee::Device(dev(0)),
        order,
        nbf: None,
        ttl_min: 60,
        requester: "ann".into(),
        roles: Roles(0xf),
    };
    assert_eq!(world.desk.check(&ask(OrderKind::Disconnect)), Ok(()));
    restored(&mut world, 1, 0);
    assert_eq!(world.desk.check(&ask(OrderKind::Disconnect)), Err(Refusal::Restored(dev(0))));
    pass(&mut world, 5);
    assert_eq!(world.desk.check(&ask(OrderKind::Disconnect)), Err(Refusal::Restored(dev(0))));
    let campaign = world.desk.campaigns().running().unwrap();
    let advance = OrderKind::AdvanceEpoch { campaign, delta: 1, challenge: [0; 8] };
    assert_eq!(world.desk.check(&ask(advance)), Ok(()));
    world.tell(Some(world.now), Heard::Report { sid: Sid(0), dev: dev(0), epoch: Epoch(1) });
    assert_eq!(world.desk.check(&ask(OrderKind::Disconnect)), Ok(()));
}

#[test]
fn a_signer_that_refuses_makes_nobody_register_anew() {
    let mut world = World::new();
    restored(&mut world, 1, 0);
    for _ in 0..600 {
        world.now += 1;
        world.act(false);
        let pending: Vec<CommandId> = (1..=world.ids).map(|id| CommandId([id; 16])).collect();
        for id in pending {
            world.tell(None, Heard::Refused { id, code: "SEC-FENCE".into() });
        }
        if world.ids > 40 {
            break;
        }
    }
    assert!(told(&world, 0) > 3, "it is tried again and again");
    let campaign = world.desk.campaigns().running().unwrap();
    let view = world.desk.campaign(campaign, &Four, Page::NONE).unwrap();
    assert_eq!((view.pending, view.missed), (4, 0));
    pass(&mut world, 120);
    assert!(!world.signed.is_empty(), "then it signs");
}

#[test]
fn groups_skip_the_epochs_that_they_may_have_had_at_once() {
    let mut world = World::new();
    world.group();
    let join = world.item(0, &KeyItem::Join { gid: GID, classes: Classes(0x3f) });
    pass(&mut world, 5);
    world.result(0, join, 0, false);
    let epoch = |world: &World| world.desk.group(GID, world.now + 100, Page::NONE).unwrap().epoch;
    assert_eq!(epoch(&world), Some(Epoch(0)));
    restored(&mut world, 3, 9);
    restored(&mut world, 3, 9);
    assert!(world.rebuilt(world.log.len()) == world.desk);
    world.desk = world.rebuilt(world.log.len());
    pass(&mut world, 5);
    assert_eq!(epoch(&world), Some(Epoch(11)), "d + 2");
    // A member that is proven is told its keys once more: what it was sent before may be lost.
    world.sent.clear();
    world.tell(Some(world.now), Heard::Report { sid: Sid(0), dev: dev(0), epoch: Epoch(1) });
    pass(&mut world, 2);
    let delivered = |action: &Action| matches!(action, Action::Deliver { epoch: Epoch(11), .. });
    assert!(world.sent.iter().any(delivered));
    // After that they follow one another as ever.
    let rekey = GroupChange::Rekey { gid: GID, at: Some(world.now) };
    world.tell(Some(world.now), Heard::Group(rekey));
    pass(&mut world, 5);
    assert_eq!(epoch(&world), Some(Epoch(12)));
}

#[test]
fn numbers_rise_whatever_the_clock_says() {
    let mut world = World::new();
    let far = START as u32 + 1000;
    let before = CampaignChange::Started { campaign: far, delta: 1, wave: 1, group: None, challenge: [3; 8] };
    world.tell(Some(world.now), Heard::Campaign(before));
    restored(&mut world, 1, 0);
    pass(&mut world, 2);
    assert_eq!(world.desk.campaigns().running(), Some(far + 1));
    world.tell(None, Heard::Campaign(CampaignChange::Finished { campaign: far + 1, total: 4 }));
    world.tell(None, Heard::Advanced { campaign: far + 50 });
    assert_eq!(world.desk.check_campaign(1, 1, None, world.now), Ok(far + 51));
    assert_eq!(world.desk.check_campaign(1, 1, None, u64::from(far) + 99), Ok(far + 99));
    world.tell(None, Heard::Due { sid: Sid(0), dev: dev(0), epoch: Epoch(0), why: Why::Counters });
    world.now += 10;
    pass(&mut world, 4);
    assert_eq!(world.advances().last(), Some(&(dev(0), far + 51)));
}
