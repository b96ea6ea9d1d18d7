//! What `metergraph explain` says of codes that are not of files: refusals of the security layer (§10), reasons
//! in events and metrics, codes that callers are answered.

/// What a code means, and what to do. The interface puts `desk-` before the desk's.
#[must_use]
pub fn find(code: &str) -> Option<&'static str> {
    let code = code.strip_prefix("desk-").unwrap_or(code);
    ALL.iter().find(|(name, _)| *name == code).map(|(_, text)| *text)
}

/// All codes with what they mean.
pub const ALL: &[(&str, &str)] = &[
    (
        "SEC-FORMAT",
        "A frame's length, type or version is none that there is. Nothing is answered. Many from one relay: look at what it carries.",
    ),
    (
        "SEC-UP-UNKNOWN",
        "A frame names an association that this head-end does not have; of a classic device, its title. The device was never imported or registered here, or another head-end's frame was led here.",
    ),
    ("SEC-UP-REVOKED", "A frame of a device or association that is revoked. Nothing is opened or answered."),
    (
        "SEC-UP-EPOCH",
        "No epoch that is held fits the frame's low octet: the device is ahead, or long behind. It registers anew by itself.",
    ),
    (
        "SEC-UP-REPLAY",
        "A frame's counter lies below the window, or a classic frame is stale or was seen before. Somebody repeats old frames, or a network holds them for long.",
    ),
    (
        "SEC-UP-AUTH",
        "A frame's tag or MAC does not fit. Single ones are noise; many from one link are an attack or another device's keys.",
    ),
    ("SEC-UP-DUP", "A frame was seen before. It is not delivered again, and acknowledged again."),
    (
        "SEC-UP-BODY",
        "A frame opened and its body is not what its type says. The report is kept raw; look at the device's firmware.",
    ),
    (
        "SEC-UP-LIMIT",
        "Too many failures from one link and association: that pair is throttled, and an epoch advance is scheduled.",
    ),
    ("SEC-REG-FORMAT", "A registration message is not formed as it must be, or an old one comes again."),
    (
        "SEC-REG-METHOD",
        "A registration asks for another method than static Diffie-Hellman on both sides. There is no other.",
    ),
    ("SEC-REG-POINT", "A registration's public key is no point of the curve."),
    ("SEC-REG-EAD", "A registration carries critical additional data, or carries it where none may be."),
    (
        "SEC-REG-MAC",
        "A registration's proof does not fit: another key than the manifest's, or somebody else's message.",
    ),
    (
        "SEC-REG-UNKNOWN",
        "The device that registers is in no manifest that was imported. Import it with `metergraph keys import`.",
    ),
    ("SEC-REG-REVOKED", "The device that registers is revoked."),
    (
        "SEC-REG-SUITE",
        "A registration chose another cipher suite than 2. The suites that are taken are answered.",
    ),
    (
        "SEC-REG-DUP",
        "A device completed a registration twice inside ten minutes. It is accepted; somebody may have its key.",
    ),
    ("SEC-REG-BUSY", "More registrations come than are admitted. Devices wait and come again by themselves."),
    ("SEC-DN-FORMAT", "An end device refused a frame's length, version, type or items."),
    ("SEC-DN-EPOCH", "An end device holds no key for the frame's epoch."),
    ("SEC-DN-REPLAY", "An end device has seen this frame's counter, or it lies below its window."),
    ("SEC-DN-AUTH", "The tag of a frame did not fit at the end device."),
    (
        "SEC-DN-SIG",
        "An end device refused a command: the signature, or its signing key is unknown, revoked or not valid yet.",
    ),
    (
        "SEC-DN-CLASS",
        "An end device refused a command: its class is not allowed, or a service in it needs a higher one.",
    ),
    ("SEC-DN-CTR", "An end device refused a command: its counter is not greater than the last one."),
    (
        "SEC-DN-TIME",
        "An end device refused a command: not valid yet, no longer valid, or the device has no trusted time.",
    ),
    ("SEC-DN-ORDER", "An end device refused a switch that is not later than the last one that it executed."),
    (
        "SEC-CMD-POLICY",
        "A command is not signed: the policy does not allow it, or policy, clock or counters are missing.",
    ),
    (
        "SEC-CMD-APPROVAL",
        "A command is not signed: it needs two different approvers, or an approval is not theirs.",
    ),
    ("SEC-CMD-CAP", "A command is not signed: more meters or more load than the cap of the policy."),
    ("SEC-CMD-HOLD", "A command is not signed: a member of the group is on the hold list."),
    (
        "SEC-CMD-CLASS",
        "A command is not signed: a service in its body needs a higher class, or is not listed in the device's profile.",
    ),
    ("SEC-SEQ", "A counter is at its end, out of order, or a command of this scope is still outstanding."),
    (
        "SEC-STORE",
        "What must be durable cannot be written or read: the key store, the journal or a mark beside it. Look at the disk.",
    ),
    ("SEC-HSM", "A token refused or does not answer. Signing and registrations wait; reading goes on."),
    (
        "SEC-FENCE",
        "This state is a copy, or another copy of it runs: nothing is sealed. After a backup was brought back, run `metergraph restore`.",
    ),
    (
        "fence-open",
        "Token or disk failed at the start and does not any more: the incarnation is raised, and sealing, signing and registrations go on.",
    ),
    (
        "SEC-LEGACY",
        "A rule for legacy (EAX') devices: no switches without an exception, and no way back from profile 1.",
    ),
    ("SEC-AUDIT", "The audit log cannot be written, or a proof of it fails. Signing stops, reading goes on."),
    ("key-record", "The journal says of keys what does not fit the store, or does not open."),
    (
        "dek-not-replaced",
        "A data key of a partition was not replaced, or an old one not deleted. It is tried again; past 30 days what was erased is not gone for good.",
    ),
    (
        "software-keys",
        "Tokens of this head-end are software files: anybody with the files has the keys. Good for labs only; use PKCS#11 tokens.",
    ),
    (
        "keys-not-locked",
        "The system locks no memory for keys, so that they may reach the swap. Raise `ulimit -l`, or run without swap.",
    ),
    ("clear", "A message came in clear from a node that must not send one."),
    ("no-session", "A message of a session came, and no session is open."),
    ("no-registrar", "A registration came, and the graph has no registrar. Add a node of kind `registrar`."),
    ("moved", "A node stands where another serial number or title was before, or somebody says so."),
    ("epoch-due", "An association should go on to its next epoch. The desk sees to it."),
    ("epoch-advance", "An end device is told to leave its epoch."),
    ("epoch-advanced", "An end device went on to its next epoch."),
    (
        "epoch-not-advanced",
        "An end device did not go on to its next epoch; it is told again, or registers anew.",
    ),
    ("epochs-due-full", "More end devices wait for their next epoch than are kept."),
    ("no-epoch-left", "An association has no epoch left. The device must register anew."),
    (
        "restored",
        "Associations of a restored state wait for the proof of a new challenge: reports are not taken until then.",
    ),
    ("association-retired", "An order for an association that was replaced. It goes by the new one."),
    ("commands-full", "More commands wait for one device than are kept."),
    ("order-format", "An order between nodes is not formed as it must be: a fault of this program."),
    ("unknown-order", "An order for an association that is not known here."),
    (
        "not-heard",
        "A command for a device that was not heard since the start: nobody knows where it is. The desk sends it again.",
    ),
    ("no-downlink", "What should go down has no way: the graph has no downlink for that transport."),
    ("no-group-key", "A command for a group that has no key in force."),
    ("slot-taken", "A new association's slot is taken by another one."),
    (
        "no-follower",
        "The key store does not follow the journal, so that nothing can be registered. Give it `input = [\"journal\"]`.",
    ),
    (
        "result-unproven",
        "A result of a switch has no valid signature of the device: what it says is not proven.",
    ),
    ("device-event", "An end device reports an event."),
    ("device-profile", "A device profile cannot be read or used. Import the devices with it again."),
    (
        "unknown-device",
        "A report of an association that the directory does not know. It is kept in the journal, not exported.",
    ),
    ("not-a-table", "A report's service writes no whole table. It is kept in the journal, not exported."),
    ("registration-error", "A device says that it gives up a registration."),
    ("nested-segment", "A segment of a message holds another segment."),
    ("segment-timeout", "The rest of a segmented message did not come in time."),
    (
        "checkpoint-failed",
        "A checkpoint was not written. The next start reads more of the journal; look at the disk.",
    ),
    ("cursor-failed", "A mark of the journal was not written. Look at the disk."),
    ("export-failed", "An export file was not written. It is tried again."),
    ("journal-write", "The journal was not written. Nothing is acknowledged meanwhile; look at the disk."),
    ("journal-full", "The journal is as large as it may be: a reader of it is too far behind."),
    ("disk-full", "The disk has less room than must stay free. Nothing is acknowledged meanwhile."),
    ("truncated", "A message ends before its fields do."),
    ("trailing-octets", "Octets stand behind the end of a message."),
    ("not-an-apdu", "A message is no C12.22 APDU."),
    ("bad-length", "A length within a message does not fit."),
    ("too-large", "A message is longer than is taken."),
    ("unknown-element", "A message holds an element that no APDU has."),
    ("duplicate-element", "A message holds an element twice."),
    ("missing-element", "A message lacks an element that it must have."),
    ("bad-element", "An element of a message is not formed as it must be."),
    ("bad-object-identifier", "An object identifier is not formed as it must be."),
    ("bad-ap-title", "An ApTitle is not formed as it must be."),
    ("bad-invocation-id", "An invocation id is not formed as it must be."),
    ("bad-authentication", "The authentication value of a message is not formed as it must be."),
    ("no-epsem", "A message holds no EPSEM."),
    ("bad-segment", "The offset or length of a segment does not fit."),
    ("reserved-security-mode", "An EPSEM has the security mode that is reserved."),
    ("no-mac", "A classic message is to be authenticated and has no MAC."),
    ("encrypted", "A message is encrypted, and was to be read without a key."),
    ("no-ed-class", "An EPSEM says that it holds an ED class, and does not."),
    ("bad-service-length", "A service's length does not fit."),
    ("bad-padding", "What stands behind the services is no padding."),
    ("empty-service", "A service has no octets."),
    ("bad-parameters", "The parameters of a service do not fit."),
    ("table-checksum", "A table's checksum does not fit."),
    ("reserved-bits", "Bits that are reserved are set."),
    ("bad-native-address", "A native address is not formed as it must be."),
    ("frame-head-length", "A profile-1 frame is shorter than its head."),
    ("frame-version", "A profile-1 frame has another version."),
    ("frame-type", "A profile-1 frame has a type that is none."),
    ("outer-control", "The octet outside the seal is not what it must be."),
    ("no-iv", "A classic message has no initialization vector."),
    ("segment-no-room", "A segment is larger than what is to hold it."),
    ("not-a-segment", "A message that was to be a segment is none."),
    ("segmented-too-large", "A segmented message is longer than is taken."),
    ("segmented-too-many", "Too many segmented messages are unfinished."),
    ("segmented-octets", "Unfinished segmented messages take too many octets."),
    ("segmented-parts", "A segmented message comes in too many scattered parts."),
    ("segment-mismatch", "Two segments say different octets for the same place."),
    ("table-short", "A table is shorter than its fields."),
    ("table-reserved", "A table holds a reserved value."),
    ("table-time", "A time in a table is none."),
    ("table-time-range", "A time is outside what the table's format can write."),
    ("table-not-in-profile", "The device profile does not have the table."),
    ("table-size", "A table has another size than the device profile says."),
    ("table-without-clock", "A reading has no time: the device profile names no clock."),
    ("table-digits", "A reading has more digits than can be told."),
    (
        "api-token",
        "A call to the interface had no token, or one that is not known. Make one with `metergraph token`.",
    ),
    ("api-role", "The token of a call to the interface does not have the role."),
    ("api-rate", "Too many calls of one token: wait and call again."),
    ("api-busy", "The interface is busy: call again."),
    ("api-time", "A call to the interface took too long."),
    ("api-size", "A call to the interface was too large."),
    ("api-format", "A call to the interface was not formed as it must be."),
    ("busy", "The command desk is busy: call again."),
    (
        "timed-out",
        "The command desk did not answer in time. What became of the call is to be looked up by its id.",
    ),
    ("closed", "The command desk does not run."),
    ("full", "The command desk keeps no more of these: end some first."),
    ("not-found", "There is no command, device, group or campaign of this name."),
    ("not-registered", "The device has no association: it must register first."),
    ("empty-group", "The group has no members."),
    ("mixed-group", "The members of the group have different device profiles."),
    ("campaign-runs", "A campaign runs already: one at a time."),
    ("invalid", "A value of the call is not one that may be."),
    ("request-id", "The request id was used for another call."),
    ("not-awaiting", "The command does not wait for an approval."),
    ("intent", "What was to be signed cannot be read back: a fault of this program."),
    ("body", "The command's body cannot be made of what was asked for."),
    ("link-up", "A link of a transport was opened."),
    ("link-degraded", "A link of a transport works badly."),
    ("link-down", "A link of a transport ended; the event says why."),
    (
        "driver-event-unknown",
        "A transport's plugin told an event that this program does not know: they do not fit each other.",
    ),
    ("descriptors-exhausted", "The system gives no more open files: peers wait. Raise `ulimit -n`."),
    ("accept-failed", "The system did not accept a connection."),
    ("tx-expired", "Frames waited too long to be sent, and were given up."),
    ("tx-full", "A transport's queue was full, frames were given up."),
    ("tx-link-down", "Frames were for a link that is down."),
    ("tx-failed", "A transport failed to send frames."),
    ("tx-misrouted", "Frames were for a transport or link that there is not."),
    ("tx-lost", "Nobody knows what became of frames: the transport ended with them."),
    ("expired", "A frame waited too long to be sent."),
    ("lost", "Nobody knows what became of a frame."),
    ("failed", "A transport failed to send a frame."),
    ("misrouted", "A frame was for a transport or link that there is not."),
    ("none", "No reason was given."),
    ("peer-closed", "The peer closed the link."),
    ("closed-mid-frame", "The peer closed the link in the middle of a frame."),
    ("idle", "The link was idle for too long."),
    ("half-open", "The peer did not answer any more."),
    ("framing", "What came over the link is no frame."),
    ("oversize", "A frame is longer than is taken."),
    ("frame-timeout", "The rest of a frame did not come in time."),
    ("refused", "The peer refused the link, or it is none that may connect."),
    ("unreachable", "The peer cannot be reached."),
    ("links-max", "As many links are open as may be."),
    ("host-closed", "The head-end closed the link."),
    ("shutdown", "The head-end ends."),
    ("io", "The system's input or output failed."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    /// Files whose kebab-case words after `=>` are codes.
    const NAMING: [&str; 8] = [
        "c1222/src/error.rs",
        "c1222/src/segment.rs",
        "c1222/src/tables/codec.rs",
        "c1222/src/device_profile/reading.rs",
        "commands/src/front/refusal.rs",
        "api/src/refusal.rs",
        "transport/src/counts.rs",
        "../plugins/sdk-rust/src/event.rs",
    ];

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !["tests", "testing", "benches", "examples", "target"].contains(&name) {
                sources(&path, found);
            } else if name.ends_with(".rs") && name != "tests.rs" && name != "reasons.rs" {
                found.push(path);
            }
        }
    }

    /// The quoted words behind `before` in a source, its unit tests left out.
    fn quoted<'t>(text: &'t str, before: &str) -> Vec<&'t str> {
        let text = text.split("mod tests {").next().unwrap();
        text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    /// Every code that the program can raise, as its sources have them.
    fn raised() -> BTreeSet<String> {
        let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("core");
        let mut files = Vec::new();
        sources(&core, &mut files);
        let mut codes = BTreeSet::new();
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            codes.extend(
                quoted(&text, "\"desk-")
                    .into_iter()
                    .filter(|code| !code.starts_with('{'))
                    .map(|code| format!("desk-{code}")),
            );
            codes.extend(quoted(&text, "Reason(\"").into_iter().map(str::to_owned));
            let security = quoted(&text, "\"SEC-").into_iter();
            let bare = security.map(|rest| rest.split([':', ' ']).next().unwrap()).filter(|rest| {
                rest.contains(|letter: char| letter.is_ascii_uppercase()) && !rest.ends_with('-')
            });
            codes.extend(bare.map(|rest| format!("SEC-{rest}")));
        }
        for path in NAMING {
            let text = std::fs::read_to_string(core.join(path)).unwrap();
            codes.extend(quoted(&text, "=> \"").into_iter().map(str::to_owned));
        }
        codes
    }

    #[test]
    fn every_code_that_can_be_raised_is_explained() {
        let raised = raised();
        assert!(raised.len() > 120 && raised.contains("SEC-UP-AUTH"), "{}", raised.len());
        let unknown: Vec<&String> = raised.iter().filter(|code| find(code).is_none()).collect();
        assert!(unknown.is_empty(), "not explained: {unknown:?}");
    }

    #[test]
    fn every_text_is_a_sentence_and_no_code_stands_twice() {
        let names: BTreeSet<&str> = ALL.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), ALL.len());
        for (name, text) in ALL {
            assert!(text.len() > 15 && text.ends_with('.'), "{name}");
            assert!(graph::explain::find(name).is_err(), "{name} is a code of files too");
        }
    }
}
