"""Conversations that a TLS server must end, or survive, in the way that the RFCs say. `run.py` has them with a daemon.

Each is a function of a client, and what must come of it: SERVED, CLOSED, HELLO (the server's hello), or the number of an alert.
"""

import struct

import hello as h
from tlslite.constants import KeyUpdateMessageType
from tlslite.messages import Message

SERVED, CLOSED, HELLO = "served", "closed", "server hello"
CLOSE_NOTIFY, UNEXPECTED, BAD_MAC, OVERFLOW = 0, 10, 20, 22
HANDSHAKE_FAILURE, ILLEGAL, DECODE, DECRYPT, VERSION, NO_RENEGOTIATION = 40, 47, 50, 51, 70, 100

CCS, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23

# Before the handshake: bytes, and what answers them.
STARTS = [
    ("HTTP in cleartext", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", DECODE),
    ("a hello of SSL 2", bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0") + bytes(16), DECODE),
    ("a hello of TLS 1.3", h.record(22, h.hello()), HELLO),
    ("a hello of TLS 1.2", h.record(22, h.hello_12()), HELLO),
    ("a hello of TLS 1.1", h.record(22, h.hello_12(version=b"\3\2")), VERSION),
    ("a hello of SSL 3", h.record(22, h.hello_12(version=b"\3\0")), VERSION),
    ("a hello with GREASE everywhere", h.record(22, h.hello(suites=b"\x0a\x0a" + h.SUITES_13, extensions=h.GREASE + h.SERVER_NAME + h.GROUPS + h.SIGNATURES + h.KEY_SHARE + h.extension(43, h.vector(1, b"\x7a\x7a\3\4")))), HELLO),
    ("a hello with unknown extensions", h.record(22, h.hello(extensions=h.extension(0xFF77, bytes(99)) + h.SERVER_NAME + h.GROUPS + h.SIGNATURES + h.KEY_SHARE + h.VERSIONS_13)), HELLO),
    ("an extension twice", h.record(22, h.hello(extensions=h.SERVER_NAME + h.GROUPS + h.GROUPS + h.SIGNATURES + h.KEY_SHARE + h.VERSIONS_13)), (ILLEGAL, DECODE)),
    ("a hello with 12 KiB of padding", h.record(22, h.hello(extensions=h.SERVER_NAME + h.GROUPS + h.SIGNATURES + h.KEY_SHARE + h.VERSIONS_13 + h.extension(21, bytes(12_000)))), HELLO),
    ("a hello of 40 KiB", h.records(h.hello(extensions=h.SERVER_NAME + h.GROUPS + h.SIGNATURES + h.KEY_SHARE + h.VERSIONS_13 + h.extension(21, bytes(40_000))), 16_000), DECODE),
    ("a hello in fragments of 8 bytes", h.records(h.hello(), 8), HELLO),
    ("a hello in fragments of 100 bytes, of TLS 1.2", h.records(h.hello_12(), 100), HELLO),
    ("a hello that something else breaks into", h.record(22, h.hello()[:40]) + h.record(23, b"x") , UNEXPECTED),
    ("no suite in common", h.record(22, h.hello(suites=b"\x13\x99")), HANDSHAKE_FAILURE),
    ("no suite at all", h.record(22, h.hello(suites=b"")), (HANDSHAKE_FAILURE, DECODE, ILLEGAL)),
    ("only suites without forward secrecy", h.record(22, h.hello_12(suites=bytes.fromhex("009c002f0005"))), HANDSHAKE_FAILURE),
    ("compression and no other", h.record(22, h.hello(compression=b"\1")), ILLEGAL),
    ("no group in common", h.record(22, h.hello(extensions=h.SERVER_NAME + h.extension(10, h.vector(2, b"\0\x13")) + h.SIGNATURES + h.extension(51, h.vector(2, b"\0\x13" + h.vector(2, bytes(49)))) + h.VERSIONS_13)), HANDSHAKE_FAILURE),
    ("a key share of the wrong length", h.record(22, h.hello(extensions=h.SERVER_NAME + h.GROUPS + h.SIGNATURES + h.extension(51, h.vector(2, b"\0\x1d" + h.vector(2, bytes(31)))) + h.VERSIONS_13)), (ILLEGAL, DECODE, UNEXPECTED)),
    ("a key share of zeroes", h.record(22, h.hello(extensions=h.SERVER_NAME + h.GROUPS + h.SIGNATURES + h.extension(51, h.vector(2, b"\0\x1d" + h.vector(2, bytes(32)))) + h.VERSIONS_13)), (ILLEGAL, UNEXPECTED, HANDSHAKE_FAILURE)),
    ("no extensions in TLS 1.2", h.record(22, h.hello_12(extensions=None)), (HANDSHAKE_FAILURE, 109, ILLEGAL, HELLO)),
    ("bytes after a hello's extensions", h.record(22, h.hello(trailing=b"\0")), DECODE),
    ("a hello that is shorter than it says", h.record(22, b"\1\0\0\x20" + bytes(32)), DECODE),
    ("a message of 16 MiB is announced", h.record(22, b"\1\xff\xff\xff" + bytes(12_000)) + h.record(22, bytes(12_000)), DECODE),
    ("a record that is longer than may be", b"\x16\3\1\xff\xff" + bytes(100), DECODE),
    ("data first", h.record(23, b"GET /"), UNEXPECTED),
    ("a change of cipher first", h.record(20, b"\1"), UNEXPECTED),
    ("a finish first", h.record(22, b"\x14\0\0\x0c" + bytes(12)), UNEXPECTED),
    ("an empty record first", h.record(22, b"") , None),
    ("an alert first", h.record(21, b"\2\x28"), CLOSED),
    ("two hellos", h.record(22, h.hello()) + h.record(22, h.hello()), HELLO),
    ("early data that nobody can open", h.record(22, h.hello(extensions=h.SERVER_NAME + h.GROUPS + h.SIGNATURES + h.KEY_SHARE + h.VERSIONS_13 + h.EARLY_DATA)) + h.record(23, bytes(500), b"\3\3"), HELLO),
]


def seal(client, kind, content):
    """A record that is sealed as it should be, around anything."""
    for _ in client._recordLayer.sendRecord(Message(kind, bytearray(content))):
        pass


def plain(client, content):
    client.sock.socket.sendall(bytes(content))


def key_update(client, request=1):
    for _ in client.send_keyupdate_request(request):
        pass


def repeat(times, action):
    def act(client):
        for _ in range(times):
            action(client)

    return act


def both(*actions):
    def act(client):
        for action in actions:
            action(client)

    return act


def sealed(kind, content):
    return lambda client: seal(client, kind, content)


def padded(client):
    client._recordLayer.padding_cb = lambda length, kind, most: min(1000, most - length)


REQUESTED = KeyUpdateMessageType.update_requested
NOT_REQUESTED = KeyUpdateMessageType.update_not_requested
HELLO_REQUEST_12 = h.hello_12()

# After the handshake: a version, what is done before a request, and what comes of it.
AFTERWARDS = [
    ("a request", 3, both(), SERVED),
    ("a request", 4, both(), SERVED),
    ("a key update that asks for one", 4, lambda client: key_update(client, REQUESTED), SERVED),
    ("a key update that does not", 4, lambda client: key_update(client, NOT_REQUESTED), SERVED),
    ("twenty key updates", 4, repeat(20, lambda client: key_update(client, REQUESTED)), SERVED),
    ("a flood of key updates", 4, repeat(40, lambda client: key_update(client, REQUESTED)), UNEXPECTED),
    ("a key update of an unknown kind", 4, sealed(HANDSHAKE, b"\x18\0\0\1\2"), ILLEGAL),
    ("a key update that is too long", 4, sealed(HANDSHAKE, b"\x18\0\0\2\0\0"), DECODE),
    ("a key update and more in its record", 4, sealed(HANDSHAKE, b"\x18\0\0\1\0\x18"), UNEXPECTED),
    ("half a key update, and data", 4, both(sealed(HANDSHAKE, b"\x18\0"), sealed(DATA, b"GET")), UNEXPECTED),
    ("a hello in TLS 1.3", 4, sealed(HANDSHAKE, h.hello()), UNEXPECTED),
    ("an empty handshake record", 4, sealed(HANDSHAKE, b""), UNEXPECTED),
    ("a few empty records of data", 4, repeat(5, sealed(DATA, b"")), SERVED),
    ("a few empty records of data", 3, repeat(5, sealed(DATA, b"")), SERVED),
    ("a flood of empty records", 4, repeat(40, sealed(DATA, b"")), UNEXPECTED),
    ("a flood of empty records", 3, repeat(40, sealed(DATA, b"")), UNEXPECTED),
    ("padded records", 4, padded, SERVED),
    ("nothing but padding", 4, sealed(0, b""), UNEXPECTED),
    ("a record of an unknown kind", 4, sealed(25, b"x"), UNEXPECTED),
    ("a record of an unknown kind", 3, sealed(25, b"x"), UNEXPECTED),
    ("more than a record may hold", 4, sealed(DATA, bytes(2**14 + 1)), OVERFLOW),
    ("more than a record may hold", 3, sealed(DATA, bytes(2**14 + 1)), OVERFLOW),
    ("a record that is longer than may be", 4, lambda client: plain(client, b"\x17\3\3\x41\x01"), OVERFLOW),
    ("a record that is longer than may be", 3, lambda client: plain(client, b"\x17\3\3\x48\x01"), OVERFLOW),
    ("a record that nobody sealed", 4, lambda client: plain(client, b"\x17\3\3\0\x28" + bytes(40)), BAD_MAC),
    ("a record that nobody sealed", 3, lambda client: plain(client, b"\x17\3\3\0\x28" + bytes(40)), BAD_MAC),
    ("a record without room for a tag", 4, lambda client: plain(client, b"\x17\3\3\0\x05" + bytes(5)), BAD_MAC),
    ("a change of cipher in cleartext", 4, lambda client: plain(client, b"\x14\3\3\0\1\1"), UNEXPECTED),
    ("a sealed change of cipher", 4, sealed(CCS, b"\1"), UNEXPECTED),
    ("a sealed change of cipher", 3, sealed(CCS, b"\1"), UNEXPECTED),
    ("an alert in cleartext", 4, lambda client: plain(client, b"\x15\3\3\0\2\2\x28"), UNEXPECTED),
    ("HTTP in cleartext", 4, lambda client: plain(client, b"GET / HTTP/1.1\r\n\r\n"), UNEXPECTED),
    ("another version in a record", 3, lambda client: plain(client, b"\x17\3\1\0\x28" + bytes(40)), VERSION),
    ("an empty alert", 4, sealed(ALERT, b""), UNEXPECTED),
    ("half an alert", 4, sealed(ALERT, b"\1"), DECODE),
    ("two alerts in a record", 4, sealed(ALERT, b"\1\x5a\1\x5a"), DECODE),
    ("an alert of an unknown level", 3, sealed(ALERT, b"\3\x5a"), ILLEGAL),
    ("an unknown alert", 4, sealed(ALERT, b"\1\xfa"), CLOSED),
    ("a fatal alert", 4, sealed(ALERT, b"\2\x28"), CLOSED),
    ("a fatal alert", 3, sealed(ALERT, b"\2\x28"), CLOSED),
    ("a warning", 3, sealed(ALERT, b"\1\x5a"), SERVED),
    ("a cancellation", 4, sealed(ALERT, b"\1\x5a"), SERVED),
    ("a flood of warnings", 3, repeat(40, sealed(ALERT, b"\1\x5a")), UNEXPECTED),
    ("a farewell", 4, sealed(ALERT, b"\1\0"), CLOSE_NOTIFY),
    ("a farewell", 3, sealed(ALERT, b"\1\0"), CLOSE_NOTIFY),
    ("another handshake", 3, sealed(HANDSHAKE, HELLO_REQUEST_12), NO_RENEGOTIATION),
    ("another handshake, again", 3, both(sealed(HANDSHAKE, HELLO_REQUEST_12), sealed(HANDSHAKE, HELLO_REQUEST_12)), (NO_RENEGOTIATION, UNEXPECTED)),
    ("a finish", 3, sealed(HANDSHAKE, b"\x14\0\0\x0c" + bytes(12)), UNEXPECTED),
    ("a heartbeat", 3, sealed(24, b"\1" + struct.pack(">H", 16_000) + bytes(19)), UNEXPECTED),
]
