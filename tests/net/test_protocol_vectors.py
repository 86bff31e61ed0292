"""The Python client agrees with the vectors, which were made by a third implementation: what it
finds wrong with a concentrator is then the concentrator's fault."""
import json
from pathlib import Path

import pytest

import protocol as p

VECTORS = json.loads((Path(__file__).parent.parent / "unit" / "protocol-vectors.json").read_text())
KEY = p.Key(bytes.fromhex(VECTORS["key"]["id"]), bytes.fromhex(VECTORS["key"]["secret"]))


def test_key_text():
    assert KEY.text() == VECTORS["key"]["text"]
    assert p.Key.parse(VECTORS["key"]["text"]) == KEY


@pytest.fixture(params=VECTORS["cases"],
                ids=lambda c: f"suite{c['suite']}{'-token' if c['token'] else ''}")
def case(request):
    return request.param


@pytest.fixture
def schedule(case):
    return p.Schedule(KEY, bytes.fromhex(case["salt_c"]))


def test_keys(case, schedule):
    assert schedule.prk.hex() == case["prk"]
    assert schedule.hello.hex() == case["k_hello"]
    assert schedule.c2s.hex() == case["k_c2s"]
    reply, s2c = schedule.reply_keys(bytes.fromhex(case["salt_s"]))
    assert reply.hex() == case["k_reply"]
    assert s2c.hex() == case["k_s2c"]
    assert p.expand(schedule.c2s, b"bondway1 rekey", 32).hex() == case["k_c2s_after_rekey"]


def test_flights(case, schedule):
    ext = p.tlv(p.TOKEN_TLV, bytes.fromhex(case["token"])) if case["token"] else b""
    assert p.hello_flight(schedule, case["suite"], case["time_ms"], ext).hex() == \
        case["hello_flight"]
    reply = p.Reply(p.WELCOME, 0, case["reply_time_ms"], case["probe_port"])
    assert p.reply_flight(schedule, bytes.fromhex(case["salt_s"]), reply).hex() == \
        case["welcome_flight"]


def test_records(case, schedule):
    aead = p.cipher(case["suite"], schedule.c2s)
    records = [(p.OPEN, p.open_payload(p.SEALED, "192.0.2.1", 443)),
               (p.DATA, b"GET / HTTP/1.0\r\n\r\n"),
               (p.PING, bytes(range(1, 9))),
               (p.FIN, b"")]
    made = [p.seal_record(aead, i, *record).hex() for i, record in enumerate(records)]
    assert made == [record["bytes"] for record in case["c2s_records"]]
    plain = p.seal_record(aead, 0, p.OPEN, p.open_payload(p.PLAIN, "2001:db8::1", 443))
    assert plain.hex() == case["c2s_first_record_open_plain_ipv6_2001_db8__1_443"]
    _, s2c = schedule.reply_keys(bytes.fromhex(case["salt_s"]))
    opened = p.seal_record(p.cipher(case["suite"], s2c), 0, p.OPENED, bytes(1))
    assert opened.hex() == case["s2c_first_record_opened_0"]


def test_probe():
    v = VECTORS["probe"]
    request = p.probe_request(KEY, bytes.fromhex(v["nonce"]), v["seq"], v["time_us"], v["uplink"])
    assert request.hex() == v["request"]
    assert p.open_probe_answer(KEY, bytes.fromhex(v["answer"])) == \
        (v["seq"], v["time_us"], v["uplink"], v["server_time_ms"])


def test_token():
    v = VECTORS["token"]
    assert p.make_token(bytes.fromhex(v["k_boot"]), KEY.id, v["expiry_ms"]).hex() == v["token"]
