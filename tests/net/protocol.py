"""bondway's protocol in Python, written from its description alone: a second opinion for the C code,
and the client with which the tests speak to a concentrator, and the server with which they speak to a
gateway."""
from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import List, Optional, Tuple, TypeVar, Union

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

IPPROTO_MPTCP = 262
CHACHA20_POLY1305, AES_128_GCM = 1, 2
WELCOME, CHALLENGE, REFUSED = 2, 3, 4
DATA, FIN, RESET, REKEY, PING, PONG, OPEN, OPENED = range(8)
SEALED, PLAIN = 0, 1
RECORD_MAX = 16384
TOKEN_TLV, PADDING_TLV = 2, 1
E = TypeVar("E", bound="End")


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.new(salt, ikm, hashlib.sha256).digest()


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out += block
        counter += 1
    return out[:length]


def nonce(counter: int) -> bytes:
    return bytes(4) + struct.pack(">Q", counter)


def cipher(suite: int, key: bytes) -> Union[ChaCha20Poly1305, AESGCM]:
    return ChaCha20Poly1305(key) if suite == CHACHA20_POLY1305 else AESGCM(key[:16])


@dataclass
class Key:
    id: bytes
    secret: bytes

    @staticmethod
    def new() -> "Key":
        return Key(os.urandom(8), os.urandom(32))

    @staticmethod
    def parse(text: str) -> "Key":
        assert text.startswith("bondway1:")
        raw = base64.urlsafe_b64decode(text[9:] + "=" * (-len(text[9:]) % 4))
        assert len(raw) == 40
        return Key(raw[:8], raw[8:])

    def text(self) -> str:
        return "bondway1:" + base64.urlsafe_b64encode(self.id + self.secret).decode().rstrip("=")


class Schedule:
    """The keys of one connection: the gateway's from its salt, the concentrator's from both."""

    def __init__(self, key: Key, salt_c: bytes) -> None:
        self.key = key
        self.salt_c = salt_c
        self.prk = extract(salt_c, key.secret)
        both = expand(self.prk, b"bondway1 c2s" + key.id, 64)
        self.hello, self.c2s = both[:32], both[32:]

    def reply_keys(self, salt_s: bytes) -> Tuple[bytes, bytes]:
        both = expand(extract(salt_s, self.prk), b"bondway1 s2c" + self.key.id, 64)
        return both[:32], both[32:]


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def parse_tlvs(data: bytes) -> List[Tuple[int, bytes]]:
    out = []
    while data:
        kind, length = struct.unpack(">BH", data[:3])
        assert len(data) >= 3 + length
        out.append((kind, data[3:3 + length]))
        data = data[3 + length:]
    return out


def hello_flight(schedule: Schedule, suite: int, time_ms: int, ext: bytes = b"", version: int = 1,
                 kind: int = 1, flags: int = 0, zeros: bytes = bytes(18)) -> bytes:
    key = schedule.key
    plain = struct.pack(">BBBBQH", version, kind, suite, flags, time_ms, len(ext)) + zeros
    aead = ChaCha20Poly1305(schedule.hello)
    sealed = aead.encrypt(nonce(0), plain, b"bondway1" + schedule.salt_c + key.id)
    flight = schedule.salt_c + key.id + sealed
    return flight + aead.encrypt(nonce(1), ext, sealed) if ext else flight


@dataclass
class Reply:
    type: int
    code: int
    time_ms: int
    probe_port: int
    token: Optional[bytes] = None


def reply_flight(schedule: Schedule, salt_s: bytes, reply: Reply) -> bytes:
    """What a concentrator would send."""
    key, _ = schedule.reply_keys(salt_s)
    ext = tlv(TOKEN_TLV, reply.token) if reply.token else b""
    plain = struct.pack(">BBBBQHH", 1, reply.type, reply.code, 0, reply.time_ms, len(ext),
                        reply.probe_port) + bytes(16)
    aead = ChaCha20Poly1305(key)
    sealed = aead.encrypt(nonce(0), plain, b"bondway1 reply" + schedule.salt_c + salt_s)
    flight = salt_s + sealed
    return flight + aead.encrypt(nonce(1), ext, sealed) if ext else flight


def seal_record(aead: Union[ChaCha20Poly1305, AESGCM], counter: int, kind: int,
                payload: bytes) -> bytes:
    head = struct.pack(">H", 1 + len(payload))
    return head + aead.encrypt(nonce(counter), bytes([kind]) + payload, head)


def open_payload(mode: int, host: str, port: int) -> bytes:
    address = ipaddress.ip_address(host)
    return struct.pack(">BBH", mode, address.version, port) + address.packed


def make_token(k_boot: bytes, key_id: bytes, expiry_ms: int) -> bytes:
    expiry = struct.pack(">Q", expiry_ms)
    return expiry + hmac.new(k_boot, b"bondway1 token" + key_id + expiry,
                             hashlib.sha256).digest()[:16]


def probe_key(key: Key, direction: bytes) -> bytes:
    return expand(extract(b"bondway1 probe", key.secret), direction, 32)


def probe_request(key: Key, probe_nonce: bytes, seq: int, time_us: int, uplink: int) -> bytes:
    plain = struct.pack(">QQB", seq, time_us, uplink) + bytes(15)
    head = key.id + probe_nonce
    return head + ChaCha20Poly1305(probe_key(key, b"c2s")).encrypt(probe_nonce, plain, head)


def open_probe_answer(key: Key, packet: bytes) -> Tuple[int, int, int, int]:
    """seq, time_us, uplink, the concentrator's time_ms."""
    head = packet[:20]
    plain = ChaCha20Poly1305(probe_key(key, b"s2c")).decrypt(head[8:], packet[20:], head)
    seq, time_us, uplink, zeros, server = struct.unpack(">QQB7sQ", plain)
    assert zeros == bytes(7)
    return seq, time_us, uplink, server


class ProtocolError(Exception):
    """The concentrator sent what it may not."""


class End:
    """One end of one connection. What it sends goes by `sealer`, what comes by `opener`. Blocking, with
    a deadline for each step."""

    sealer: Union[ChaCha20Poly1305, AESGCM]
    opener: Union[ChaCha20Poly1305, AESGCM]

    def begin(self, sock: socket.socket, timeout: float) -> None:
        self.sock = sock
        self.sock.settimeout(timeout)
        self.buffer = b""
        self.sent = self.received = 0

    def __enter__(self: E) -> E:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def read_exactly(self, n: int) -> bytes:
        while len(self.buffer) < n:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError(f"end of stream after {len(self.buffer)} of {n} bytes")
            self.buffer += more
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def seal(self, kind: int, payload: bytes = b"") -> bytes:
        out = seal_record(self.sealer, self.sent, kind, payload)
        self.sent += 1
        return out

    def send(self, kind: int, payload: bytes = b"") -> None:
        self.sock.sendall(self.seal(kind, payload))

    def read_record(self) -> Tuple[int, bytes]:
        head = self.read_exactly(2)
        length, = struct.unpack(">H", head)
        if not 1 <= length <= RECORD_MAX:
            raise ProtocolError(f"record of {length} bytes")
        try:
            text = self.opener.decrypt(nonce(self.received), self.read_exactly(length + 16), head)
        except InvalidTag as error:
            raise ProtocolError("a record that does not open") from error
        self.received += 1
        return text[0], text[1:]

    def send_data(self, data: bytes) -> None:
        for at in range(0, len(data), RECORD_MAX - 1):
            self.send(DATA, data[at:at + RECORD_MAX - 1])

    def read_data(self, n: int) -> bytes:
        out = b""
        while len(out) < n:
            kind, payload = self.read_record()
            if kind != DATA:
                raise ProtocolError(f"record {kind} where DATA must come")
            out += payload
        return out

    def read_to_fin(self) -> bytes:
        out = b""
        while True:
            kind, payload = self.read_record()
            if kind == FIN:
                return out
            if kind != DATA:
                raise ProtocolError(f"record {kind} where DATA or FIN must come")
            out += payload


class Gateway(End):
    """A gateway's."""

    def __init__(self, address: Tuple[str, int], key: Key, suite: int = CHACHA20_POLY1305,
                 mptcp: bool = True, timeout: float = 5, source: str = "") -> None:
        self.key, self.suite, self.address = key, suite, address
        self.timeout, self.mptcp, self.source = timeout, mptcp, source
        self.offset_ms = 0
        self._connect()

    def _connect(self) -> None:
        family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        proto = IPPROTO_MPTCP if self.mptcp else 0
        self.begin(socket.socket(family, socket.SOCK_STREAM, proto), self.timeout)
        if self.source:
            self.sock.bind((self.source, 0))
        self.sock.connect(self.address)
        self.schedule = Schedule(self.key, os.urandom(32))
        # Also before the reply: the gateway's direction needs its own salt only.
        self.sealer = cipher(self.suite, self.schedule.c2s)

    def now_ms(self) -> int:
        return int(time.time() * 1000) + self.offset_ms

    def flight(self, token: Optional[bytes] = None, **fields: int) -> bytes:
        ext = tlv(TOKEN_TLV, token) if token else b""
        return hello_flight(self.schedule, fields.pop("suite", self.suite),
                            fields.pop("time_ms", self.now_ms()), ext, **fields)

    def read_reply(self) -> Reply:
        fixed = self.read_exactly(80)
        salt_s, sealed = fixed[:32], fixed[32:]
        key, s2c = self.schedule.reply_keys(salt_s)
        aead = ChaCha20Poly1305(key)
        plain = aead.decrypt(nonce(0), sealed, b"bondway1 reply" + self.schedule.salt_c + salt_s)
        version, kind, code, flags, time_ms, ext_len, port = struct.unpack(">BBBBQHH", plain[:16])
        if version != 1 or flags != 0 or plain[16:] != bytes(16):
            raise ProtocolError(f"bad reply {plain.hex()}")
        token = None
        if ext_len:
            ext = aead.decrypt(nonce(1), self.read_exactly(ext_len + 16), sealed)
            token = dict(parse_tlvs(ext)).get(TOKEN_TLV)
        self.opener = cipher(self.suite, s2c)
        return Reply(kind, code, time_ms, port, token)

    def greet(self, token: Optional[bytes] = None, behind: bytes = b"", **fields: int) -> Reply:
        """One HELLO and what it is answered; behind: bytes sent in the same flight."""
        self.sock.sendall(self.flight(token, **fields) + behind)
        return self.read_reply()

    def welcome(self, **fields: int) -> Reply:
        """As a gateway does it: on a CHALLENGE take the clock, and dial once more."""
        reply = self.greet(**fields)
        if reply.type == CHALLENGE:
            self.offset_ms += reply.time_ms - self.now_ms()
            self.sock.close()
            self._connect()
            reply = self.greet(reply.token, **fields)
        return reply

    def open(self, host: str, port: int, mode: int = SEALED, behind: bytes = b"") -> int:
        """OPEN, and the code of OPENED."""
        self.sock.sendall(self.seal(OPEN, open_payload(mode, host, port)) + behind)
        kind, payload = self.read_record()
        if kind != OPENED or len(payload) != 1:
            raise ProtocolError(f"record {kind} {payload!r} where OPENED must come")
        return payload[0]


class Concentrator(End):
    """A concentrator's, of a connection that a gateway has made."""

    def __init__(self, sock: socket.socket, key: Key, timeout: float = 5) -> None:
        self.key = key
        self.begin(sock, timeout)

    def read_hello(self) -> Optional[bytes]:
        """Its token."""
        self.hello = self.read_exactly(88)
        self.schedule = Schedule(self.key, self.hello[:32])
        aead, sealed = ChaCha20Poly1305(self.schedule.hello), self.hello[40:]
        plain = aead.decrypt(nonce(0), sealed, b"bondway1" + self.hello[:40])
        version, kind, suite, flags, self.time_ms, ext_len = struct.unpack(">BBBBQH", plain[:14])
        if (version, kind, flags) != (1, 1, 0) or plain[14:] != bytes(18):
            raise ProtocolError(f"bad hello {plain.hex()}")
        self.suite = suite
        self.opener = cipher(suite, self.schedule.c2s)
        if not ext_len:
            return None
        ext = aead.decrypt(nonce(1), self.read_exactly(ext_len + 16), sealed)
        return dict(parse_tlvs(ext)).get(TOKEN_TLV)

    def reply(self, kind: int, code: int = 0, token: Optional[bytes] = None) -> bytes:
        """Records that follow are sealed for it."""
        salt_s = os.urandom(32)
        self.sealer = cipher(self.suite, self.schedule.reply_keys(salt_s)[1])
        return reply_flight(self.schedule, salt_s,
                            Reply(kind, code, int(time.time() * 1000), 0, token))

    def read_open(self) -> Tuple[int, str, int]:
        """Mode, address and port of what it asks for."""
        kind, payload = self.read_record()
        if kind != OPEN:
            raise ProtocolError(f"record {kind} where OPEN must come")
        mode, family, port = struct.unpack(">BBH", payload[:4])
        return mode, str(ipaddress.ip_address(payload[4:20 if family == 6 else 8])), port
