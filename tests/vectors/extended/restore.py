"""Cases of a restored backup (§8): what is skipped, what is sealed first, what opens the gate."""
from profile1 import (
    COMMAND, GROUP_COMMAND, REPORT, UP_CONTROL, Epoch, GroupEpoch, Key, command, number, public_test_value, seal,
)

SKIP_A_DAY = 1 << 16
SEQ_END = (1 << 24) - 1
CTR_END = (1 << 32) - 1
EPOCH_END = 0xFFFF
CANDIDATES = 4
NOW = 1_793_000_000
SKID = 4
RESULT_DONE, RESULT_CONFLICT = 0, 3

ABOUT = (
    "Public test values. Hex lower case, integers decimal, times Unix seconds. One association, a state that is a "
    "backup `days` old, k = 4. `skip` is 65,536 * (days + 1). `floor`: downstream counters below it may be used; "
    "`floor_after`: the first that is used after the restore; at 16,777,215 it is exhausted and nothing is sealed. "
    "`groups`: the same for each held epoch of a group; `next` is the epoch that the next GMS gets (null: none left). "
    "`counters`: the highest command counter that may be signed, before and after, at most 4,294,967,295, and the next "
    "one (null: none left). `candidates` are issued by the restore. `command` is the ADVANCE to the device, sealed "
    "under the active epoch; `group_command` the same to its group. `devices`: end devices that may live there, "
    "each with its `state` (as in profile/device-refusals.json) and with `takes`: what it makes of each command, and "
    "sends. `steps`: frames that reach the restored head-end, in order, of which each one's write succeeds. Verdict "
    "`gated`: it opens, is neither delivered nor acknowledged, and changes no window (our head-end counts SEC-FENCE); "
    "`accept` or a code of section 10. `opens` says that this frame opens the gate. `after`: the epochs then."
)


def advance(campaign, challenge):
    return b"\x01" + number(campaign, 4) + b"\x01" + challenge


def proof(epoch, challenge):
    return b"\x02" + number(epoch, 2) + challenge


def result(kind, ctr, code):
    return b"\x01" + bytes([SKID, kind]) + number(ctr, 4) + bytes([code])


def past(value, skip, end):
    return min(value + skip, end)


class Case:
    def __init__(self, title, days, epoch, floor, group_floor, ctr, group_ctr, group_epoch):
        self.title, self.days, self.skip = title, days, SKIP_A_DAY * (days + 1)

        def value(name, length):
            return public_test_value(f"restore, {title}, {name}", length)

        self.system, self.dev = value("system", 8), value("dev", 8)
        self.sid = int.from_bytes(value("sid", 4)) & 0x7FFFFFFF
        self.gid = int.from_bytes(value("gid", 4)) | 0x80000000
        self.key = Key(f"restore, {title}, signer")
        active = Epoch(value("prk_out", 32), self.sid, epoch)
        # Of the epochs, the active one first; devices may be further than the candidates.
        self.epochs = [active]
        while len(self.epochs) < CANDIDATES + 2 and self.epochs[-1].epoch < EPOCH_END:
            self.epochs.append(self.epochs[-1].next())
        self.candidates = self.epochs[1 : CANDIDATES + 1]
        self.floor, self.floor_after = floor, past(floor, self.skip, SEQ_END)
        self.groups = [
            (GroupEpoch(value(f"gms {at}", 16), self.gid, at), old, past(old, self.skip, SEQ_END))
            for at, old in [(group_epoch - 1, min(5 * group_floor, SEQ_END)), (group_epoch, group_floor)]
        ]
        self.counters = [
            (kind, scope, last, past(last, self.skip, CTR_END))
            for kind, scope, last in [(1, self.dev, ctr), (2, number(self.gid, 4) + bytes(4), group_ctr)]
        ]
        self.campaign = 40
        self.challenge = value("challenge", 8)
        self.old_challenges = [value("old challenge 1", 8), value("old challenge 2", 8)]

    def epoch(self, steps):
        return self.epochs[steps]

    def command(self, kind):
        """The ADVANCE after the restore; nothing when one of its counters is at its end."""
        _, scope, _, last = self.counters[kind - 1]
        group, _, group_seq = self.groups[-1]
        active = self.epochs[0]
        seq = group_seq if kind == 2 else self.floor_after
        if last == CTR_END or seq == SEQ_END:
            return None
        body = advance(self.campaign, self.challenge)
        fields = {"skid": SKID, "cls": 4, "kind": kind, "ctr": last + 1, "nbf": NOW, "ttl": 1440}
        signed = command(self.key, self.system, SKID, 4, kind, scope, last + 1, NOW, 1440, body)
        if kind == 2:
            frame = seal(
                GROUP_COMMAND, self.gid, scope, self.system, group.epoch, seq, group.k_g, group.iv_g, signed
            )
        else:
            frame = seal(
                COMMAND, self.sid, scope, self.system, active.epoch, seq, active.k_dn, active.common_iv, signed
            )
        return fields | {
            "body": body.hex(), "campaign": self.campaign, "delta": 1, "challenge": self.challenge.hex(),
            "signed": signed.hex(), "epoch": group.epoch if kind == 2 else active.epoch, "seq": seq,
            "frame": frame.hex(),
        }

    def up(self, frame_type, steps, seq, plaintext):
        """A frame of the device under the epoch so many steps after the active one."""
        keys = self.epoch(steps)
        return seal(
            frame_type, self.sid, self.dev, self.system, keys.epoch, seq, keys.k_up, keys.common_iv, plaintext
        )

    def step(self, title, frame_type, steps, seq, plaintext, verdict, opens=False):
        step = {"title": title, "sealed_under": self.epoch(steps).epoch, "seq": seq, "plaintext": plaintext.hex()}
        step["frame"] = self.up(frame_type, steps, seq, plaintext).hex()
        return step | {"verdict": verdict, "opens": opens}

    def report(self, steps, seq, verdict, title="a report"):
        # A Full Write of table 64.
        plaintext = bytes.fromhex("800a4000400004" "01020304" "f6")
        return self.step(f"{title} under {self.epoch(steps).epoch}", REPORT, steps, seq, plaintext, verdict)

    def proof(self, title, steps, seq, items, verdict, opens=False):
        return self.step(title, UP_CONTROL, steps, seq, items, verdict, opens)

    def state(self, ahead, campaign, holds):
        """The device's state, so many epochs ahead, with K_dn from the first of `holds` on."""
        present = self.epoch(ahead)
        held = [
            {
                "epoch": self.epoch(steps).epoch, "k_dn": self.epoch(steps).k_dn.hex(),
                "common_iv": self.epoch(steps).common_iv.hex(),
                "window": {"highest": max(self.floor - 1, 0), "seen": [max(self.floor - 1, 0)]},
            }
            for steps in range(holds, ahead + 1)
        ]
        return {
            "system": self.system.hex(), "dev": self.dev.hex(), "sid": number(self.sid, 4).hex(),
            "epoch": present.epoch, "prk_out": present.prk_out.hex(), "now": NOW + 60, "downstream": held,
            "signers": [self.signer()],
            "ctr": [
                {"skid": SKID, "scope": scope.hex(), "last": min(last + self.skip // 2, CTR_END)}
                for _, scope, last, _ in self.counters
            ],
            "results": [], "class3_nbf": NOW - 3600, "campaign": campaign, "time_nonce": None,
            "groups": [
                {
                    "gid": number(self.gid, 4).hex(), "classes": [0, 4], "current": self.groups[-1][0].epoch,
                    "epochs": [
                        {"epoch": keys.epoch, "gms": keys.gms.hex(), "activate_at": NOW - 86_400}
                        for keys, _, _ in self.groups
                    ],
                }
            ],
            "credential_next": None,
        }

    def signer(self):
        return {
            "skid": SKID, "x": self.key.x.hex(), "y": self.key.y.hex(), "classes": [4], "not_before": NOW - 86_400,
            "revoked": False,
        }

    def answer(self, kind, ahead, code):
        """PROOF and RESULT of a device that is `ahead` now."""
        ctr = self.counters[kind - 1][3] + 1
        return proof(self.epoch(ahead).epoch, self.challenge) + result(kind, ctr, code)

    def sends(self, kind, ahead, seq, code):
        plaintext = self.answer(kind, ahead, code)
        return {
            "epoch": self.epoch(ahead).epoch, "seq": seq, "plaintext": plaintext.hex(),
            "frame": self.up(UP_CONTROL, ahead, seq, plaintext).hex(),
        }

    def after(self, gated, active, retiring=()):
        """The epochs: so many steps after that of the backup."""
        return {
            "gated": gated, "active": self.epoch(active).epoch,
            "candidates": [keys.epoch for keys in self.candidates[active:]], "retiring": list(retiring),
        }

    def device(self, title, state, takes, steps, after):
        return {"title": title, "state": state, "takes": takes, "steps": steps, "after": after}

    @staticmethod
    def take(which, verdict, result=None, sends=None):
        return {"command": which, "verdict": verdict, "result": result, "sends": sends}

    def opened(self, title, kind, ahead, seq):
        """The frame that opens the gate, and what is true from then on."""
        answer = self.answer(kind, ahead, RESULT_DONE)
        return [
            self.proof(title, ahead, seq, answer, "accept", opens=True),
            self.proof("the identical octets again", ahead, seq, answer, "SEC-UP-DUP"),
            self.report(ahead, seq + 1, "accept", "the next report"),
        ]

    def in_step(self):
        """A device that lost no epoch."""
        wrong = self.old_challenges[0]
        answer = self.answer(1, 1, RESULT_DONE)
        forged = self.proof("the right answer, its tag flipped", 1, 0, answer, "SEC-UP-AUTH")
        forged["frame"] = forged["frame"][:-2] + f"{int(forged['frame'][-2:], 16) ^ 1:02x}"
        ctr = self.counters[0][3] + 1
        return self.device(
            "in the epoch of the backup", self.state(0, 9, 0),
            [self.take("command", "accept", RESULT_DONE, self.sends(1, 1, 1, RESULT_DONE))],
            [
                self.report(0, 4100, "gated"),
                self.report(0, 4100, "gated", "the identical octets again:"),
                self.proof("the new challenge under the active epoch", 0, 4101, self.answer(1, 0, RESULT_CONFLICT), "gated"),
                self.proof(
                    "the new challenge, done, but under the active epoch", 0, 4102, self.answer(1, 0, RESULT_DONE), "gated"
                ),
                self.proof(
                    "another challenge", 1, 0, proof(self.epoch(1).epoch, wrong) + result(1, ctr, RESULT_DONE), "gated"
                ),
                self.proof("no RESULT", 1, 0, proof(self.epoch(1).epoch, self.challenge), "gated"),
                self.proof("no PROOF", 1, 0, result(1, ctr, RESULT_DONE), "gated"),
                forged,
                *self.opened("PROOF and RESULT", 1, 1, 1),
                self.report(0, 4100, "SEC-UP-EPOCH", "what came before the gate opened:"),
            ],
            self.after(False, 1),
        )

    def two_ahead(self):
        """A device whose two advances the backup does not know."""
        ctr = self.counters[1][2]
        old = [
            self.proof(
                f"the PROOF of lost advance {steps}", steps, 0,
                proof(self.epoch(steps).epoch, challenge) + result(2, ctr + steps, RESULT_DONE), "gated",
            )
            for steps, challenge in zip((1, 2), self.old_challenges)
        ]
        skewed = proof(self.epoch(2).epoch, self.challenge) + result(1, self.counters[0][3] + 1, RESULT_DONE)
        return self.device(
            "two epochs ahead, with K_dn of the backup's still held", self.state(2, 11, 0),
            [self.take("command", "accept", RESULT_DONE, self.sends(1, 3, 0, RESULT_DONE))],
            [
                self.report(2, 17, "gated"),
                *old,
                self.proof("PROOF of an epoch that is not its frame's", 3, 3, skewed, "gated"),
                *self.opened("PROOF and RESULT", 1, 3, 0),
                self.report(2, 17, "SEC-UP-EPOCH", "a skipped candidate: a report"),
                self.report(0, 4100, "SEC-UP-EPOCH", "the backup's epoch: a report"),
            ],
            self.after(False, 3),
        )

    def two_ahead_campaign_not_greater(self):
        return self.device(
            "two epochs ahead, for a campaign that is not below this one", self.state(2, self.campaign, 0),
            [self.take("command", "accept", RESULT_CONFLICT, self.sends(1, 2, 20, RESULT_CONFLICT))],
            [
                self.proof("the new challenge, but not ratcheted", 2, 20, self.answer(1, 2, RESULT_CONFLICT), "gated"),
                self.report(2, 21, "gated"),
            ],
            self.after(True, 0),
        )

    def two_ahead_heard(self):
        return self.device(
            "two epochs ahead, heard downstream there: only the group reaches it", self.state(2, 11, 1),
            [
                self.take("command", "SEC-DN-EPOCH"),
                self.take("group_command", "accept", RESULT_DONE, self.sends(2, 3, 0, RESULT_DONE)),
            ],
            self.opened("PROOF and RESULT of the group's command", 2, 3, 0),
            self.after(False, 3),
        )

    def too_far(self):
        return self.device(
            "four epochs ahead: it registers anew", self.state(4, 13, 0),
            [self.take("command", "accept", RESULT_DONE, self.sends(1, 5, 0, RESULT_DONE))],
            [
                self.report(4, 8, "gated"),
                self.proof("under an epoch that is no candidate", 5, 0, self.answer(1, 5, RESULT_DONE), "SEC-UP-EPOCH"),
            ],
            self.after(True, 0),
        )

    def json(self, devices):
        active = self.epochs[0]
        newest = self.groups[-1][0].epoch
        following = newest + self.days + 2
        return {
            "title": self.title, "system": self.system.hex(), "dev": self.dev.hex(),
            "sid": number(self.sid, 4).hex(), **active.json(), "days": self.days, "skip": self.skip,
            "floor": self.floor, "floor_after": self.floor_after, "exhausted": self.floor_after == SEQ_END,
            "groups": [
                {
                    "gid": number(self.gid, 4).hex(), "last": newest,
                    "next": following if following <= EPOCH_END else None,
                    "epochs": [
                        {
                            "epoch": keys.epoch, "gms": keys.gms.hex(), "k_g": keys.k_g.hex(), "iv_g": keys.iv_g.hex(),
                            "floor": old, "floor_after": new,
                        }
                        for keys, old, new in self.groups
                    ],
                }
            ],
            "counters": [
                {
                    "skid": SKID, "kind": kind, "scope": scope.hex(), "last": old, "last_after": new,
                    "next": new + 1 if new < CTR_END else None,
                }
                for kind, scope, old, new in self.counters
            ],
            "candidates": [keys.json() for keys in self.candidates], "signer": self.signer(),
            "command": self.command(1), "group_command": self.command(2), "devices": [device() for device in devices],
        }


def make():
    cases = []

    def case(title, devices, **fields):
        made = Case(title, **fields)
        cases.append(made.json([getattr(made, device) for device in devices]))

    case(
        "two days old: every kind of device",
        ["in_step", "two_ahead", "two_ahead_campaign_not_greater", "two_ahead_heard", "too_far"],
        days=2, epoch=4, floor=832, group_floor=3072, ctr=57, group_ctr=1210, group_epoch=31,
    )
    case(
        "less than a day old, nothing sealed yet", ["in_step"],
        days=0, epoch=0, floor=0, group_floor=0, ctr=0, group_ctr=0, group_epoch=1,
    )
    case(
        "a month old, candidates whose low octets begin anew", ["in_step", "two_ahead", "two_ahead_heard"],
        days=30, epoch=254, floor=70_016, group_floor=1_048_576, ctr=900, group_ctr=88_000, group_epoch=254,
    )
    case(
        "one counter is left", ["in_step"],
        days=1, epoch=9, floor=16_646_142, group_floor=16_646_142 // 5, ctr=4_294_836_222, group_ctr=7, group_epoch=2,
    )
    case(
        "downstream counters are exhausted: it registers anew", [],
        days=1, epoch=9, floor=16_646_143, group_floor=16_646_143, ctr=11, group_ctr=7, group_epoch=2,
    )
    case(
        "command counters are exhausted", [],
        days=1, epoch=9, floor=640, group_floor=1024, ctr=4_294_836_223, group_ctr=4_294_967_294, group_epoch=65_532,
    )
    case(
        "the group's epochs are exhausted", ["in_step"],
        days=1, epoch=12, floor=640, group_floor=1024, ctr=5, group_ctr=6, group_epoch=65_533,
    )
    case(
        "so old that nothing can go on", [],
        days=255, epoch=9, floor=0, group_floor=0, ctr=11, group_ctr=7, group_epoch=2,
    )
    case(
        "older than any count of days", [],
        days=70_000, epoch=9, floor=64, group_floor=64, ctr=11, group_ctr=7, group_epoch=2,
    )
    case(
        "two epochs before the last", ["in_step"],
        days=3, epoch=65_533, floor=128, group_floor=1024, ctr=3, group_ctr=4, group_epoch=65_530,
    )
    return {"about": ABOUT, "cases": cases}
