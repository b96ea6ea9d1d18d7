#!/usr/bin/env python3
"""Writes the vectors of this folder, or with `--check` says whether they are what it would write.

First it makes what `../profile/` holds of registrations, keys, frames and commands, and stops where it differs.
Needs Python 3.11 and `cryptography` from 43 on.
"""
import json
import pathlib
import sys

sys.dont_write_bytecode = True
import profile1
import registration
import restore

HERE = pathlib.Path(__file__).resolve().parent
FILES = {"restore.json": restore.make, "registration-repeats.json": registration.make}


def published(name):
    return json.loads((HERE.parent / "profile" / name).read_text())


def octets(case, *keys):
    return [bytes.fromhex(case[key]) for key in keys]


def equal(made, expected, what):
    if made != expected:
        sys.exit(f"{what}: {made} is made, {expected} is published")


def reproduce():
    """Makes the published values of `../profile/`."""
    for case in published("registration.json"):
        x, y, i, r, kid_i, kid_r = octets(case, "x", "y", "sk_i", "sk_r", "kid_i", "kid_r")
        i, r = profile1.StaticKey("i", kid_i, i), profile1.StaticKey("r", kid_r, r)
        equal([i.credential.hex(), r.credential.hex()], [case["cred_i"], case["cred_r"]], "credentials")
        run = profile1.Registration(profile1.Key("x", x), profile1.Key("y", y), i, r, int(case["c_r"], 16))
        equal([frame.hex() for frame in run.frames()], case["frames"], "frames of a registration")
        equal(run.prk_out.hex(), case["prk_out"], "prk_out")
    for case in published("key-schedule.json"):
        keys = profile1.Epoch(bytes.fromhex(case["prk_out_0"]), int(case["sid"], 16), 0)
        while keys.epoch < case["epoch"]:
            keys = keys.next()
        expected = {key: case[key] for key in ("epoch", "prk_out", "k_up", "k_dn", "common_iv")}
        equal(keys.json(), expected, "key schedule")
    for case in published("upstream.json"):
        system, scope, key, common_iv, plaintext, frame = octets(
            case, "system", "dev", "key", "common_iv", "plaintext", "frame"
        )
        made = profile1.seal(
            frame[0] & 0xF, int(case["sid"], 16), scope, system, case["epoch"], case["seq"], key, common_iv, plaintext
        )
        equal(made.hex(), case["frame"], "an upstream frame")
    for case in published("groups.json")["groups"]:
        system, scope = octets(case, "system", "scope")
        for epoch in case["epochs"]:
            gid = int(case["gid"], 16)
            keys = profile1.GroupEpoch(bytes.fromhex(epoch["gms"]), gid, epoch["epoch"])
            equal([keys.k_g.hex(), keys.iv_g.hex()], [epoch["k_g"], epoch["iv_g"]], "keys of a group")
            for frame in epoch["frames"]:
                made = profile1.seal(
                    profile1.GROUP_COMMAND, gid, scope, system, epoch["epoch"], frame["seq"], keys.k_g, keys.iv_g,
                    bytes.fromhex(frame["plaintext"]),
                )
                equal(made.hex(), frame["frame"], "a frame for a group")
    for case in published("downstream.json"):
        unicast = case["type"] == "downstream-unicast"
        system, scope, key, common_iv, header, body, signature = octets(
            case, "system", "dev" if unicast else "scope", "key", "common_iv", "signed_header",
            "command", "signature_low_s_rfc6979",
        )
        structure = profile1.sig_structure(system, 1 if unicast else 2, scope, header + body)
        equal(structure.hex(), case["sig_structure"], "what is signed")
        frame_type, name = (profile1.COMMAND, "sid") if unicast else (profile1.GROUP_COMMAND, "gid")
        made = profile1.seal(
            frame_type, int(case[name], 16), scope, system, case["epoch"], case["seq"], key, common_iv,
            header + body + signature,
        )
        equal(made.hex(), case["frame"], "a command")


def main():
    reproduce()
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    for name, make in FILES.items():
        made, path = json.dumps(make(), indent=1) + "\n", HERE / name
        if not check:
            path.write_text(made)
        elif path.read_text() != made:
            sys.exit(f"{name} is not what {pathlib.Path(__file__).name} makes")


if __name__ == "__main__":
    main()
