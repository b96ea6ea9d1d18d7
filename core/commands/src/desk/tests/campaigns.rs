//! Campaigns.

use super::*;

#[test]
fn a_campaign_proves_all_or_names_them() {
    let mut world = World::new();
    world.group();
    for number in [0, 1] {
        let id = world.item(number, &KeyItem::Join { gid: GID, classes: Classes(0x3f) });
        world.act(true);
        world.result(number, id, 0, false);
    }
    assert_eq!(world.desk.check_campaign(1, 2, Some(GID), world.now), Ok(START as u32));
    let started =
        CampaignChange::Started { campaign: 1, delta: 1, wave: 2, group: Some(GID), challenge: [3; 8] };
    world.tell(Some(world.now), Heard::Campaign(started));
    assert_eq!(world.desk.check_campaign(1, 2, None, world.now), Err(Refusal::CampaignRuns(1)));
    world.act(true);
    world.now += 1;
    world.act(true);
    let group = world.desk.requested("campaign-1").unwrap();
    assert_eq!(group.addressee, Addressee::Group(GID));
    // Those that are no members are told alone, the members are left alone meanwhile.
    (0..40).for_each(|_| {
        world.now += 1;
        world.act(true);
    });
    let alone =
        |world: &World, number: u8| world.desk.requested(&format!("campaign-1-{}-0", dev(number))).is_some();
    assert_eq!((0..4).map(|number| alone(&world, number)).collect::<Vec<_>>(), [false, false, true, true]);
    // Device 0 answers the group's command, 2 its own, 3 registers anew; 1 never answers.
    let report =
        |number: u8| Heard::Report { sid: Sid(u32::from(number)), dev: dev(number), epoch: Epoch(1) };
    world.tell(Some(world.now), Heard::Issued { sid: Sid(2), epoch: Epoch(1), campaign: 1 });
    world.tell(Some(world.now), report(0));
    world.tell(Some(world.now), report(2));
    world.tell(Some(world.now), report(3));
    world.tell(Some(world.now), Heard::Proved { dev: dev(3) });
    let view = world.desk.campaign(1, &Four, Page::NONE).unwrap();
    assert_eq!((view.total, view.proved, view.pending, view.missed), (4, 3, 1, 0));
    for _ in 0..3 {
        world.finish(true);
    }
    let view = world.desk.campaign(1, &Four, Page { skip: 0, count: 9 }).unwrap();
    assert_eq!((view.total, view.proved, view.pending, view.missed), (4, 3, 0, 1));
    assert_eq!((view.state, view.reregister), (crate::front::CampaignState::Finished, vec![dev(1)]));
    assert!(alone(&world, 1), "a member that was silent is told alone after the group's command");
}

#[test]
fn a_paused_campaign_tells_nobody() {
    let mut world = World::new();
    let started = CampaignChange::Started { campaign: 1, delta: 1, wave: 1, group: None, challenge: [3; 8] };
    world.tell(Some(world.now), Heard::Campaign(started));
    world.tell(Some(world.now), Heard::Campaign(CampaignChange::Paused { campaign: 1 }));
    world.finish(true);
    assert_eq!(world.taken(), 0);
    world.tell(Some(world.now), Heard::Campaign(CampaignChange::Resumed { campaign: 1 }));
    world.now += 10;
    world.act(true);
    assert_eq!(world.taken(), 1, "a wave of one");
}
