//! Associations that should leave their epoch.

use super::*;

const DAY_S: u64 = 86_400;

fn due(world: &mut World, number: u8, epoch: u16, why: Why) {
    let (sid, epoch) = (Sid(u32::from(number)), Epoch(epoch));
    world.tell(None, Heard::Due { sid, dev: dev(number), epoch, why });
}

fn report(world: &mut World, number: u8, epoch: u16) {
    let (sid, dev, epoch) = (Sid(u32::from(number)), dev(number), Epoch(epoch));
    world.tell(Some(world.now), Heard::Report { sid, dev, epoch });
}

fn pass(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.now += 1;
        world.act(true);
    }
}

/// Its device has done the last advance.
fn done(world: &mut World, number: u8, epoch: u16) {
    report(world, number, epoch);
    let id = world.last_id();
    world.result(number, id, 0, false);
}

#[test]
fn however_often_it_is_said_there_is_one_advance_until_the_epoch_is_left() {
    let mut world = World::new();
    for _ in 0..5 {
        due(&mut world, 0, 3, Why::Counters);
        pass(&mut world, 10);
    }
    let advances = world.advances();
    assert_eq!(advances.len(), 1, "{advances:?}");
    assert!(u64::from(advances[0].1) > START, "above all numbers before it");
    assert_eq!((world.desk.due_for(Why::Counters), world.desk.due_for(Why::Failures)), (1, 0));
    done(&mut world, 0, 4);
    assert_eq!(world.desk.due_for(Why::Counters), 0);
    due(&mut world, 0, 3, Why::Counters);
    // That was said before the epoch was left, and comes late: it is nothing but one more advance.
    report(&mut world, 0, 4);
    pass(&mut world, 10);
    assert_eq!(world.advances().len(), 1, "its epoch is behind it");
    due(&mut world, 0, 4, Why::Counters);
    pass(&mut world, 10);
    assert_eq!(world.advances().len(), 2, "not limited to one a day");
    assert!(world.advances()[1].1 > advances[0].1);
}

#[test]
fn frames_that_do_not_open_bring_one_advance_a_day() {
    let mut world = World::new();
    due(&mut world, 1, 0, Why::Failures);
    pass(&mut world, 5);
    let since = world.now;
    for epoch in 1..4 {
        assert_eq!(world.advances().len(), 1);
        done(&mut world, 1, 1);
        due(&mut world, 1, epoch, Why::Failures);
        pass(&mut world, 20);
    }
    assert_eq!(world.desk.due_for(Why::Failures), 1, "it waits for its day");
    world.now = since + DAY_S - 30;
    pass(&mut world, 10);
    assert_eq!(world.advances().len(), 1);
    pass(&mut world, 30);
    assert_eq!(world.advances().len(), 2);
    // What is worse than failures waits for no day.
    done(&mut world, 1, 4);
    due(&mut world, 1, 4, Why::Failures);
    pass(&mut world, 5);
    assert_eq!(world.advances().len(), 2);
    due(&mut world, 1, 4, Why::Counters);
    pass(&mut world, 5);
    assert_eq!(world.advances().len(), 3);
}

#[test]
fn they_come_at_their_own_rate_and_after_everything_else() {
    let mut world = World::with(Settings { due_per_s: 0.5, ..settings() });
    for number in 0..20 {
        due(&mut world, number, 0, Why::Failures);
    }
    pass(&mut world, 10);
    let some = world.advances().len();
    assert!((4..=6).contains(&some), "{some} in 10 s");
    // A command that the signer says nothing of.
    let read = world.take(Addressee::Device(dev(99)), Class::Read, read(), "");
    for _ in 0..50 {
        world.now += 1;
        world.act(false);
    }
    let waiting = world.advances().len();
    assert!(waiting <= some + 1, "another command waits: {waiting}");
    world.sign(read);
    pass(&mut world, 3);
    assert!(world.advances().len() <= waiting + 3, "no burst for the time that has passed");
    pass(&mut world, 60);
    assert_eq!(world.advances().len(), 20);
    // A campaign moves everybody on: nobody is told twice.
    let started = CampaignChange::Started { campaign: 1, delta: 1, wave: 9, group: None, challenge: [3; 8] };
    world.tell(Some(world.now), Heard::Campaign(started));
    due(&mut world, 50, 0, Why::Counters);
    pass(&mut world, 60);
    let told = |world: &World, number| world.advances().iter().filter(|(of, _)| *of == dev(number)).count();
    assert_eq!(told(&world, 50), 0);
    world.tell(Some(world.now), Heard::Campaign(CampaignChange::Paused { campaign: 1 }));
    pass(&mut world, 60);
    assert_eq!(told(&world, 50), 1);
}

#[test]
fn no_more_are_kept_than_there_is_room_for() {
    let mut world = World::with(Settings { due_max: 3, due_per_s: 100.0, ..settings() });
    for number in 0..5 {
        due(&mut world, number, 0, Why::Failures);
    }
    assert_eq!((world.desk.due_for(Why::Failures), world.desk.due_dropped()), (3, 2));
    pass(&mut world, 5);
    assert_eq!(world.advances().len(), 3);
    // Those that are done are kept for a day, so that the day is kept.
    (0..3).for_each(|number| report(&mut world, number, 1));
    due(&mut world, 4, 0, Why::Counters);
    assert_eq!((world.desk.due_for(Why::Counters), world.desk.due_dropped()), (0, 3));
    world.finish(true);
    report(&mut world, 9, 0);
    due(&mut world, 4, 0, Why::Counters);
    assert_eq!(world.desk.due_for(Why::Counters), 1);
}

#[test]
fn one_that_did_not_come_through_is_told_again_with_its_number_and_a_known_number_brings_a_fresh_one() {
    let mut world = World::new();
    due(&mut world, 2, 0, Why::Counters);
    // Nobody answers: it expires after a quarter of an hour, and rests for an hour.
    pass(&mut world, 60 * 60);
    due(&mut world, 2, 0, Why::Counters);
    due(&mut world, 2, 0, Why::Failures);
    pass(&mut world, 10 * 60);
    assert_eq!(world.advances().len(), 1, "it rests, whatever is said meanwhile");
    pass(&mut world, 10 * 60);
    let [first, second] = world.advances()[..] else { panic!("{:?}", world.advances()) };
    assert_eq!(first, second, "the same step, which it may have taken");
    // The device says that it knows this number, under the epoch that it should leave.
    let id = world.last_id();
    world.result(2, id, 3, false);
    pass(&mut world, 2 * 60 * 60);
    let [_, _, third] = world.advances()[..] else { panic!("{:?}", world.advances()) };
    assert!(third.1 > second.1);
    // Refused by the signer: no storm.
    let id = world.last_id();
    world.tell(None, Heard::Refused { id, code: "SEC-CMD-POLICY".into() });
    pass(&mut world, 600);
    assert_eq!(world.advances().len(), 3);
    world.tell(None, Heard::Proved { dev: dev(2) });
    assert_eq!(world.desk.due_for(Why::Counters), 0, "another association, another epoch");
    pass(&mut world, 2 * 60 * 60);
    assert_eq!(world.advances().len(), 3);
}

#[test]
fn a_start_knows_what_was_ordered() {
    let mut world = World::new();
    due(&mut world, 0, 0, Why::Counters);
    due(&mut world, 1, 0, Why::Failures);
    pass(&mut world, 5);
    done(&mut world, 1, 1);
    due(&mut world, 1, 1, Why::Failures);
    for at in 0..=world.log.len() {
        assert!(world.rebuilt(at) == world.desk, "from a checkpoint after {at} records");
    }
    world.desk = world.rebuilt(world.log.len());
    world.desk.begin(world.now);
    pass(&mut world, 600);
    assert_eq!(world.advances().len(), 2);
}
