#!/usr/bin/env python3
"""Writes rflan-frames.json: frames, header IEs, mesh headers, fragments and compressed datagrams.

Independent of the Rust code: built by hand from IEEE 802.15.4-2015 and RFC 4944, 6282, with the CRC of zlib and the
AES-CCM of the Python package `cryptography`. Run `python3 make_frames.py` beside the file.
"""

import ipaddress
import json
import pathlib
import random
import struct
import zlib

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

OUI = 0x025246
CELL = 0x1234
RELAY, FORWARDER, METER = (f"00005eef1000000{n}" for n in (1, 2, 3))
SEED = 4944


def mac(eui):
    """An EUI-64 in a MAC header: low octet first."""
    return bytes.fromhex(eui)[::-1]


def fcs(body):
    return body + struct.pack("<I", zlib.crc32(body.ljust(4, b"\0")))


def header_ie(element, content):
    return struct.pack("<H", element << 7 | len(content)) + content


def vendor(kind, body):
    return header_ie(0, struct.pack("<I", OUI)[:3] + bytes([kind]) + body)


def timing(fraction, level, cost):
    return vendor(1, struct.pack("<I", fraction)[:3] + struct.pack("<BH", level, cost))


def parent(eui):
    return vendor(2, mac(eui))


def route(hops):
    """Hops in the order they are taken; the next one stands last."""
    return vendor(3, b"".join(mac(hop) for hop in reversed(hops)))


HT2 = header_ie(0x7F, b"")


def control(frame_type, dst_mode, src_mode, compression=0, ack=0, ies=0, secured=0):
    return struct.pack(
        "<H",
        frame_type | secured << 3 | ack << 5 | compression << 6 | ies << 9 | dst_mode << 10 | 2 << 12 | src_mode << 14,
    )


def frames():
    tim, payload = timing(0x123456, 2, 300), bytes.fromhex("7e33f004810481")
    pan = struct.pack("<H", CELL)
    hops = [f"00005eef100001{n:02x}" for n in range(14)]
    common = {"fraction": 0x123456, "level": 2, "path_cost": 300}
    yield {
        "name": "unicast with timing and parent",
        "shape": "unicast", "sequence": 77, "ack_request": True, "destination": FORWARDER, "source": METER,
        "timing": common, "parent": FORWARDER, "route": None, "payload": payload.hex(),
        "psdu": fcs(control(1, 3, 3, ack=1, ies=1) + bytes([77]) + pan + mac(FORWARDER) + mac(METER)
                    + tim + parent(FORWARDER) + HT2 + payload).hex(),
    }
    yield {
        "name": "unicast with the longest route",
        "shape": "unicast", "sequence": 0, "ack_request": True, "destination": FORWARDER, "source": RELAY,
        "timing": common, "parent": None, "route": hops, "payload": payload.hex(),
        "psdu": fcs(control(1, 3, 3, ack=1, ies=1) + bytes([0]) + pan + mac(FORWARDER) + mac(RELAY)
                    + tim + route(hops) + HT2 + payload).hex(),
    }
    yield {
        "name": "unicast without IEs",
        "shape": "unicast", "sequence": 255, "ack_request": False, "destination": RELAY, "source": METER,
        "timing": None, "parent": None, "route": None, "payload": payload.hex(),
        "psdu": fcs(control(1, 3, 3) + bytes([255]) + pan + mac(RELAY) + mac(METER) + payload).hex(),
    }
    yield {
        "name": "broadcast",
        "shape": "broadcast", "sequence": 4, "ack_request": False, "source": RELAY,
        "timing": common, "parent": None, "route": None, "payload": payload.hex(),
        "psdu": fcs(control(1, 2, 3, compression=1, ies=1) + bytes([4]) + pan + b"\xff\xff" + mac(RELAY)
                    + tim + HT2 + payload).hex(),
    }
    yield {
        "name": "advertisement",
        "shape": "advertisement", "sequence": 3, "ack_request": False, "source": RELAY,
        "timing": common, "parent": None, "route": None, "payload": "",
        "psdu": fcs(control(1, 0, 3, ies=1) + bytes([3]) + pan + mac(RELAY) + tim).hex(),
    }
    yield {
        "name": "Enhanced ACK",
        "shape": "ack", "sequence": 77, "ack_request": False, "destination": METER,
        "timing": common, "parent": None, "route": None, "payload": "",
        "psdu": fcs(control(2, 3, 0, compression=1, ies=1) + bytes([77]) + mac(METER) + tim).hex(),
    }


def secured():
    key = bytes(range(16))
    for name, payload in (("with payload", b"a reading of one end device"), ("without payload", b"")):
        for counter in (0, 0x01020304, 0xFFFFFFFE):
            auxiliary = bytes([6 | 1 << 3]) + struct.pack("<I", counter) + bytes([1])
            mhr = (control(1, 3, 3, ack=1, ies=1, secured=1) + bytes([9]) + struct.pack("<H", CELL) + mac(FORWARDER)
                   + mac(METER) + auxiliary + timing(0x123456, 2, 300) + (HT2 if payload else b""))
            nonce = bytes.fromhex(METER) + struct.pack(">I", counter) + bytes([6])
            sealed = AESCCM(key, tag_length=8).encrypt(nonce, payload, mhr)
            yield {
                "name": f"{name}, counter {counter}", "key": key.hex(), "key_index": 1, "counter": counter,
                "sequence": 9, "destination": FORWARDER, "source": METER, "payload": payload.hex(),
                "psdu": fcs(mhr + sealed).hex(),
            }


def link_local(eui):
    identifier = bytearray.fromhex(eui)
    identifier[0] ^= 2
    return bytes.fromhex("fe80000000000000") + bytes(identifier)


def udp_checksum(source, destination, payload):
    udp = struct.pack(">HHHH", 1153, 1153, 8 + len(payload), 0) + payload
    pseudo = source + destination + struct.pack(">II", len(udp), 17)
    octets = pseudo + udp + b"\0" * (len(udp) % 2)
    total = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF) or 0xFFFF


def mesh(hops, originator, final, sequence=0):
    if hops < 15:
        lead, deep = 0x80 | hops, b""
    else:
        lead, deep = 0x8F, bytes([hops])
    if final is None:
        return bytes([lead | 0x10]) + deep + bytes.fromhex(originator) + b"\xff\xff" + bytes([0x50, sequence])
    return bytes([lead]) + deep + bytes.fromhex(originator) + bytes.fromhex(final)


def compressed(source, final, payload):
    """IPHC with elided traffic class, hop limit 64 and elided addresses; UDP with whole ports."""
    src = link_local(source)
    if final is None:
        dst, form = ipaddress.IPv6Address("ff02::1").packed, bytes([0x7E, 0x3B, 0x01])
    else:
        dst, form = link_local(final), bytes([0x7E, 0x33])
    return form + bytes([0xF0]) + struct.pack(">HHH", 1153, 1153, udp_checksum(src, dst, payload))


def packets():
    rng = random.Random(SEED)
    for length, room in ((0, 188), (1, 188), (109, 188), (180, 206), (181, 206), (600, 188), (1999, 60), (1999, 1990)):
        for hops, final in ((None, RELAY), (3, RELAY), (14, RELAY), (15, RELAY), (255, RELAY), (16, None)):
            apdu, tag, sequence = rng.randbytes(length), rng.randrange(1 << 16), rng.randrange(256)
            lead = b"" if hops is None else mesh(hops, METER, final, sequence)
            headers = compressed(METER, final, apdu)
            whole = lead + headers + apdu
            if len(whole) <= room:
                payloads = [whole]
            else:
                size, taken = 48 + length, (room - len(lead) - 4 - len(headers)) // 8 * 8
                payloads = [lead + struct.pack(">HH", 0xC000 | size, tag) + headers + apdu[:taken]]
                while taken < length:
                    part = apdu[taken : taken + (room - len(lead) - 5) // 8 * 8]
                    offset = (48 + taken) // 8
                    payloads.append(lead + struct.pack(">HHB", 0xE000 | size, tag, offset) + part)
                    taken += len(part)
            yield {
                "originator": METER, "final": final, "hops_left": hops, "sequence": sequence, "tag": tag, "room": room,
                "apdu": apdu.hex(), "payloads": [payload.hex() for payload in payloads],
            }


def main():
    vectors = {"cell": CELL, "frames": list(frames()), "secured": list(secured()), "packets": list(packets())}
    text = json.dumps(vectors, indent=1) + "\n"
    pathlib.Path(__file__).with_name("rflan-frames.json").write_text(text)


if __name__ == "__main__":
    main()
