use std::collections::HashSet;

use serde_json::Value;

use crate::edhoc::{
    AwaitMessage2, AwaitMessage4, DeviceCredential, Ephemeral, HeadEndCredential, Message1, Opened,
    PrivateKey, PublicKey, Refusal, Registered, Run, initiate,
};
use crate::ids::{Dev, Sid};
use crate::schedule;
use crate::vectors::folder::{self, Fields};

fn key(case: &Value, name: &str) -> PrivateKey {
    PrivateKey::from_octets(&case.array(name)).unwrap()
}

fn ephemeral(case: &Value, name: &str) -> Ephemeral {
    Ephemeral::from_octets(&case.array(name)).unwrap()
}

fn sid(case: &Value) -> Sid {
    Sid(u32::from_be_bytes(case.array("c_r")))
}

fn device_credential(case: &Value, name: &str) -> DeviceCredential {
    DeviceCredential::read(&case.octets(name)).unwrap()
}

fn head_end_credential(case: &Value, name: &str) -> HeadEndCredential {
    HeadEndCredential::read(&case.octets(name)).unwrap()
}

/// Verdict, and what is sent back.
type Verdict = (&'static str, Option<Vec<u8>>);

fn reply(frame_type: u8, message: &[u8]) -> Option<Vec<u8>> {
    Some([&[frame_type], message].concat())
}

fn refused(refusal: Refusal) -> Verdict {
    (refusal.code(), reply(0x1c, &refusal.reply().octets()))
}

#[test]
fn vector_registrations_in_both_roles() {
    for case in folder::cases("profile/registration.json", "cases") {
        let (i, r) = (key(&case, "sk_i"), key(&case, "sk_r"));
        let (device, head_end) = (device_credential(&case, "cred_i"), head_end_credential(&case, "cred_r"));
        assert_eq!(device.octets(), case.octets("cred_i"), "{case}");
        assert_eq!(head_end.octets(), case.octets("cred_r"), "{case}");

        let (initiator, message_1) = initiate(ephemeral(&case, "x"));
        assert_eq!(message_1[..], case.octets("message_1"), "{case}");
        let read = Message1::read(&message_1).unwrap();
        let (responder, message_2) = read.answer(&head_end, &r, ephemeral(&case, "y"), sid(&case)).unwrap();
        assert_eq!(message_2[..], case.octets("message_2"), "{case}");
        let known = |kid| (kid == head_end.kid).then_some(head_end.key);
        let (initiator, message_3) = initiator.message_2(&message_2, &device, &i, known).ok().unwrap();
        assert_eq!(message_3[..], case.octets("message_3"), "{case}");
        let known = |dev| if dev == device.kid { Ok(device.key) } else { Err(Refusal::Unknown) };
        let (at_head_end, message_4) = responder.message_3(&message_3, known).ok().unwrap();
        assert_eq!(message_4[..], case.octets("message_4"), "{case}");
        let at_device = initiator.message_4(&message_4).ok().unwrap();

        for registered in [at_head_end, at_device] {
            assert_eq!((registered.dev, registered.sid), (device.kid, sid(&case)), "{case}");
            assert_eq!(*registered.prk.expose(), case.array("prk_out"), "{case}");
            let keys = schedule::derive(&registered.prk, registered.sid);
            assert_eq!(registered.keys().up.expose(), keys.up.expose(), "{case}");
        }
    }
}

#[test]
fn vector_refused_message_1() {
    for case in folder::cases("edhoc/negative-message-1.json", "cases") {
        let refusal = Message1::read(&case.octets("message_1")).err().map(Refusal::code);
        assert_eq!(refusal, Some(case.str("verdict")), "{case}");
    }
}

/// The head-end of a case, with as much of a registrar as the cases need: one link, one pending run.
struct HeadEnd<'a> {
    case: &'a Value,
    g_x_seen: HashSet<[u8; 32]>,
    run: Option<Run>,
}

impl HeadEnd<'_> {
    fn receive(&mut self, frame: &[u8]) -> Verdict {
        match frame {
            [0x18, message_1 @ ..] => self.message_1(message_1),
            [0x1a, message_3 @ ..] => self.message_3(message_3),
            _ => panic!("{frame:02x?}"),
        }
    }

    fn message_1(&mut self, message_1: &[u8]) -> Verdict {
        if let Some(run) = self.run.as_ref().filter(|run| run.began_with(message_1)) {
            return ("accept", reply(0x19, run.message_2()));
        }
        let read = match Message1::read(message_1) {
            Ok(read) if self.g_x_seen.insert(read.g_x()) => read,
            Ok(_) => return refused(Refusal::Format),
            Err(refusal) => return refused(refusal),
        };
        let credential = head_end_credential(self.case, "cred_r");
        let (key, ephemeral) = (key(self.case, "sk_r"), ephemeral(self.case, "y"));
        let answer = read.answer(&credential, &key, ephemeral, sid(self.case)).unwrap();
        let run = self.run.insert(Run::new(&read, answer));
        ("accept", reply(0x19, run.message_2()))
    }

    fn message_3(&mut self, frame: &[u8]) -> Verdict {
        let (named, message_3) = frame.split_first_chunk().unwrap();
        let run = self.run.as_mut().filter(|run| run.sid().0.to_be_bytes() == *named).unwrap();
        let known = self.case.list("known");
        let device = |dev: Dev| -> Result<PublicKey, Refusal> {
            let known = known.iter().find(|known| known.array("kid") == dev.0).ok_or(Refusal::Unknown)?;
            if known["revoked"] == true {
                return Err(Refusal::Revoked);
            }
            Ok(device_credential(known, "cred").key)
        };
        match run.message_3(message_3, device) {
            Ok(Opened::New(registered)) => {
                assert!(known.iter().any(|known| known.array("kid") == registered.dev.0));
                ("accept", reply(0x1b, &run.settle(true).unwrap()))
            }
            Ok(Opened::Again(message_4)) => ("accept", reply(0x1b, &message_4)),
            Ok(Opened::Writing) => panic!("every write was settled"),
            Err(refused) => {
                let message = refused.reply.and_then(|message| reply(0x1c, &message.octets()));
                (refused.refusal.code(), message)
            }
        }
    }
}

fn check(step: &Value, (verdict, sent): Verdict, place: &str) {
    assert_eq!(verdict, step.str("verdict"), "{place}: {step}");
    assert_eq!(sent, step["reply"].as_str().map(folder::octets), "{place}: {step}");
}

#[test]
fn vector_registrations_refused_by_the_head_end() {
    for case in folder::cases("profile/registration-refusals.json", "headend") {
        let g_x_seen = case.list("g_x_seen").iter().map(|g_x| folder::octets(g_x.as_str().unwrap()));
        let g_x_seen = g_x_seen.map(|g_x| g_x.try_into().unwrap()).collect();
        let mut head_end = HeadEnd { case: &case, g_x_seen, run: None };
        for step in case.list("steps") {
            check(step, head_end.receive(&step.octets("frame")), case.str("title"));
        }
    }
}

/// The end device of a case.
struct Device<'a> {
    case: &'a Value,
    sent_1: AwaitMessage2,
    sent_3: Option<AwaitMessage4>,
    registered: Option<Registered>,
}

impl Device<'_> {
    fn receive(&mut self, frame: &[u8]) -> Verdict {
        match self.steps(frame) {
            Ok(sent) => ("accept", sent),
            Err(refusal) => (refusal.code(), None),
        }
    }

    fn steps(&mut self, frame: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        match frame {
            [0x19, message_2 @ ..] => {
                let trusted = self.case.list("credentials").iter();
                let trusted: Vec<_> = trusted.map(|held| head_end_credential(held, "cred")).collect();
                let known = |kid| trusted.iter().find(|held| held.kid == kid).map(|held| held.key);
                let (own, key) = (device_credential(self.case, "cred_i"), key(self.case, "sk_i"));
                let (waiting, message_3) = self.sent_1.message_2(message_2, &own, &key, known)?;
                let sid = waiting.sid().0.to_be_bytes();
                self.sent_3 = Some(waiting);
                Ok(reply(0x1a, &[&sid[..], &message_3].concat()))
            }
            [0x1b, message_4 @ ..] => {
                self.registered = Some(self.sent_3.as_ref().unwrap().message_4(message_4)?);
                Ok(None)
            }
            _ => panic!("{frame:02x?}"),
        }
    }
}

#[test]
fn vector_registrations_refused_by_the_end_device() {
    for case in folder::cases("profile/registration-refusals.json", "device") {
        let (sent_1, message_1) = initiate(ephemeral(&case, "x"));
        assert_eq!(message_1[..], case.octets("message_1"), "{case}");
        let mut device = Device { case: &case, sent_1, sent_3: None, registered: None };
        for step in case.list("steps") {
            check(step, device.receive(&step.octets("frame")), case.str("title"));
            let prk = device.registered.as_ref().map(|registered| *registered.prk.expose());
            assert_eq!(prk, step["prk_out"].as_str().map(|_| step.array("prk_out")), "{step}");
        }
    }
}
