//! Every row of security layer §10, provoked at a running head-end or at an end device on it: each ends with
//! exactly its code, on the side that must raise it, in the event log and in the metrics; what a device
//! refuses is counted there, and stands at the head-end as the end of its command.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use c1222::{Apdu, Leniency, carriage};
use commands::approval::{Approval, prehash};
use commands::front::{By, CommandId, OrderKind, Outcome};
use commands::intent::{Intent, SigningRequest};
use common::agent::{self, Member, until, whole};
use common::desk::Desk;
use common::device::{Classic, Device, Message, carry, plain};
use common::egress::SETTINGS;
use common::graph::{Graph, Wishes};
use common::meter::{Meter, now};
use common::office::{self, signing_key};
use common::site::{SYSTEM, Site};
use common::{lab, wait_for};
use end_device::secrets::Secrets;
use journal::Writer;
use keystore::{Credentials, Directory};
use metergraph_nodes::journal::Log;
use metergraph_nodes::key_store::set_incarnation_mark;
use metergraph_nodes::order::Order;
use metergraph_nodes::record::{self, Record, Reservation};
use node::meters::Reading;
use node::{Batch, Frame};
use seal::command::{Addressee, Class, Classes, Command, sign};
use seal::counter::STOP_AT;
use seal::edhoc::{AwaitMessage2, AwaitMessage4, DeviceCredential, Ephemeral, PrivateKey, initiate};
use seal::frame::{Bound, FrameType};
use seal::ids::{Dev, Gid, Sid};
use seal::profile1::Channel;
use seal::receiver::{SignerKey, Signers};
use seal::signature::{Signer, SigningKey};

/// Who raises a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    HeadEnd,
    Device,
}

/// Security layer §10, row by row. SEC-CMD-CAP and SEC-CMD-HOLD come with caps and hold list.
const ROWS: [(&str, Side); 37] = [
    ("SEC-FORMAT", Side::HeadEnd),
    ("SEC-UP-UNKNOWN", Side::HeadEnd),
    ("SEC-UP-REVOKED", Side::HeadEnd),
    ("SEC-UP-EPOCH", Side::HeadEnd),
    ("SEC-UP-REPLAY", Side::HeadEnd),
    ("SEC-UP-AUTH", Side::HeadEnd),
    ("SEC-UP-DUP", Side::HeadEnd),
    ("SEC-UP-BODY", Side::HeadEnd),
    ("SEC-UP-LIMIT", Side::HeadEnd),
    ("SEC-REG-FORMAT", Side::HeadEnd),
    ("SEC-REG-METHOD", Side::HeadEnd),
    ("SEC-REG-POINT", Side::HeadEnd),
    ("SEC-REG-EAD", Side::HeadEnd),
    ("SEC-REG-MAC", Side::HeadEnd),
    ("SEC-REG-UNKNOWN", Side::HeadEnd),
    ("SEC-REG-REVOKED", Side::HeadEnd),
    ("SEC-REG-SUITE", Side::HeadEnd),
    ("SEC-REG-DUP", Side::HeadEnd),
    ("SEC-REG-BUSY", Side::HeadEnd),
    ("SEC-DN-FORMAT", Side::Device),
    ("SEC-DN-EPOCH", Side::Device),
    ("SEC-DN-REPLAY", Side::Device),
    ("SEC-DN-AUTH", Side::Device),
    ("SEC-DN-SIG", Side::Device),
    ("SEC-DN-CLASS", Side::Device),
    ("SEC-DN-CTR", Side::Device),
    ("SEC-DN-TIME", Side::Device),
    ("SEC-DN-ORDER", Side::Device),
    ("SEC-CMD-POLICY", Side::HeadEnd),
    ("SEC-CMD-APPROVAL", Side::HeadEnd),
    ("SEC-CMD-CLASS", Side::HeadEnd),
    ("SEC-SEQ", Side::HeadEnd),
    ("SEC-STORE", Side::HeadEnd),
    ("SEC-HSM", Side::HeadEnd),
    ("SEC-FENCE", Side::HeadEnd),
    ("SEC-LEGACY", Side::HeadEnd),
    ("SEC-AUDIT", Side::HeadEnd),
];

/// What was shown so far.
type Shown = BTreeSet<(&'static str, bool)>;

#[test]
fn every_row_of_section_10_ends_with_its_code() {
    let mut shown = Shown::new();
    frames(&mut shown);
    registrations(&mut shown);
    commands(&mut shown);
    devices(&mut shown);
    let rows: Shown = ROWS.iter().map(|(code, side)| (*code, *side == Side::Device)).collect();
    assert_eq!(rows.len(), ROWS.len());
    assert_eq!(shown, rows);
}

/// Events of the security layer by code: what the metrics say.
fn counted(graph: &Graph) -> BTreeMap<String, u64> {
    let meters = graph.meters.all().into_iter().filter(|meter| meter.name == "metergraph_events_total");
    let counted = meters.map(|meter| {
        let reason = meter.labels.iter().find(|(key, _)| *key == "reason").unwrap().1.clone();
        let Reading::Counter(counter) = meter.reading else { panic!("a counter") };
        (reason, counter.get())
    });
    counted.filter(|(reason, _)| reason.starts_with("SEC-")).collect()
}

/// What the event log says of a code.
fn logged(site: &Site, code: &str) -> usize {
    let Ok(files) = std::fs::read_dir(site.state().join("events")) else { return 0 };
    let lines = files.map(|file| {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(|line| line["reason"] == code).count()
    });
    lines.sum()
}

/// Does something that ends with this code at the head-end, and with no other.
fn provoke(shown: &mut Shown, graph: &Graph, site: &Site, code: &'static str, action: impl FnOnce()) {
    provoke_beside(shown, graph, site, code, &[], action);
}

/// As [`provoke`], with codes that it meets on the way.
fn provoke_beside(
    shown: &mut Shown,
    graph: &Graph,
    site: &Site,
    code: &'static str,
    beside: &[&str],
    action: impl FnOnce(),
) {
    let (before, lines) = (counted(graph), logged(site, code));
    action();
    wait_for(&format!("{code} in metrics and event log"), || {
        let more = counted(graph).get(code) > before.get(code) && logged(site, code) > lines;
        more.then_some(())
    });
    for (reason, count) in counted(graph) {
        let same = before.get(&reason) == Some(&count);
        assert!(same || reason == code || beside.contains(&reason.as_str()), "{reason} beside {code}");
    }
    shown.insert((code, false));
}

/// A running graph; what end devices send up, and what orders bring.
fn frames(shown: &mut Shown) {
    let (mut site, files) = Site::forgetful(8, 1);
    let devices = std::mem::take(&mut site.devices);
    let classic: Classic = site.classics.remove(0);
    let site = site.with_key_store();
    // The last counters of the last device are reserved: as far as it goes.
    let Device { sid, epoch, .. } = devices[7];
    let log = Log::new(Arc::new(files.clone()), site.state().join("journal"));
    let mut writer = Writer::open(log.files(), log.folder(), SETTINGS, log.durable()).unwrap();
    let mut octets = Vec::new();
    Reservation { sid, epoch, floor: STOP_AT, day: 0 }.write(&mut octets);
    writer.append(record::RESERVATION, &octets).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();

    let wishes = Wishes { monitor: true, ..Wishes::default() };
    let graph = Graph::start_with(&site, &wishes);
    let device = &devices[0];
    graph.send(1, &[device.report(200, &plain())]);
    graph.next_sent();
    let good = device.frame(FrameType::Report, 201, &plain());
    let spoilt = |at: usize, octet: u8| {
        let mut frame = good.clone();
        frame[at] = octet;
        device.carry_any(&frame)
    };
    let mut strange = good.clone();
    strange[1..5].copy_from_slice(&0x00ff_0000_u32.to_be_bytes());
    let mut unsigned: Message = classic.message(5, now() as u32);
    unsigned.called = None;
    for (code, apdu) in [
        ("SEC-FORMAT", spoilt(0, 0x12)),
        ("SEC-UP-UNKNOWN", device.carry(&strange)),
        ("SEC-UP-EPOCH", spoilt(5, device.epoch.low().wrapping_add(1))),
        ("SEC-UP-REPLAY", device.report(200 - 64, &plain())),
        ("SEC-UP-AUTH", spoilt(good.len() - 1, good[good.len() - 1] ^ 1)),
        ("SEC-UP-DUP", device.report(200, &plain())),
        ("SEC-UP-BODY", device.report(202, b"")),
        ("SEC-LEGACY", classic.seal(&unsigned)),
        ("SEC-SEQ", devices[7].report(0, &plain())),
    ] {
        provoke(shown, &graph, &site, code, || graph.send(1, &[apdu]));
        let refused = graph.refused(code);
        let taken = ["SEC-UP-DUP", "SEC-UP-BODY", "SEC-SEQ"].contains(&code);
        assert_eq!(refused, u64::from(!taken), "{code}");
    }
    // What is acknowledged at all: a repeat, and a body that does not parse.
    wait_for("acknowledgements", || {
        let sent = graph.sent();
        sent.iter().filter_map(|(_, apdu)| device.open(apdu)).any(|(_, ack)| ack.covers(202)).then_some(())
    });
    let mut forged = devices[2].frame(FrameType::Report, 1, &plain());
    forged[11] ^= 1;
    provoke_beside(shown, &graph, &site, "SEC-UP-LIMIT", &["SEC-UP-AUTH"], || {
        for _ in 0..5 {
            let refused = graph.sum("metergraph_frames_refused_total", None);
            graph.send(5, &vec![devices[2].carry(&forged); 75]);
            wait_for("their end", || {
                (graph.sum("metergraph_frames_refused_total", None) == refused + 75).then_some(())
            });
        }
    });
    let mut desk = Desk::default();
    let (dev, sid) = (devices[1].dev, devices[1].sid);
    desk.give(&graph, &Order::Revoke { dev, sid });
    desk.wait(&graph);
    provoke(shown, &graph, &site, "SEC-UP-REVOKED", || graph.send(1, &[devices[1].report(3, &plain())]));
    assert_eq!(graph.refused("SEC-UP-REVOKED"), 1);
    provoke(shown, &graph, &site, "SEC-STORE", || {
        let sid = Sid::new(3, 77).unwrap();
        desk.give(&graph, &Order::Register { sid, dev: devices[3].dev, replaces: None, sealed: &[7; 200] });
    });
    wait_for("the failure", || graph.orders[0].next_failure());
    desk.forget();
    assert_eq!(graph.sum("metergraph_frames_dropped_total", None), 0);
    graph.kill();

    // The state of before is brought back, as a copy would be.
    set_incarnation_mark(&files, &site.state().join("journal"), 0).unwrap();
    let graph = Graph::start_with(&site, &wishes);
    provoke(shown, &graph, &site, "SEC-FENCE", || graph.send(1, &[device.report(300, &plain())]));
    wait_for("the report", || (graph.sum("metergraph_frames_journaled_total", None) == 1).then_some(()));
    assert!(graph.sent().is_empty(), "nothing is sealed");
    graph.kill();
}

/// An end device's side of a registration.
struct Registrant {
    credential: DeviceCredential,
    key: PrivateKey,
    head_end: seal::edhoc::PublicKey,
}

impl Registrant {
    fn new(secrets: &Secrets, place: usize) -> Self {
        let device = &secrets.devices[place];
        Self::with(device.dev, *device.agreement, secrets)
    }

    fn with(kid: Dev, key: [u8; 32], secrets: &Secrets) -> Self {
        let key = PrivateKey::from_octets(&key).unwrap();
        let credential = DeviceCredential { kid, key: key.public_key() };
        Self { credential, key, head_end: secrets.credential.key }
    }

    fn answer(&self, waiting: &AwaitMessage2, message_2: &[u8]) -> (AwaitMessage4, Vec<u8>) {
        assert_eq!(message_2[0], 0x19, "{message_2:02x?}");
        let answer = waiting.message_2(&message_2[1..], &self.credential, &self.key, |_| Some(self.head_end));
        let (waiting, message_3) = answer.ok().unwrap();
        let frame = [&[0x1a][..], &waiting.sid().0.to_be_bytes(), &message_3].concat();
        (waiting, frame)
    }
}

fn message_1(number: u8) -> (AwaitMessage2, Vec<u8>) {
    let (waiting, message_1) = initiate(Ephemeral::from_octets(&[0x30 + number; 32]).unwrap());
    (waiting, [&[0x18][..], &message_1].concat())
}

fn carried(frame: &[u8]) -> Vec<u8> {
    carry(Some(&c1222::ApTitleBuf::parse(".75.9").unwrap()), frame)
}

/// The frame in an APDU.
fn frame_of(apdu: &[u8]) -> Vec<u8> {
    let apdu = Apdu::decode(apdu, Leniency::Strict).unwrap();
    let carried = carriage::read(&apdu).unwrap().unwrap();
    [carried.head, carried.body].concat()
}

/// A running graph with a registrar, and devices of a signed manifest.
fn registrations(shown: &mut Shown) {
    let (site, _) = Site::forgetful(1, 0);
    let site = site.with_key_store();
    let secrets = lab::provision(&site.state(), 3, 900);
    let settings = vec![
        ("registrar", "kid", i64::from(lab::KID).into()),
        ("registrar", "per_link_per_second", 5.into()),
    ];
    let wishes = Wishes { monitor: true, registrar: true, settings, ..Wishes::default() };
    let graph = Graph::start_with(&site, &wishes);
    wait_for("the key store", || {
        let fence: Arc<metergraph_nodes::key_store::Fence> = graph.services.find("keys")?;
        fence.incarnation()
    });
    // Each over a link of its own: one has its share.
    let ask = |link: u32, frame: &[u8]| {
        graph.send(link, &[carried(frame)]);
        frame_of(&graph.next_sent().1)
    };
    const ERROR: [u8; 3] = [0x1c, 0x01, 0x60];
    let (_, good) = message_1(0);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = good.clone();
        change(&mut frame);
        frame
    };
    for (link, (code, frame, reply)) in (10..).zip([
        ("SEC-REG-FORMAT", with(&|frame| frame[37] = 1), &ERROR[..]),
        ("SEC-REG-METHOD", with(&|frame| frame[1] = 0), &ERROR),
        ("SEC-REG-SUITE", with(&|frame| frame[2] = 3), &[0x1c, 0x02, 0x02]),
        ("SEC-REG-POINT", with(&|frame| frame[5..37].copy_from_slice(&[0xff; 32])), &ERROR),
        ("SEC-REG-EAD", with(&|frame| frame.extend([0x24, 0x41, 0x01])), &ERROR),
    ]) {
        provoke(shown, &graph, &site, code, || assert_eq!(ask(link, &frame), reply, "{code}"));
        assert_eq!(graph.refused(code), 1, "{code}");
    }
    let known = Registrant::new(&secrets, 0);
    let revoked = Registrant::new(&secrets, 1);
    let stranger = Registrant::with(Dev([9; 8]), [9; 32], &secrets);
    let credentials: Arc<Credentials> = graph.services.find("keys").unwrap();
    credentials.revoke(secrets.devices[1].dev);
    for (number, code, device, flip) in [
        (1, "SEC-REG-MAC", &known, 1),
        (2, "SEC-REG-UNKNOWN", &stranger, 0),
        (3, "SEC-REG-REVOKED", &revoked, 0),
    ] {
        let link = 20 + u32::from(number);
        let (waiting, first) = message_1(number);
        let (_, mut message_3) = device.answer(&waiting, &ask(link, &first));
        message_3[20] ^= flip;
        provoke(shown, &graph, &site, code, || assert_eq!(ask(link, &message_3), ERROR, "{code}"));
        assert_eq!(graph.refused(code), 1, "{code}");
    }
    let complete = |number: u8| {
        let link = 30 + u32::from(number);
        let (waiting, first) = message_1(number);
        let (waiting, message_3) = known.answer(&waiting, &ask(link, &first));
        let message_4 = ask(link, &message_3);
        assert!(waiting.message_4(&message_4[1..]).is_ok(), "it is accepted all the same");
    };
    complete(4);
    provoke(shown, &graph, &site, "SEC-REG-DUP", || complete(5));
    assert_eq!(graph.sum("metergraph_alarms_total", Some(("reason", "SEC-REG-DUP"))), 1);
    provoke(shown, &graph, &site, "SEC-REG-BUSY", || {
        let flood: Vec<Vec<u8>> = (10..30).map(|number| carried(&message_1(number).1)).collect();
        graph.send(9, &flood);
    });
    wait_for("the flood's end", || (graph.refused("SEC-REG-BUSY") == 15).then_some(()));
    drop(credentials);
    graph.kill();
}

/// A running graph that signs; what it does not sign.
fn commands(shown: &mut Shown) {
    let (mut site, _) = Site::forgetful(2, 0);
    let meters: Vec<Meter> =
        std::mem::take(&mut site.devices).into_iter().map(|device| Meter::of(device, 0)).collect();
    let dev = meters[0].dev();
    let site = site.with_key_store();
    // The signer's token is away before it was ever asked.
    let token = keystore::token::Config::read(&site.state().join(keystore::FOLDER)).unwrap().files();
    let token = token.into_iter().find(|file| file.ends_with("signer.token")).unwrap();
    let drawer = token.with_extension("away");
    std::fs::rename(&token, &drawer).unwrap();
    let graph = Graph::start_with(&site, &office::wishes(&site));
    office::open(&graph);
    let ends = |submission| {
        let accepted = office::ask(&graph, submission);
        wait_for("its end", || office::ended(&graph, accepted.id))
    };
    let refused = |code: &str| Outcome::Refused { by: By::Signer, code: code.to_owned() };
    provoke(shown, &graph, &site, "SEC-HSM", || assert_eq!(ends(office::read(dev)), refused("SEC-HSM")));
    std::fs::rename(&drawer, &token).unwrap();

    let mut zoes = office::read(dev);
    zoes.requester = "zoe".to_owned();
    provoke(shown, &graph, &site, "SEC-CMD-POLICY", || assert_eq!(ends(zoes), refused("SEC-CMD-POLICY")));
    graph.tap.as_ref().unwrap().set_broken(true);
    provoke(shown, &graph, &site, "SEC-AUDIT", || assert_eq!(ends(office::read(dev)), refused("SEC-AUDIT")));
    graph.tap.as_ref().unwrap().set_broken(false);

    // Past the desk, which would not ask for these: the signer enforces.
    let group = Addressee::Group(Gid(0x8000_0001));
    let switch = [0x80, 9, 0x40, 0, 7, 0, 3, 1, 8, 0, 0xf7];
    let hidden = [&[0x80, 3, 0x30, 0, 1][..], &switch[1..]].concat();
    let intent = |id: u8, addressee, class, body: &[u8]| Intent {
        id: CommandId([id; 16]),
        system: SYSTEM,
        skid: 1,
        class,
        addressee,
        membership: 0,
        body: body.to_vec(),
        nbf: now() as u32,
        ttl: 60,
        requester: "alice".to_owned(),
    };
    let ask = |intent: &Intent, approvals: Vec<Approval>| {
        let request = SigningRequest { intent: intent.clone(), approvals };
        let mut batch = Batch::default();
        batch.push(&request.octets(), Frame::default());
        graph.intents.as_ref().unwrap().offer(batch).unwrap();
    };
    let order = intent(1, group, Class::Load, &switch);
    let Ok(signature) = office::key(1).sign(&prehash(&order.digest()));
    let once = Approval { approver: "ada".to_owned(), signature };
    provoke(shown, &graph, &site, "SEC-CMD-APPROVAL", || ask(&order, vec![once.clone(), once]));
    let order = intent(2, Addressee::Device(dev), Class::Write, &hidden);
    provoke(shown, &graph, &site, "SEC-CMD-CLASS", || ask(&order, vec![]));
    for code in ["SEC-HSM", "SEC-CMD-POLICY", "SEC-AUDIT", "SEC-CMD-APPROVAL", "SEC-CMD-CLASS"] {
        assert_eq!(graph.refused(code), 1, "{code}");
    }
    assert_eq!(graph.sum("metergraph_commands_signed_total", None), 0);
    wait_for("the desk's books", || {
        let ended = graph.sum("metergraph_commands_ended_total", Some(("outcome", "refused")));
        (ended == 3).then_some(())
    });
    // Whoever asked past the desk finds the code in the journal.
    wait_for("the records", || {
        let settled = graph.intents.as_ref().unwrap().settled();
        (settled == 2).then_some(())
    });
    graph.kill();
    let records = site.records().into_iter().filter(|(kind, _)| *kind == record::REFUSED);
    let codes: Vec<String> =
        records.map(|(_, octets)| record::Refused::read(&octets).unwrap().code.to_owned()).collect();
    assert_eq!(codes, ["SEC-HSM", "SEC-CMD-POLICY", "SEC-AUDIT", "SEC-CMD-APPROVAL", "SEC-CMD-CLASS"]);
}

/// An APDU with a frame that whoever has a device's keys seals: a thief, or a head-end that was restored.
fn sealed_for(member: &Member, frame_type: FrameType, seq: u32, plaintext: &[u8]) -> Vec<u8> {
    let receiver = member.agent.receiver().unwrap();
    let keys = receiver.association.held().last().unwrap();
    let bound = Bound { system: SYSTEM, scope: receiver.dev.into(), epoch: keys.epoch };
    let channel = Channel { key: &keys.key, common_iv: &keys.common_iv, bound };
    let head = channel.head(frame_type, receiver.association.sid().0, seq);
    let mut frame = head.octets().to_vec();
    assert!(channel.seal(&head, plaintext, &mut frame));
    carry(Some(member.agent.title()), &frame)
}

/// What a relay that means ill makes of the first command on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoil {
    Nothing,
    Type,
    Epoch,
    Tag,
    Twice,
}

fn spoilt(spoil: Spoil, apdu: &[u8]) -> Vec<Vec<u8>> {
    let frame = frame_of(apdu);
    let head = apdu.windows(9).position(|octets| octets == &frame[..9]).unwrap();
    let mut apdu = apdu.to_vec();
    let last = apdu.len() - 1;
    match spoil {
        Spoil::Nothing => {}
        Spoil::Type => apdu[head] = 0x11,
        Spoil::Epoch => apdu[head + 5] ^= 0x40,
        Spoil::Tag => apdu[last] ^= 1,
        Spoil::Twice => return vec![apdu.clone(), apdu],
    }
    vec![apdu]
}

/// End devices that registered at a running head-end; each is told to do something, and refuses.
fn devices(shown: &mut Shown) {
    let (site, _) = Site::forgetful(1, 0);
    let site = site.with_key_store();
    let secrets = lab::provision(&site.state(), 9, 900);
    let mut wishes = office::wishes(&site);
    wishes.registrar = true;
    wishes.settings.push(("registrar", "kid", i64::from(lab::KID).into()));
    let graph = Graph::start_with(&site, &wishes);
    let other = SigningKey::from_octets(&[0x33; 32]).unwrap();
    let signers = |right: bool| {
        let command = if right { signing_key(&site).verifying_key() } else { office::key(5).verifying_key() };
        let mut signers = Signers::default();
        for (skid, key) in [(1, command), (2, other.verifying_key())] {
            signers.add(SignerKey { skid, key, classes: Classes(0x3f), not_before: 0 });
        }
        signers
    };
    let profile = Member::profile();
    // What it does not list is of class 4.
    let strict = profile.replace("\"ST1\", ", "");
    assert_ne!(strict, profile);
    let mut members: Vec<Member> = (0..9)
        .map(|place| {
            Member::new(&secrets, place, signers(place != 0), if place == 1 { &strict } else { &profile })
        })
        .collect();
    office::open(&graph);
    agent::register(&graph, &mut members);
    members.iter().for_each(|member| assert_eq!(member.refused, [""; 0]));

    // Whoever has SK_cmd has ordered before; another signer has switched with a later beginning.
    let nbf = now() as u32;
    let stolen = Command { skid: 1, class: 0, ctr: 500, nbf, ttl: 60, body: &[0x80, 3, 0x30, 0, 1] };
    let to = Addressee::Device(members[2].dev());
    let stolen = sign(stolen.octets().unwrap(), SYSTEM, to, &signing_key(&site)).unwrap();
    let apdu = sealed_for(&members[2], FrameType::Command, 40, &stolen);
    members[2].hear(&graph, &apdu);
    let switch = [0x80, 9, 0x40, 0, 7, 0, 3, 1, 8, 0, 0xf7];
    let early = Command { skid: 2, class: 3, ctr: 1, nbf: nbf + 250, ttl: 60, body: &switch };
    let Ok(early) = sign(early.octets().unwrap(), SYSTEM, Addressee::Device(members[4].dev()), &other);
    let apdu = sealed_for(&members[4], FrameType::Command, 40, &early);
    members[4].hear(&graph, &apdu);
    assert_eq!((members[2].executed.len(), members[4].executed.len()), (1, 1));
    members[3].ahead = 2 * 86_400;

    let by_device = |code: &str| Outcome::Refused { by: By::Device, code: code.to_owned() };
    let disconnect = OrderKind::Disconnect;
    for (place, code, spoil, outcome) in [
        (0, "SEC-DN-SIG", Spoil::Nothing, Some(by_device("SEC-DN-SIG"))),
        (1, "SEC-DN-CLASS", Spoil::Nothing, Some(by_device("SEC-DN-CLASS"))),
        // The head-end cannot know what another one did under this counter.
        (2, "SEC-DN-CTR", Spoil::Nothing, Some(Outcome::Unknown)),
        (3, "SEC-DN-TIME", Spoil::Nothing, Some(by_device("SEC-DN-TIME"))),
        (4, "SEC-DN-ORDER", Spoil::Nothing, Some(by_device("SEC-DN-ORDER"))),
        // Before the signature nothing is sent back: the head-end repeats, and that is executed.
        (5, "SEC-DN-FORMAT", Spoil::Type, None),
        (6, "SEC-DN-EPOCH", Spoil::Epoch, None),
        (7, "SEC-DN-AUTH", Spoil::Tag, None),
        (8, "SEC-DN-REPLAY", Spoil::Twice, None),
    ] {
        let dev = members[place].dev();
        let submission = match code {
            "SEC-DN-ORDER" => office::submission(Addressee::Device(dev), disconnect.clone()),
            _ => office::read(dev),
        };
        let id = office::ask(&graph, submission).id;
        let mut told = 0;
        let between = |apdu: &[u8]| {
            if frame_of(apdu)[0] != 0x12 {
                return whole(apdu);
            }
            told += 1;
            if told == 1 { spoilt(spoil, apdu) } else { whole(apdu) }
        };
        let before = members[place].executed.len();
        let end = until(code, &graph, &mut members, between, |_| office::ended(&graph, id));
        let member = &members[place];
        assert_eq!(
            (member.codes(), member.counted(code)),
            ([code].into(), 1),
            "{code}: {:?}",
            member.refused
        );
        match outcome {
            Some(outcome) => {
                assert_eq!((end, member.executed.len()), (outcome, before), "{code}");
            }
            None => {
                assert!(matches!(end, Outcome::Done { result: 0, .. }), "{code}: {end:?}");
                assert_eq!(member.executed.len(), before + 1, "{code}");
            }
        }
        shown.insert((code, true));
    }
    wait_for("the desk's books", || {
        let ended = |outcome| graph.sum("metergraph_commands_ended_total", Some(("outcome", outcome)));
        (["refused", "unknown", "done"].map(ended) == [4, 1, 4]).then_some(())
    });
    let directory: Arc<Directory> = graph.services.find("keys").unwrap();
    assert!(members.iter().all(|member| directory.sid(member.dev()).is_some()));
    drop(directory);
    graph.kill();
}
