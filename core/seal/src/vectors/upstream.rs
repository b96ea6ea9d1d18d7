use super::folder::{self, Fields};
use super::receiver::Receiver;
use crate::frame::{HEAD_LEN, Head};
use crate::profile1::{open_batch, seal_batch};

#[test]
fn vector_upstream_frames_one_by_one() {
    for case in folder::cases("profile/upstream.json", "cases") {
        let frame = case.octets("frame");
        let mut receiver = Receiver::new(&case, "key");
        let (head, body) = Head::split(&frame).unwrap();
        assert_eq!(u64::from(head.seq), case.number("seq"));
        let channel = receiver.association.admit(&head, receiver.system).unwrap();
        assert_eq!(head.nonce(channel.common_iv), case.array("nonce"));
        assert_eq!(head.aad(&channel.bound), case.array("enc_structure"));
        let mut sealed = Vec::new();
        assert!(channel.seal(&head, &case.octets("plaintext"), &mut sealed));
        assert_eq!(sealed, body, "{case}");
        assert_eq!(receiver.receive(&frame), ("accept", case.octets("plaintext")));
    }
}

#[test]
fn vector_upstream_frames_as_one_batch() {
    let cases = folder::cases("profile/upstream.json", "cases");
    let receivers: Vec<Receiver> = cases.iter().map(|case| Receiver::new(case, "key")).collect();
    let (mut data, mut plain, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
    for (case, receiver) in cases.iter().zip(&receivers) {
        let frame = case.octets("frame");
        let (head, body) = Head::split(&frame).unwrap();
        let channel = receiver.association.admit(&head, receiver.system).unwrap();
        jobs.push(channel.job(&head, data.len() + HEAD_LEN, body.len()));
        data.extend_from_slice(&frame);
        plain.extend_from_slice(&head.octets());
        plain.extend(case.octets("plaintext"));
        plain.extend_from_slice(&body[body.len() - 8..]);
    }
    let (frames, mut verdicts) = (data.clone(), Vec::new());
    open_batch(&mut data, &jobs, &mut verdicts);
    assert_eq!((verdicts.as_slice(), &data), (vec![true; jobs.len()].as_slice(), &plain));
    seal_batch(&mut data, &jobs, &mut verdicts);
    assert_eq!((verdicts, data), (vec![true; jobs.len()], frames));
}
