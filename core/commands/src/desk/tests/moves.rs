//! Whatever happens, in any order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Move {
    Take {
        to: u8,
        class: u8,
    },
    /// By root, to a device or (4) the group.
    Root {
        to: u8,
        ctr: u32,
    },
    RootResult {
        from: u8,
        which: prop::sample::Index,
        result: u8,
    },
    Group(u8),
    Join(u8),
    Leave(u8),
    Approve {
        id: u8,
        approver: u8,
    },
    Refuse(u8),
    Result {
        from: u8,
        id: u8,
        result: u8,
        forged: bool,
    },
    Report {
        from: u8,
        epoch: u16,
    },
    Act {
        later: u64,
        signs: bool,
    },
    Revoke(u8),
    Registered(u8),
    Start,
    Pause(bool),
    Due {
        of: u8,
        epoch: u16,
        why: Why,
    },
    Restored {
        again: bool,
        days: u32,
    },
    Crash,
}

fn a_move() -> impl Strategy<Value = Move> {
    let id = 1..30_u8;
    let to = 0..4_u8;
    let results = prop_oneof![Just(0_u8), Just(0), Just(1), Just(3), Just(16), Just(18), Just(200)];
    prop_oneof![
        3 => (to.clone(), 0..4_u8).prop_map(|(to, class)| Move::Take { to, class }),
        2 => (0..5_u8, 1..9_u32).prop_map(|(to, ctr)| Move::Root { to, ctr }),
        4 => (to.clone(), any::<prop::sample::Index>(), results.clone())
            .prop_map(|(from, which, result)| Move::RootResult { from, which, result }),
        1 => (0..4_u8).prop_map(Move::Group),
        2 => to.clone().prop_map(Move::Join),
        1 => to.clone().prop_map(Move::Leave),
        2 => (id.clone(), 0..3_u8).prop_map(|(id, approver)| Move::Approve { id, approver }),
        1 => id.clone().prop_map(Move::Refuse),
        8 => (to.clone(), id, results, any::<bool>())
            .prop_map(|(from, id, result, forged)| Move::Result { from, id, result, forged }),
        2 => (to.clone(), 0..3_u16).prop_map(|(from, epoch)| Move::Report { from, epoch }),
        6 => (0..900_u64, any::<bool>()).prop_map(|(later, signs)| Move::Act { later, signs }),
        1 => to.clone().prop_map(Move::Revoke),
        1 => to.prop_map(Move::Registered),
        1 => Just(Move::Start),
        1 => any::<bool>().prop_map(Move::Pause),
        2 => (0..4_u8, 0..3_u16, prop::sample::select(Why::ALL.as_slice()))
            .prop_map(|(of, epoch, why)| Move::Due { of, epoch, why }),
        1 => (any::<bool>(), 0..9_u32).prop_map(|(again, days)| Move::Restored { again, days }),
        2 => Just(Move::Crash),
    ]
}

fn go(world: &mut World, step: Move) {
    let join = KeyItem::Join { gid: GID, classes: Classes(0x3f) };
    let now = Some(world.now);
    match step {
        Move::Take { to, class } => {
            let class = Class::from_octet(class).unwrap();
            world.take(Addressee::Device(dev(to)), class, read(), "");
        }
        Move::Root { to, ctr } => {
            let addressee = if to == 4 { Addressee::Group(GID) } else { Addressee::Device(dev(to)) };
            world.take_of_root(addressee, ctr);
        }
        Move::RootResult { from, which, result } => {
            if !world.roots.is_empty() {
                world.result(from, *which.get(&world.roots), result, false);
            }
        }
        Move::Group(class) => {
            if world.desk.groups().version(GID).is_some_and(|(_, members)| members > 0) {
                world.take(Addressee::Group(GID), Class::from_octet(class).unwrap(), read(), "");
            }
        }
        Move::Join(to) => {
            world.item(to, &join);
        }
        Move::Leave(to) => {
            world.item(to, &KeyItem::Leave { gid: GID });
        }
        Move::Approve { id, approver } => {
            let id = CommandId([id; 16]);
            world.tell(
                now,
                Heard::Approved { id, approver: format!("{approver}"), signature: [approver; 64] },
            );
        }
        Move::Refuse(id) => {
            let id = CommandId([id; 16]);
            world.tell(None, Heard::Refused { id, code: "SEC-CMD-CAP".into() });
        }
        Move::Result { from, id, result, forged } => world.result(from, CommandId([id; 16]), result, forged),
        Move::Report { from, epoch } => {
            let (sid, dev, epoch) = (Sid(u32::from(from)), dev(from), Epoch(epoch));
            world.tell(now, Heard::Report { sid, dev, epoch });
        }
        Move::Act { later, signs } => {
            world.now += later;
            world.act(signs);
        }
        Move::Revoke(whom) => world.tell(None, Heard::Revoked { dev: dev(whom) }),
        Move::Registered(whom) => world.tell(None, Heard::Proved { dev: dev(whom) }),
        Move::Start => {
            if let Ok(campaign) = world.desk.check_campaign(1, 2, Some(GID), world.now) {
                let challenge = [campaign as u8; 8];
                let started =
                    CampaignChange::Started { campaign, delta: 1, wave: 2, group: Some(GID), challenge };
                world.tell(now, Heard::Campaign(started));
            }
        }
        Move::Pause(pause) => {
            let Some(campaign) = world.desk.campaigns().running() else { return };
            let change = if pause {
                CampaignChange::Paused { campaign }
            } else {
                CampaignChange::Resumed { campaign }
            };
            world.tell(now, Heard::Campaign(change));
        }
        Move::Due { of, epoch, why } => {
            let sid = Sid(u32::from(of));
            world.tell(None, Heard::Due { sid, dev: dev(of), epoch: Epoch(epoch), why });
        }
        Move::Restored { again, days } => {
            let incarnation = world.desk.restored + u64::from(!again);
            world.tell(now, Heard::Restored { incarnation, days });
        }
        Move::Crash => {
            let rebuilt = world.rebuilt(world.log.len() / 2);
            assert!(rebuilt == world.desk, "replay anywhere makes the same table");
            world.desk = rebuilt;
            world.desk.begin(world.now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_command_ends_once_and_a_replay_knows_the_same(
        steps in prop::collection::vec(a_move(), 1..60), at: prop::sample::Index, keeps_few: bool,
    ) {
        let kept_max = if keeps_few { 8 } else { 1000 };
        let mut world = World::with(Settings { kept_max, ..settings() });
        world.group();
        for step in steps {
            if world.ids > 100 {
                break;
            }
            go(&mut world, step);
        }
        prop_assert!(world.rebuilt(at.index(world.log.len())) == world.desk);
        if let Some(campaign) = world.desk.campaigns().running() {
            world.tell(None, Heard::Campaign(CampaignChange::Finished { campaign, total: 4 }));
        }
        world.tell(None, Heard::RestoreKept { incarnation: 99, campaign: Some(1) });
        (0..4).for_each(|number| world.tell(None, Heard::Revoked { dev: dev(number) }));
        world.finish(false);
        prop_assert_eq!(world.desk.pending(), 0);
        let ended: usize = world.ended.values().sum();
        prop_assert_eq!(ended, world.taken(), "each ended, once: {:?}", world.ended);
        // Each end is in the log.
        let mut filed: Vec<CommandId> = world.log.iter().filter_map(|(_, heard)| match heard {
            Heard::Closed { id, .. } => Some(*id),
            _ => None,
        }).collect();
        filed.sort();
        filed.dedup();
        prop_assert_eq!(filed.len(), world.taken());
        prop_assert!(world.rebuilt(at.index(world.log.len())) == world.desk);
    }
}
