#!/usr/bin/env python3
"""Writes rflan-link.json: what the checks, the escaping, the hash and the serial framings must give.

It shares no code with the crate: the sums are done bit by bit as polynomial divisions, the hash is the
octet-wise form of lookup3, and each is first held against published values.
Run: python3 make_link.py > rflan-link.json
"""

import json
import random
import sys
import zlib

WORD = 0xFFFFFFFF


def crc(octets, width, polynomial, start, invert):
    """A CRC with both reflections, one bit at a time, on the unreflected register."""
    top, register = 1 << (width - 1), start
    for octet in octets:
        for place in range(8):
            bit = octet >> place & 1
            carry = bool(register & top) ^ bool(bit)
            register = register << 1 & (1 << width) - 1
            if carry:
                register ^= polynomial
    reflected = int(f"{register:0{width}b}"[::-1], 2)
    return reflected ^ (1 << width) - 1 if invert else reflected


def x25(octets):
    return crc(octets, 16, 0x1021, 0xFFFF, True)


def mcrf4xx(octets):
    return crc(octets, 16, 0x1021, 0xFFFF, False)


def crc_a(octets):
    return crc(octets, 16, 0x1021, 0xC6C6, False)


def wisun_check(octets):
    """Open Wi-SUN hosts and boards start the reflected register, not the plain one, with C6C6."""
    return crc(octets, 16, 0x1021, 0x6363, False)


def fcs32(octets):
    """802.15.4 pads a field under four octets with zeros for the sum only."""
    return crc(octets + bytes(max(0, 4 - len(octets))), 32, 0x04C11DB7, WORD, True)


def rot(word, by):
    return (word << by | word >> 32 - by) & WORD


def lookup3(octets, start):
    """Jenkins hashlittle over octets of any number."""
    a = b = c = 0xDEADBEEF + len(octets) + start & WORD
    if not octets:
        return c
    blocks = [octets[at : at + 12] for at in range(0, len(octets), 12)]
    for n, block in enumerate(blocks):
        block = block.ljust(12, b"\0")
        a, b, c = (
            have + int.from_bytes(block[at : at + 4], "little") & WORD
            for have, at in zip((a, b, c), (0, 4, 8))
        )
        if n + 1 < len(blocks):
            for by in (4, 6, 8, 16, 19, 4):
                a = a - c & WORD
                a ^= rot(c, by)
                c = c + b & WORD
                a, b, c = b, c, a
    for by in (14, 11, 25, 16, 4, 14, 24):
        c ^= b
        c = c - rot(b, by) & WORD
        a, b, c = b, c, a
    return b


def hash3(first, second, third):
    return lookup3(b"".join(word.to_bytes(4, "little") for word in (first, second, third)), 0)


def hdlc(payload):
    frame = bytes([0x7E])
    for octet in payload + x25(payload).to_bytes(2, "little"):
        frame += bytes([0x7D, octet ^ 0x20]) if octet in b"\x7e\x7d\x11\x13\xf8" else bytes([octet])
    return frame + bytes([0x7E])


def wisun(payload):
    length = len(payload).to_bytes(2, "little")
    return (
        length
        + mcrf4xx(length).to_bytes(2, "little")
        + payload
        + wisun_check(payload).to_bytes(2, "little")
    )


def check():
    """Published values: the CRC catalogue's check words, lookup3's own self test, zlib."""
    digits = b"123456789"
    assert (x25(digits), mcrf4xx(digits), crc_a(digits)) == (0x906E, 0x6F91, 0xBF05)
    assert fcs32(digits) == 0xCBF43926 == zlib.crc32(digits)
    assert lookup3(b"", 0) == 0xDEADBEEF and lookup3(b"", 0xDEADBEEF) == 0xBD5B7DDE
    speech = b"Four score and seven years ago"
    assert lookup3(speech, 0) == 0x17770551 and lookup3(speech, 1) == 0xCD628161


def main():
    check()
    chance = random.Random(902928)
    payloads = [b"\x01", b"123456789", bytes(range(256)), b"\x7e\x7d\x11\x13\xf8\x5e\x5d\x31\x33\xd8"]
    payloads += [chance.randbytes(n) for n in (2, 3, 4, 5, 40, 245, 1000)]
    # The second EUI-64, slot 10738 and 129 channels are the inputs of an open FAN stack's own test.
    nodes = [0, 0x001350040000_05F8, 0xFFFFFFFFFFFFFFFF, chance.getrandbits(64), chance.getrandbits(64)]
    slots = [0, 1, 255, 10738, 65535]
    hops = [
        {
            "eui64": f"{node:016x}",
            "slot": slot,
            "hash": hash3(slot, node & WORD, node >> 32),
            "na50": hash3(slot, node & WORD, node >> 32) % 129,
            "na150": hash3(slot, node & WORD, node >> 32) % 64,
        }
        for node in nodes
        for slot in slots
    ]
    broadcasts = [
        {
            "cell": cell,
            "slot": slot,
            "hash": hash3(slot, cell << 16, 0),
            "na50": hash3(slot, cell << 16, 0) % 129,
            "na150": hash3(slot, cell << 16, 0) % 64,
        }
        for cell in (0, 1, 0x1234, 0xFFFF)
        for slot in (0, 1, 16383)
    ]
    words = [[chance.getrandbits(32) for _ in range(3)] for _ in range(16)]
    # Position in nanoseconds, 24-bit fraction: 1/256 of 255 ms.
    positions = [0, 996_093, 996_094, 254_999_999, 255_000_000, 255_000_000 * 65_536 - 1]
    positions += [chance.randrange(255_000_000 * 65_536) for _ in range(10)]
    airtimes = [
        {"profile": name, "psdu": psdu, "airtime_ns": -((psdu + 12) * 8 * 10**9 // -rate)}
        for name, rate in (("na50", 50_000), ("na150", 150_000))
        for psdu in (0, 5, 24, 127, 245, 255, 2047)
    ]
    json.dump(
        {
            "checks": [
                {
                    "octets": payload.hex(),
                    "fcs16": x25(payload),
                    "mcrf4xx": mcrf4xx(payload),
                    "wisun": wisun_check(payload),
                    "fcs32": fcs32(payload),
                }
                for payload in [b""] + payloads
            ],
            "frames": [
                {"payload": payload.hex(), "hdlc_lite": hdlc(payload).hex(), "wisun": wisun(payload).hex()}
                for payload in payloads
            ],
            "hash3": [{"words": three, "hash": hash3(*three)} for three in [[0, 0, 0]] + words],
            "unicast": hops,
            "broadcast": broadcasts,
            "fractions": [
                {"position_ns": position, "u24": position * 256 // 255_000_000} for position in positions
            ],
            "airtimes": airtimes,
        },
        sys.stdout,
        indent=1,
    )
    print()


main()
