"""Cases of repeated messages of a registration (§5)."""
from profile1 import Key, Registration, StaticKey, bstr, number, public_test_value

ERROR = b"\x1c\x01\x60"
MINUTE = 60
REFUSED = "SEC-REG-FORMAT"

ABOUT = (
    "Public test values. Hex lower case, integers decimal. headend: a responder with `sk_r`, `cred_r` and the known "
    "devices takes `steps` in their order. `y` and `c_r` are what it draws for its first run, its second, and so on. "
    "`at` is seconds since the start. `frame` comes over `link`; `verdict` is accept, none (counted as what it is, "
    "without effect) or the code of section 10; `reply` is the frame sent back over that link, null nothing; "
    "`alarm` is raised beside it. `hsm` is how often the static key was used until then: once for each run. "
    "`registers`: message_3 proves this device, and its association is durable before the reply. A step with `used` "
    "instead of `frame`: the first valid upstream frame of that association. waits: what a device reads in an error "
    "message: seconds to wait, or null."
)


class HeadEnd:
    """A head-end with one device, and the runs between them."""

    def __init__(self, title):
        self.title = title
        kid = 0x20 + public_test_value(f"{title}, kid", 1)[0] % 24
        self.r = StaticKey(f"registration, {title}, sk_r", bytes([kid]))
        self.i = StaticKey(f"registration, {title}, sk_i", public_test_value(f"registration, {title}, dev", 8))
        self.runs, self.steps, self.at, self.hsm = [], [], 0, 0

    def run(self, share=None):
        """A run; with the `share` of an earlier one its G_X comes again."""
        name = len(self.runs)
        x = share.x if share else Key(f"registration, {self.title}, x {name}")
        y = Key(f"registration, {self.title}, y {name}")
        sid = int.from_bytes(public_test_value(f"registration, {self.title}, sid {name}", 4)) & 0x7FFFFFFF
        run = Registration(x, y, self.i, self.r, sid)
        self.runs.append(run)
        return run

    def after(self, seconds):
        self.at += seconds

    def take(self, title, frame, verdict, reply, link=1, **more):
        step = {"title": title, "at": self.at, "link": link, "frame": frame.hex(), "verdict": verdict}
        step["reply"] = reply.hex() if reply else None
        self.steps.append(step | {"hsm": self.hsm} | more)

    def refuse(self, title, frame, verdict=REFUSED, reply=ERROR, link=1):
        self.take(title, frame, verdict, reply, link)

    def first(self, run, title="message_1", link=1):
        self.hsm += 1
        message_1, message_2, _, _ = run.frames()
        self.take(title, message_1, "accept", message_2, link)

    def third(self, run, title="message_3", **more):
        _, _, message_3, message_4 = run.frames()
        self.take(title, message_3, "accept", message_4, registers=self.i.kid.hex(), **more)

    def used(self, run):
        self.steps.append({"title": "its first report", "at": self.at, "used": number(run.sid, 4).hex(), "hsm": self.hsm})

    def json(self):
        return {
            "title": self.title, "sk_r": self.r.octets().hex(), "kid_r": self.r.kid.hex(),
            "cred_r": self.r.credential.hex(), "y": [run.y.octets().hex() for run in self.runs],
            "c_r": [number(run.sid, 4).hex() for run in self.runs],
            "known": [{"kid": self.i.kid.hex(), "cred": self.i.credential.hex(), "revoked": False}],
            "runs": [
                {"x": run.x.octets().hex(), "sk_i": self.i.octets().hex(), "prk_out": run.prk_out.hex()}
                for run in self.runs
            ],
            "steps": self.steps,
        }


def repeats_of_message_1():
    house = HeadEnd("an identical message_1 on its link gets the stored message_2")
    run = house.run()
    message_1, message_2, message_3, _ = run.frames()
    house.first(run)
    house.take("again at once", message_1, "accept", message_2)
    house.after(59)
    house.take("again, while it is pending", message_1, "accept", message_2)
    house.third(run)
    house.take("again, while its association is not used", message_1, "accept", message_2)
    house.used(run)
    house.refuse("again, after that", message_1)
    return house


def another_link():
    house = HeadEnd("a run is bound to its link")
    run = house.run()
    message_1, _, message_3, _ = run.frames()
    house.first(run)
    house.refuse("the identical message_1 over another link", message_1, link=2)
    house.refuse("message_3 over another link", message_3, link=2)
    house.third(run)
    house.refuse("the identical message_3 over another link", message_3, link=2)
    return house


def repeats_of_message_3():
    house = HeadEnd("an identical message_3 gets the stored message_4 until it is used")
    run = house.run()
    _, _, message_3, message_4 = run.frames()
    house.first(run)
    house.third(run)
    house.take("again at once", message_3, "accept", message_4)
    house.refuse("another message_3: its tag is wrong", flipped(message_3, 32), "SEC-REG-MAC")
    house.after(5 * MINUTE)
    house.take("again, minutes later", message_3, "accept", message_4)
    house.used(run)
    house.refuse("again, after that", message_3)
    return house


def shares():
    for title, padding in [
        ("the same G_X under another message_1", bytes.fromhex("0041aa")),
        ("the same G_X under a padded message_1", b"\x00"),
    ]:
        house = HeadEnd(f"{title} is refused within ten minutes")
        run = house.run()
        other = b"\x18" + run.message_1 + padding
        house.first(run)
        house.refuse(title, other)
        house.refuse("the same over another link", other, link=2)
        house.third(run, "the first run goes on")
        yield house


def shares_over_time():
    house = HeadEnd("a message_1 whose run is over is a repeat of its G_X for ten minutes")
    run = house.run()
    message_1, _, message_3, _ = run.frames()
    house.first(run)
    house.after(61)
    house.refuse("message_3 after a minute: the run is over", message_3)
    house.refuse("the identical message_1: its G_X was used", message_1)
    house.after(538)
    house.refuse("almost ten minutes after the first", message_1)
    yield house

    house = HeadEnd("after ten minutes a G_X may come again")
    run = house.run()
    house.first(run)
    house.after(601)
    again = house.run(share=run)
    house.first(again, "the identical message_1, and a new run")
    house.refuse("the old message_3", run.frames()[2])
    house.third(again)
    yield house


def flipped(frame, at):
    return frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]


def failures():
    house = HeadEnd("eight failing message_3 are answered, then there is silence")
    run = house.run()
    message_1, message_2, message_3, _ = run.frames()
    house.first(run)
    for count in range(8):
        house.refuse(f"failure {count + 1}", flipped(message_3, 7 + 3 * count), "SEC-REG-MAC")
    house.refuse("failure 9", flipped(message_3, 31), "SEC-REG-MAC", None)
    house.refuse("the right one", message_3, "SEC-REG-MAC", None)
    house.take("message_1 is still answered", message_1, "accept", message_2)
    yield house

    house = HeadEnd("seven failures end nothing")
    run = house.run()
    house.first(run)
    for count in range(7):
        house.refuse(f"failure {count + 1}", flipped(run.frames()[2], 8 + 3 * count), "SEC-REG-MAC")
    house.third(run)
    yield house

    house = HeadEnd("message_3 has exactly 28 octets, and one of another length is a failure")
    run = house.run()
    house.first(run)
    sid, message_3 = b"\x1a" + number(run.sid, 4), run.message_3
    text = bytes.fromhex("48") + house.i.kid + bytes.fromhex("48") + bytes(8)
    for title, octets in [
        ("27 octets: the last one is cut", message_3[:-1]),
        ("27 octets, well formed", bstr(message_3[2:-1])),
        ("29 octets: one follows", message_3 + b"\x00"),
        ("29 octets, well formed", bstr(message_3[2:] + b"\x00")),
        ("29 octets, sealed so: a padding EAD_3", run.seal_3(text + b"\x00")),
        ("no octet", b""),
        ("28 octets, but a byte string of 27", b"\x58\x1b" + message_3[2:]),
    ]:
        house.refuse(title, sid + octets)
    house.refuse("the eighth: 28 octets, MAC_3 wrong inside a good tag", sid + run.seal_3(text), "SEC-REG-MAC")
    house.refuse("the right one", sid + message_3, "SEC-REG-MAC", None)
    yield house


def errors_end_nothing():
    house = HeadEnd("an error is not authenticated and ends no run")
    run = house.run()
    house.first(run)
    house.take("an error from the device's side", ERROR, "none", None)
    house.take("an error that asks for another suite", b"\x1c\x02\x03", "none", None)
    house.third(run)
    return house


def registers_again():
    for seconds, alarm in [(1, "SEC-REG-DUP"), (599, "SEC-REG-DUP"), (601, None)]:
        house = HeadEnd(f"the same device completes a registration again {seconds} s later")
        first, second = house.run(), house.run()
        house.first(first)
        house.third(first)
        house.after(seconds)
        house.first(second, "message_1 with a new G_X")
        house.third(second, **({"alarm": alarm} if alarm else {}))
        yield house

    house = HeadEnd("a registration that is begun again and not completed is no second one")
    first, second = house.run(), house.run()
    house.first(first)
    house.after(2)
    house.first(second, "message_1 with a new G_X")
    house.third(second)
    yield house


def waits():
    def error(text):
        return b"\x1c\x01" + (bytes([0x60 | len(text)]) if len(text) < 24 else bytes([0x78, len(text)])) + text

    for text, seconds in [
        (b"wait 0", 0), (b"wait 1", 1), (b"wait 30", 30), (b"wait 600", 600), (b"wait 601", 600), (b"wait 65536", 600),
        (b"", None), (b"wait", None), (b"wait ", None), (b"wait -1", None), (b"wait 5 s", None), (b"Wait 5", None),
        (b"busy", None),
    ]:
        yield {"title": text.decode() or "no text", "frame": error(text).hex(), "wait": seconds}


def make():
    houses = [
        repeats_of_message_1(), another_link(), repeats_of_message_3(), *shares(), *shares_over_time(), *failures(),
        errors_end_nothing(), *registers_again(),
    ]
    return {"about": ABOUT, "headend": [house.json() for house in houses], "waits": list(waits())}
