#!/usr/bin/env python3
"""Writes the seeds of every fuzz target from the test vectors, the shipped graphs and the diagnostics' cases.

A seed is a file named by its own hash, so running this again adds nothing.
"""
import hashlib
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
VECTORS = ROOT / "tests" / "vectors"
CORPUS = ROOT / "fuzz" / "corpus"
TARGETS = ["apdu", "epsem", "tables", "profile1_frame", "graph_file", "device_profile", "shipment_file", "segments", "edhoc_message_1",
           "edhoc_head_end", "edhoc_device", "command"]


def seed(target: str, octets: bytes) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha1(octets).hexdigest()).write_bytes(octets)


def load(name: str):
    path = VECTORS / name
    return json.loads(path.read_text()) if path.exists() else []


def hex_values(value, key):
    """Every hex text under `key`, however deep."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key and isinstance(inner, str):
                yield bytes.fromhex(inner)
            else:
                yield from hex_values(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from hex_values(inner, key)


def main() -> None:
    for target in TARGETS:
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        seed(target, b"")
    for message in load("c1222/messages.json"):
        apdu = bytes.fromhex(message["apdu"])
        seed("apdu", apdu)
        seed("segments", apdu)
        control = message.get("epsem_control")
        plain = message.get("epsem_plaintext")
        if control and plain:
            seed("epsem", bytes.fromhex(control) + bytes.fromhex(plain))
        for service in message.get("services") or []:
            if isinstance(service, str):
                octets = bytes.fromhex(service)
                seed("epsem", b"\x80" + bytes([len(octets)]) + octets if len(octets) < 128 else octets)
                seed("tables", octets[1:])
    for apdu in hex_values(load("profile/carriage.json"), "apdu"):
        seed("apdu", apdu)
    for name in ["upstream", "window", "annex-a", "negative"]:
        for frame in hex_values(load(f"profile/{name}.json"), "frame"):
            seed("profile1_frame", frame)
        for plaintext in hex_values(load(f"profile/{name}.json"), "plaintext"):
            seed("epsem", plaintext)
            seed("profile1_frame", plaintext)
    for name in ["edhoc/negative-message-1", "edhoc/method3-suite2", "profile/registration",
                 "profile/registration-refusals"]:
        for key in ["message_1", "input", "octets", "message", "credential", "cred_i", "cred_r", "error"]:
            for octets in hex_values(load(f"{name}.json"), key):
                seed("edhoc_message_1", octets)
    # A first octet that cuts nothing, then zeros: the good messages.
    for target in ["edhoc_head_end", "edhoc_device"]:
        for cut in range(4):
            seed(target, bytes([cut]) + bytes(64))
    for name in ["downstream", "annex-a", "device-refusals"]:
        vectors = load(f"profile/{name}.json")
        for key in ["command", "plaintext", "body", "items", "octets"]:
            for octets in hex_values(vectors, key):
                seed("command", octets)
                for octet in range(6):
                    seed("command", bytes([octet]) + octets)
    for name in ["restore", "registration-repeats"]:
        vectors = load(f"extended/{name}.json")
        for frame in hex_values(vectors, "frame"):
            seed("edhoc_message_1" if frame[:1] == b"\x18" else "profile1_frame", frame[frame[:1] == b"\x18":])
        for signed in hex_values(vectors, "signed"):
            seed("command", signed)
    for path in sorted(ROOT.glob("graphs/*.toml")) + sorted(ROOT.glob("tests/diagnostics/*/graph.toml")):
        seed("graph_file", path.read_bytes())
    for path in sorted(ROOT.glob("graphs/profiles/*.toml")):
        seed("device_profile", path.read_bytes())
    header = "dev,esn,aptitle,device_profile,kind,sid,epoch,key\n"
    rows = [
        f"0011223344556677,1.2.3,.12.5,residential.toml,profile1,00000001,0,{'ab' * 32}\n",
        f"0011223344556678,1.2.4,.12.6,classic.toml,classic,00000002,0,2:{'01' * 16};3:{'02' * 16}\n",
        "x,,,,,,,\n",
    ]
    seed("shipment_file", header.encode())
    seed("shipment_file", (header + "".join(rows[:2])).encode())
    seed("shipment_file", (header + "".join(rows)).encode())


if __name__ == "__main__":
    main()
