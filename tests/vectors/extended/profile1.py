"""Profile 1 from the text of the security layer, by Python's `cryptography` and nothing of the product.

Sections (§) are those of the security layer; the registration is EDHOC (RFC 9528), the derivation of traffic keys
OSCORE (RFC 8613 §3.2).
"""
import hashlib
import hmac

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
REPORT, COMMAND, GROUP_COMMAND, DOWN_CONTROL, UP_CONTROL = range(1, 6)
# Keys of both directions and the common IV are derived from the head-end's name as a sender, C_I.
C_I = b"\x00"


def public_test_value(name, length=32):
    """Octets that anybody can make: nothing here is a secret."""
    return hashlib.sha256(b"Metergraph public test value: " + name.encode()).digest()[:length]


def number(value, length):
    return value.to_bytes(length, "big")


# CBOR, as far as it is needed.


def head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    if value < 1 << 8:
        return bytes([major << 5 | 24, value])
    return bytes([major << 5 | 25]) + number(value, 2)


def bstr(octets):
    return head(2, len(octets)) + octets


def tstr(text):
    return head(3, len(text)) + text.encode()


# Derivation (§4).


def extract(salt, secret):
    return hmac.digest(salt or bytes(32), secret, "sha256")


def expand(prk, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        out, counter = out + block, counter + 1
    return out[:length]


def edhoc_kdf(prk, label, context, length):
    return expand(prk, head(0, label) + bstr(context) + head(0, length), length)


def exporter(prk_out, label, length):
    return edhoc_kdf(edhoc_kdf(prk_out, 10, b"", 32), label, b"", length)


def key_update(prk_out, epoch):
    """PRK_out of `epoch` from that of the epoch before."""
    return edhoc_kdf(prk_out, 11, number(epoch, 2), 32)


def oscore(secret, salt, id_context, sender, kind, length):
    context = b"\xf6" if id_context is None else bstr(id_context)
    info = b"\x85" + bstr(sender) + context + b"\x0a" + tstr(kind) + head(0, length)
    return expand(extract(salt, secret), info, length)


class Epoch:
    """The keys of an association in one epoch."""

    def __init__(self, prk_out, sid, epoch):
        self.prk_out, self.sid, self.epoch = prk_out, sid, epoch
        secret, salt = exporter(prk_out, 0, 16), exporter(prk_out, 1, 8)
        self.k_up = oscore(secret, salt, None, number(sid, 4), "Key", 16)
        self.k_dn = oscore(secret, salt, None, C_I, "Key", 16)
        self.common_iv = oscore(secret, salt, None, b"", "IV", 13)

    def next(self):
        return Epoch(key_update(self.prk_out, self.epoch + 1), self.sid, self.epoch + 1)

    def json(self):
        return {
            "epoch": self.epoch, "prk_out": self.prk_out.hex(), "k_up": self.k_up.hex(), "k_dn": self.k_dn.hex(),
            "common_iv": self.common_iv.hex(),
        }


class GroupEpoch:
    """The keys of a group in one epoch."""

    def __init__(self, gms, gid, epoch):
        self.gms, self.gid, self.epoch = gms, gid, epoch
        context = number(gid, 4) + number(epoch, 2)
        self.k_g = oscore(gms, b"", context, b"", "Key", 16)
        self.iv_g = oscore(gms, b"", context, b"", "IV", 13)


# Frames (§3).


def nonce(common_iv, sender, seq):
    partial = bytes([len(sender)]) + bytes(7 - len(sender)) + sender + number(seq, 5)
    return bytes(a ^ b for a, b in zip(common_iv, partial, strict=True))


def seal(frame_type, name, scope, system, epoch, seq, key, common_iv, plaintext):
    """A frame. `name` is the sid or gid."""
    octets = bytes([0x10 | frame_type]) + number(name, 4) + bytes([epoch & 0xFF]) + number(seq, 3)
    sender = {GROUP_COMMAND: b"", COMMAND: C_I, DOWN_CONTROL: C_I}.get(frame_type, number(name, 4))
    external_aad = octets + scope + number(epoch, 2) + system
    aad = b"\x83" + tstr("Encrypt0") + bstr(bytes.fromhex("a1010a")) + bstr(external_aad)
    return octets + AESCCM(key, tag_length=8).encrypt(nonce(common_iv, sender, seq), plaintext, aad)


# Signatures (§3).


class Key:
    """A private key: a public test value of this name, or a scalar that somebody published."""

    def __init__(self, name, scalar=None):
        scalar = public_test_value(name) if scalar is None else scalar
        self.scalar = (int.from_bytes(scalar) - 1) % (ORDER - 1) + 1
        self.key = ec.derive_private_key(self.scalar, ec.SECP256R1())
        point = self.key.public_key().public_numbers()
        self.x, self.y = number(point.x, 32), number(point.y, 32)

    def octets(self):
        return number(self.scalar, 32)

    def sign(self, octets):
        """`r‖s`, with the nonce of RFC 6979, so that it is the same each time."""
        signature = self.key.sign(octets, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        return b"".join(number(half, 32) for half in decode_dss_signature(signature))

    def agree(self, other):
        return self.key.exchange(ec.ECDH(), other.key.public_key())


def sig_structure(system, kind, scope, payload):
    external_aad = b"\x01" + system + bytes([kind]) + scope
    return b"\x84" + tstr("Signature1") + bstr(bytes.fromhex("a10126")) + bstr(external_aad) + bstr(payload)


def command(key, system, skid, cls, kind, scope, ctr, nbf, ttl, body):
    """A signed command."""
    payload = bytes([skid, cls]) + number(ctr, 4) + number(nbf, 4) + number(ttl, 2) + body
    return payload + key.sign(sig_structure(system, kind, scope, payload))


# Registration (§5).


class StaticKey(Key):
    """A static Diffie-Hellman key with its credential."""

    def __init__(self, name, kid, scalar=None):
        super().__init__(name, scalar)
        self.kid = kid
        self.credential = (
            bytes.fromhex("a108a101a5010202") + bstr(kid) + b"\x20\x01\x21" + bstr(self.x) + b"\x22" + bstr(self.y)
        )
        # A kid of one octet, the head-end's, stands in messages as the integer that it encodes.
        self.id_in_text = kid if len(kid) == 1 else bstr(kid)
        self.id_in_mac = b"\xa1\x04" + bstr(kid)


def sha256(octets):
    return hashlib.sha256(octets).digest()


class Registration:
    """All messages of a run of EDHOC method 3, suite 2, with message_4."""

    def __init__(self, x, y, i, r, sid):
        self.x, self.y, self.sid, c_r = x, y, sid, bstr(number(sid, 4))
        self.message_1 = b"\x03\x02" + bstr(x.x) + C_I

        th_2 = sha256(bstr(y.x) + bstr(sha256(self.message_1)))
        prk_2e = extract(th_2, x.agree(y))
        prk_3e2m = extract(edhoc_kdf(prk_2e, 1, th_2, 32), r.agree(x))
        context_2 = c_r + r.id_in_mac + bstr(th_2) + r.credential
        text_2 = c_r + r.id_in_text + bstr(edhoc_kdf(prk_3e2m, 2, context_2, 8))
        stream = edhoc_kdf(prk_2e, 0, th_2, len(text_2))
        self.message_2 = bstr(y.x + bytes(a ^ b for a, b in zip(text_2, stream, strict=True)))

        self.th_3 = sha256(bstr(th_2) + text_2 + r.credential)
        self.prk_3e2m = prk_3e2m
        prk_4e3m = extract(edhoc_kdf(prk_3e2m, 5, self.th_3, 32), i.agree(y))
        context_3 = i.id_in_mac + bstr(self.th_3) + i.credential
        text_3 = i.id_in_text + bstr(edhoc_kdf(prk_4e3m, 6, context_3, 8))
        self.message_3 = self.seal_3(text_3)

        th_4 = sha256(bstr(self.th_3) + text_3 + i.credential)
        self.message_4 = bstr(self.aead(prk_4e3m, 8, 9, th_4, b""))
        self.prk_out = edhoc_kdf(prk_4e3m, 7, th_4, 32)

    @staticmethod
    def aead(prk, key_label, iv_label, transcript, plaintext):
        key, iv = edhoc_kdf(prk, key_label, transcript, 16), edhoc_kdf(prk, iv_label, transcript, 13)
        aad = b"\x83" + tstr("Encrypt0") + bstr(b"") + bstr(transcript)
        return AESCCM(key, tag_length=8).encrypt(iv, plaintext, aad)

    def seal_3(self, text_3):
        """A message_3 with a text of the caller's choice, inside a good tag."""
        return bstr(self.aead(self.prk_3e2m, 3, 4, self.th_3, text_3))

    def frames(self):
        """As the wire carries them."""
        return [
            b"\x18" + self.message_1, b"\x19" + self.message_2, b"\x1a" + number(self.sid, 4) + self.message_3,
            b"\x1b" + self.message_4,
        ]
