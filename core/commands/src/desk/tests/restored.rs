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

/// The last advance of a group.
fn group_advance(world: &World, gid: Gid) -> CommandId {
    let advance = |heard: &Heard| match heard {
        Heard::Taken(taken) if taken.addressee == Addressee::Group(gid) && taken.class == Class::Keys => {
            Some(taken.id)
        }
        _ => None,
    };
    world.log.iter().rev().find_map(|(_, heard)| advance(heard)).unwrap()
}

fn join(world: &mut World, number: u8, gid: Gid, classes: u8) {
    if !world.desk.groups().contain(gid) {
        let change = GroupChange::Created { gid, name: "some".into(), classes: Classes(classes) };
        world.tell(Some(world.now), Heard::Group(change));
    }
    let join = world.item(number, &KeyItem::Join { gid, classes: Classes(classes) });
    pass(world, 3);
    world.result(number, join, 0, false);
}

fn broadcasts(world: &World, to: Gid) -> usize {
    world.sent.iter().filter(|action| matches!(action, Action::Broadcast { gid, .. } if *gid == to)).count()
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
    join(&mut world, 0, GID, 0x3f);
    join(&mut world, 1, GID, 0x3f);
    pass(&mut world, 3);
    let epoch = |world: &World| world.desk.group(GID, world.now + 100, Page::NONE).unwrap().epoch;
    assert_eq!(epoch(&world), Some(Epoch(0)));
    restored(&mut world, 3, 9);
    restored(&mut world, 3, 9);
    assert!(world.rebuilt(world.log.len()) == world.desk);
    world.desk = world.rebuilt(world.log.len());
    pass(&mut world, 5);
    assert_eq!(epoch(&world), Some(Epoch(0)), "the members have no other while they are told");
    let told = group_advance(&world, GID);
    world.result(0, told, 0, false);
    // The other one is silent.
    pass(&mut world, 890);
    assert_eq!(epoch(&world), Some(Epoch(0)));
    pass(&mut world, 20);
    assert_eq!(epoch(&world), Some(Epoch(11)), "d + 2");
    // A member that is proven is told its keys once more: what it was sent before may be lost.
    world.sent.clear();
    world.tell(Some(world.now), Heard::Report { sid: Sid(1), dev: dev(1), epoch: Epoch(1) });
    pass(&mut world, 2);
    let delivered = |action: &Action| matches!(action, Action::Deliver { dev: to, epoch: Epoch(11), .. } if *to == dev(1));
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

#[test]
fn members_are_told_in_their_groups_and_the_others_alone_until_the_silent_are_too() {
    const SECOND: Gid = Gid(0x8000_0009);
    const READS: Gid = Gid(0x8000_000a);
    let mut world = World::new();
    join(&mut world, 0, GID, 0x3f);
    join(&mut world, 1, GID, 0x3f);
    join(&mut world, 1, SECOND, 0x10);
    // A group that may not order keys tells nobody.
    join(&mut world, 2, READS, 0x01);
    pass(&mut world, 3);
    world.sent.clear();
    restored(&mut world, 3, 1);
    pass(&mut world, 20);
    assert_eq!([GID, SECOND, READS].map(|gid| broadcasts(&world, gid)), [1, 1, 0], "one signature a group");
    assert_eq!([0, 1, 2, 3].map(|number| told(&world, number)), [0, 0, 1, 1]);
    let issued = |heard: &Heard| match heard {
        Heard::Issued { sid, .. } => Some(sid.0),
        _ => None,
    };
    let candidates: Vec<u32> = world.log.iter().filter_map(|(_, heard)| issued(heard)).collect();
    assert_eq!(candidates, [0, 1, 1], "before the group is told");
    let campaign = world.desk.campaigns().running().unwrap();
    assert_eq!(world.desk.campaigns().state(campaign), Some(CampaignState::Broadcast));
    for at in 0..=world.log.len() {
        assert!(world.rebuilt(at) == world.desk, "from a checkpoint after {at} records");
    }
    // Shards that started anew are told once more what proofs echo; nothing is signed once more.
    let signed = world.signed.len();
    world.desk = world.rebuilt(world.log.len() / 2);
    world.desk.begin(world.now);
    pass(&mut world, 10);
    let again: Vec<u32> = world.log.iter().filter_map(|(_, heard)| issued(heard)).collect();
    assert_eq!((again.len(), world.signed.len()), (6, signed));
    // One hears it, the other is told alone when the group has had its time.
    world.tell(Some(world.now), Heard::Report { sid: Sid(0), dev: dev(0), epoch: Epoch(2) });
    pass(&mut world, 850);
    assert_eq!([0, 1].map(|number| told(&world, number)), [0, 0]);
    pass(&mut world, 80);
    assert_eq!([0, 1].map(|number| told(&world, number)), [0, 1]);
    // It hears nothing, and has to register anew; nobody waits for it.
    for _ in 0..4 {
        world.finish(true);
    }
    let view = world.desk.campaign(campaign, &Four, Page { skip: 0, count: 9 }).unwrap();
    assert_eq!((view.state, view.reregister), (CampaignState::Finished, vec![dev(1), dev(2), dev(3)]));
    // It does so by itself, and is told the keys of its groups.
    world.sent.clear();
    world.tell(None, Heard::Proved { dev: dev(1) });
    pass(&mut world, 2);
    let delivered = |of: Gid| {
        world.sent.iter().any(
            |action| matches!(action, Action::Deliver { dev: to, gid, .. } if *to == dev(1) && *gid == of),
        )
    };
    assert!(delivered(GID) && delivered(SECOND));
    assert!(!world.desk.campaigns().restores(dev(1)));
}

#[test]
fn a_group_whose_command_was_not_signed_is_told_later() {
    let mut world = World::new();
    join(&mut world, 0, GID, 0x3f);
    restored(&mut world, 1, 0);
    for _ in 0..3 {
        for _ in 0..35 {
            world.now += 1;
            world.act(false);
        }
        for id in (1..=world.ids).map(|id| CommandId([id; 16])) {
            world.tell(None, Heard::Refused { id, code: "SEC-FENCE".into() });
        }
        for at in [0, world.log.len()] {
            assert!(world.rebuilt(at) == world.desk);
        }
    }
    assert_eq!((broadcasts(&world, GID), told(&world, 0)), (0, 0), "no member is told before its group");
    pass(&mut world, 40);
    assert!(broadcasts(&world, GID) > 0 && told(&world, 0) == 0);
}

#[test]
fn keys_of_an_old_backups_groups_come_in_steps_that_members_take() {
    for (days, lost) in [(14, 0), (14, 13), (15, 0), (40, 0), (40, 20), (400, 9)] {
        let mut world = World::new();
        join(&mut world, 0, GID, 0x3f);
        join(&mut world, 1, GID, 0x3f);
        pass(&mut world, 5);
        restored(&mut world, 3, days);
        pass(&mut world, 10);
        let told = group_advance(&world, GID);
        (0..2).for_each(|number| world.result(number, told, 0, false));
        pass(&mut world, 60);
        world.desk = world.rebuilt(world.log.len());
        let last = Epoch(u16::try_from(days + 2).unwrap());
        assert_eq!(world.desk.group(GID, world.now + 100, Page::NONE).unwrap().epoch, Some(last));
        // What a member takes that had `lost` epochs in the life that was lost, and is heard only now.
        world.sent.clear();
        world.tell(Some(world.now), Heard::Proved { dev: dev(1) });
        pass(&mut world, 2);
        let clock = world.now - 200;
        let mut current = lost;
        for action in &world.sent {
            let Action::Deliver { dev: to, epoch: Epoch(epoch), activate_at, .. } = action else { continue };
            if *to != dev(1) || !(current + 1..=current + 16).contains(epoch) {
                continue;
            }
            if *epoch < last.0 {
                assert!(u64::from(*activate_at) <= clock, "a step is in force at once");
            }
            current = *epoch;
        }
        assert_eq!(current, last.0, "{days} days, {lost} epochs lost");
    }
}
