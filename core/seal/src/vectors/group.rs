use super::folder::{self, Fields};
use super::signature::verifying_key;
use crate::command::{self, Addressee, SignedCommand};
use crate::frame::Head;
use crate::group::GroupKeys;
use crate::ids::{Epoch, Gid, System};
use crate::secret::Key128;

#[test]
fn vector_group_keys_and_frames() {
    for group in folder::cases("profile/groups.json", "groups") {
        let (system, gid) = (System(group.array("system")), Gid(u32::from_be_bytes(group.array("gid"))));
        let to = Addressee::Group(gid);
        assert_eq!(to.scope().0, group.array("scope"), "{group}");
        for epoch in group.list("epochs") {
            let gms = Key128::from_octets(epoch.array("gms"));
            let keys = GroupKeys::derive(&gms, gid, Epoch(epoch.number("epoch") as u16));
            assert_eq!(*keys.key.expose(), epoch.array("k_g"), "{epoch}");
            assert_eq!(keys.common_iv, epoch.array("iv_g"), "{epoch}");
            let channel = keys.channel(system);
            for case in epoch.list("frames") {
                let (frame, plaintext) = (case.octets("frame"), case.octets("plaintext"));
                let (head, body) = Head::split(&frame).unwrap();
                assert_eq!(head, channel.head(to.frame_type(), gid.0, case.number("seq") as u32), "{case}");
                assert_eq!(head.aad(&channel.bound)[..], case.octets("enc_structure"), "{case}");
                assert_eq!(head.nonce(&keys.common_iv), case.array("nonce"), "{case}");
                let mut sealed = Vec::new();
                assert!(channel.seal(&head, &plaintext, &mut sealed) && sealed == body, "{case}");
                assert_eq!(channel.open(&head, &mut sealed).unwrap(), plaintext, "{case}");
                let read = SignedCommand::read(&plaintext).unwrap();
                assert_eq!(read.command.body, case.octets("body"), "{case}");
                let structure = command::sig_structure(system, to, read.signed);
                assert_eq!(structure, case.octets("sig_structure"), "{case}");
                let mut signers = group.list("signers").iter();
                let signer = signers.find(|signer| signer["skid"] == case["skid"]).unwrap();
                assert!(read.verifies(&verifying_key(signer, "x", "y"), system, to), "{case}");
            }
        }
    }
}
