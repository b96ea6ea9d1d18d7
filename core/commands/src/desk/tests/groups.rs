//! Members and keys of groups.

use super::*;

#[test]
fn members_join_and_leave_by_result_and_removal_brings_a_new_epoch() {
    let mut world = World::new();
    world.group();
    world.act(true);
    let join = KeyItem::Join { gid: GID, classes: Classes(0x3f) };
    let first = world.item(0, &join);
    let second = world.item(1, &join);
    world.act(true);
    assert_eq!(world.desk.groups().version(GID), Some((0, 0)), "asked is not joined");
    world.result(0, first, 0, false);
    world.result(1, second, 5, false);
    assert_eq!(world.desk.groups().version(GID), Some((1, 1)));
    world.sent.clear();
    world.now += 1;
    world.act(true);
    let delivered = |world: &World, to: u8| {
        let to =
            |action: &&Action| matches!(action, Action::Deliver { dev: member, .. } if *member == dev(to));
        world.sent.iter().filter(to).count()
    };
    assert_eq!((delivered(&world, 0), delivered(&world, 1)), (1, 0), "only a member has the key");
    let leave = world.item(0, &KeyItem::Leave { gid: GID });
    world.act(true);
    world.result(0, leave, 0, false);
    assert_eq!(world.desk.groups().version(GID), Some((2, 0)));
    world.sent.clear();
    world.finish(true);
    let view = world.desk.group(GID, world.now, Page::NONE).unwrap();
    assert_eq!((view.epoch, delivered(&world, 0)), (Some(Epoch(1)), 0), "who left has no key any more");
}

#[test]
fn a_device_that_joins_late_is_a_member_once_for_each_time_that_it_joins() {
    let mut world = World::new();
    world.group();
    let join = world.item(0, &KeyItem::Join { gid: GID, classes: Classes(0x3f) });
    world.act(true);
    for _ in 0..5 {
        world.now += 600;
        world.act(true);
    }
    assert_eq!(world.outcome(join), Some(Outcome::Expired));
    world.result(0, join, 0, false);
    assert_eq!(world.desk.groups().version(GID), Some((1, 1)), "the signer counts it too");
    let members = |devs: &[Dev]| devs.iter().copied().collect::<crate::group::Membership>();
    assert_eq!(world.desk.groups().membership(GID), Some(members(&[dev(0)])));
    let leave = world.item(0, &KeyItem::Leave { gid: GID });
    world.act(true);
    world.result(0, leave, 0, false);
    world.result(0, leave, 0, false);
    world.result(0, join, 0, false);
    assert_eq!(world.desk.groups().version(GID), Some((2, 0)), "what it says again changes nothing");
    assert_eq!(world.desk.groups().membership(GID), Some(members(&[])));
    for at in 0..=world.log.len() {
        assert!(world.rebuilt(at) == world.desk);
    }
}

#[test]
fn after_a_start_the_key_in_force_goes_before_the_next_one() {
    let mut world = World::new();
    world.group();
    for member in [0, 1] {
        let join = world.item(member, &KeyItem::Join { gid: GID, classes: Classes(0x3f) });
        world.act(true);
        world.result(member, join, 0, false);
    }
    let leave = world.item(1, &KeyItem::Leave { gid: GID });
    world.act(true);
    world.result(1, leave, 0, false);
    let epochs = |world: &mut World| -> Vec<u16> {
        world.sent.clear();
        world.desk.begin(world.now);
        world.act(true);
        let to = |action: &Action| match action {
            Action::Deliver { dev: member, epoch, .. } if *member == dev(0) => Some(epoch.0),
            _ => None,
        };
        world.sent.iter().filter_map(to).collect()
    };
    world.now += 1000;
    assert!(epochs(&mut world).is_empty(), "the only key is an old one");
    world.now += 2700;
    world.act(true);
    let next = world.desk.group(GID, world.now, Page::NONE).unwrap().next_at;
    assert!(next.is_some_and(|at| u64::from(at) > world.now), "the next key is told and not yet in force");
    assert_eq!(epochs(&mut world), [0, 1]);
}
