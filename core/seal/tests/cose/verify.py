"""Reads frames and commands of profile 1 from standard input (JSON), re-inflates them to COSE messages as
the security layer's sections 1 and 3 say, and has a general COSE library decrypt and verify them.

Prints what it found as JSON: {"opened": [plaintext hex or null, ...], "verified": [true or false, ...]}.
"""

import json
import sys

import cbor2
from cbor2 import CBORTag
from cryptography.exceptions import InvalidTag
from pycose.keys import EC2Key, SymmetricKey
from pycose.keys.curves import P256
from pycose.messages.enc0message import Enc0Message
from pycose.messages.sign1message import Sign1Message


def opened(frame):
    octets = bytes.fromhex(frame["frame"])
    scope, epoch, system = (bytes.fromhex(frame[key]) for key in ("scope", "epoch", "system"))
    # {1: 10}: AES-CCM-16-64-128; 5: the IV.
    inflated = CBORTag(16, [b"\xa1\x01\x0a", {5: bytes.fromhex(frame["nonce"])}, octets[9:]])
    message = Enc0Message.decode(cbor2.dumps(inflated))
    message.external_aad = octets[:9] + scope + epoch + system
    message.key = SymmetricKey(k=bytes.fromhex(frame["key"]))
    try:
        return message.decrypt().hex()
    except InvalidTag:
        return None


def verified(command):
    # {1: -7}: ES256.
    inflated = CBORTag(18, [b"\xa1\x01\x26", {}, bytes.fromhex(command["payload"]), bytes.fromhex(command["signature"])])
    message = Sign1Message.decode(cbor2.dumps(inflated))
    message.external_aad = bytes.fromhex(command["external_aad"])
    message.key = EC2Key(crv=P256, x=bytes.fromhex(command["x"]), y=bytes.fromhex(command["y"]))
    return message.verify_signature()


given = json.load(sys.stdin)
json.dump(
    {
        "opened": [opened(frame) for frame in given["frames"]],
        "verified": [verified(command) for command in given["commands"]],
    },
    sys.stdout,
)
