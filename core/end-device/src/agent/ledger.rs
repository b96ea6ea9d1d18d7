//! What a device enters in the ledger of nonces: what it seals, and what opens of that which comes down.

use seal::frame::{Bound, FrameType, Head};
use seal::group::GroupKeys;
use seal::profile1::Channel;
use seal::receiver::Receiver;
use seal::signature::sha256;
use zeroize::Zeroize as _;

use super::{Agent, Output, SealedFrame};

impl SealedFrame {
    /// The use of this channel's key by a frame, given as its octets and the head that they begin with.
    pub(super) fn new(channel: &Channel<'_>, head: &Head, frame: &[u8]) -> Self {
        let key = sha256(channel.key.expose()).first_chunk().copied().unwrap_or_default();
        Self { key, nonce: head.nonce(channel.common_iv), frame: sha256(frame) }
    }
}

impl Agent {
    /// Enters a frame of types 2 to 4, if it opens: what does not is of nobody who has the key.
    pub(super) fn enter_received(&self, frame: &[u8], receiver: &Receiver, out: &mut Vec<Output>) {
        let Ok((head, body)) = Head::split(frame) else { return };
        if !self.settings.ledger {
            return;
        }
        let mut enter = |channel: Channel<'_>| {
            let mut body = body.to_vec();
            let opened = channel.open(&head, &mut body).is_some();
            body.zeroize();
            if opened {
                out.push(Output::Opened(SealedFrame::new(&channel, &head, frame)));
            }
        };
        if head.frame_type == FrameType::GroupCommand {
            let groups = receiver.groups.all().iter().filter(|group| group.gid.0 == head.id);
            for (group, held) in groups.flat_map(|group| group.held.iter().map(move |held| (group, held))) {
                if held.epoch().low() == head.epoch_low {
                    let keys = GroupKeys::derive(&held.gms, group.gid, held.epoch());
                    enter(keys.channel(receiver.system));
                }
            }
            return;
        }
        for association in [Some(&receiver.association), self.memory.next.as_ref()].into_iter().flatten() {
            let up = association.up_channel(receiver.system, self.identity.dev);
            for held in association.held().iter().filter(|_| association.sid() == head.sid()) {
                if held.epoch.low() == head.epoch_low {
                    let bound = Bound { epoch: held.epoch, ..up.bound };
                    enter(Channel { key: &held.key, common_iv: &held.common_iv, bound });
                }
            }
        }
    }
}
