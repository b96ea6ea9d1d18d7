//! The runs whose messages come again, from both sides, and what a device reads in an error message.

use serde_json::Value;

use crate::edhoc::{
    DeviceCredential, Ephemeral, ErrorMessage, FAILURES_MAX, HeadEndCredential, Message1, Opened, PrivateKey,
    Refusal, Run, initiate,
};
use crate::ids::Sid;
use crate::vectors::folder::{self, Fields, octets};

const FILE: &str = "extended/registration-repeats.json";

#[test]
fn vector_runs_that_repeat() {
    for case in folder::cases(FILE, "headend") {
        let title = case.str("title");
        let steps = case.list("steps");
        let carried = |frame: Vec<u8>| {
            let both =
                |step: &Value| [step["frame"].as_str().map(octets), step["reply"].as_str().map(octets)];
            steps.iter().any(|step| both(step).contains(&Some(frame.clone())))
        };
        let key = PrivateKey::from_octets(&case.array("sk_r")).unwrap();
        let head_end = HeadEndCredential::read(&case.octets("cred_r")).unwrap();
        let device = DeviceCredential::read(&case.list("known")[0].octets("cred")).unwrap();
        assert_eq!(head_end.key, key.public_key(), "{title}");
        let known = |dev| if dev == device.kid { Ok(device.key) } else { Err(Refusal::Unknown) };
        let runs = case.list("runs").iter().zip(case.list("y")).zip(case.list("c_r"));
        for ((of, y), c_r) in runs {
            let own = PrivateKey::from_octets(&of.array("sk_i")).unwrap();
            let [x, y] = [of.octets("x"), octets(y.as_str().unwrap())]
                .map(|octets| Ephemeral::from_octets(octets[..].try_into().unwrap()).unwrap());
            let sid = Sid(u32::from_str_radix(c_r.as_str().unwrap(), 16).unwrap());

            let (waiting, message_1) = initiate(x);
            let read = Message1::read(&message_1).unwrap();
            assert!(carried([&[0x18][..], &message_1].concat()), "{title}");
            let mut run = Run::new(&read, read.answer(&head_end, &key, y, sid).unwrap());
            let message_2 = *run.message_2();
            assert!(carried([&[0x19][..], &message_2].concat()), "{title}");
            let trusted = |kid| (kid == head_end.kid).then_some(head_end.key);
            let answer = || waiting.message_2(&message_2, &device, &own, trusted).ok().unwrap();
            let (waiting, message_3) = answer();
            assert_eq!(answer().1, message_3, "a repeat of message_2 is answered alike: {title}");
            assert!(run.began_with(&message_1), "{title}");
            let Ok(Opened::New(registered)) = run.message_3(&message_3, known) else { panic!("{title}") };
            let message_4 = run.settle(true).unwrap();
            assert!(
                matches!(run.message_3(&message_3, known), Ok(Opened::Again(again)) if again == message_4)
            );
            for registered in [registered, waiting.message_4(&message_4).ok().unwrap()] {
                assert_eq!((registered.dev, registered.sid), (device.kid, sid), "{title}");
                assert_eq!(*registered.prk.expose(), of.array("prk_out"), "{title}");
            }
        }
    }
}

/// The failing message_3 of the cases with one run, without a registrar.
#[test]
fn vector_failures_of_message_3() {
    for case in folder::cases(FILE, "headend").iter().filter(|case| case.list("runs").len() == 1) {
        let key = PrivateKey::from_octets(&case.array("sk_r")).unwrap();
        let head_end = HeadEndCredential::read(&case.octets("cred_r")).unwrap();
        let device = DeviceCredential::read(&case.list("known")[0].octets("cred")).unwrap();
        let (y, sid) = (&case.list("y")[0], &case.list("c_r")[0]);
        let y = Ephemeral::from_octets(octets(y.as_str().unwrap())[..].try_into().unwrap()).unwrap();
        let sid = octets(sid.as_str().unwrap());
        let first = case.list("steps")[0].octets("frame");
        let read = Message1::read(&first[1..]).unwrap();
        let c_r = Sid(u32::from_be_bytes(sid[..].try_into().unwrap()));
        let mut run = Run::new(&read, read.answer(&head_end, &key, y, c_r).unwrap());
        let mut failures = 0;
        // What comes in time, over its link, before the association is used.
        let steps = case.list("steps").iter().take_while(|step| step["used"].is_null());
        for step in steps.filter(|step| step["link"] == 1 && step.number("at") < 60) {
            let frame = step.octets("frame");
            let Some(message_3) = frame.strip_prefix(&[&[0x1a][..], &sid].concat()[..]) else { continue };
            let sent = match run.message_3(message_3, |_| Ok(device.key)) {
                Ok(Opened::New(_)) => run.settle(true).map(|sent| [&[0x1b][..], &sent].concat()),
                Ok(Opened::Again(sent)) => Some([&[0x1b][..], &sent].concat()),
                Ok(Opened::Writing) => panic!("every write was settled"),
                Err(refused) => {
                    failures += 1;
                    assert_eq!(refused.refusal.code(), step.str("verdict"), "{step}");
                    assert_eq!(refused.reply.is_some(), failures <= FAILURES_MAX, "{step}");
                    refused.reply.map(|sent| [&[0x1c][..], &sent.octets()].concat())
                }
            };
            assert_eq!(sent, step["reply"].as_str().map(octets), "{step}");
        }
    }
}

#[test]
fn vector_waits() {
    for case in folder::cases(FILE, "waits") {
        let frame = case.octets("frame");
        let expected = case["wait"]
            .as_u64()
            .map_or(ErrorMessage::Unspecified, |seconds| ErrorMessage::Wait(seconds.try_into().unwrap()));
        assert_eq!(frame[0], 0x1c, "{case}");
        assert_eq!(ErrorMessage::read(&frame[1..]), Ok(expected), "{case}");
    }
}
