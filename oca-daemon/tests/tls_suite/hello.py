"""A client's hello, field by field, so that each can be what it should not be."""

import os
import struct


def vector(length_bytes, content):
    """A vector with a length of so many bytes before it (RFC 8446, 3.4)."""
    return len(content).to_bytes(length_bytes, "big") + content


def extension(number, content=b""):
    return struct.pack(">H", number) + vector(2, content)


SERVER_NAME = extension(0, vector(2, b"\0" + vector(2, b"localhost")))
GROUPS = extension(10, vector(2, bytes.fromhex("001d0017")))
SIGNATURES = extension(13, vector(2, bytes.fromhex("0403080404010805")))
KEY_SHARE = extension(51, vector(2, bytes.fromhex("001d") + vector(2, os.urandom(31) + b"\x20")))
VERSIONS_13 = extension(43, vector(1, bytes.fromhex("0304")))
EARLY_DATA = extension(42)
GREASE = extension(0x4A4A) + extension(0xDADA, b"\0")
SUITES_13 = bytes.fromhex("13021301")
SUITES_12 = bytes.fromhex("c02bc02fc02cc030")


def hello(
    version=b"\3\3",
    suites=SUITES_13,
    compression=b"\0",
    extensions=SERVER_NAME + GROUPS + SIGNATURES + KEY_SHARE + VERSIONS_13,
    random=None,
    trailing=b"",
):
    """The message, without a record."""
    body = version + (random or os.urandom(32)) + vector(1, os.urandom(32)) + vector(2, suites)
    body += vector(1, compression) + (vector(2, extensions) if extensions is not None else b"") + trailing
    return b"\1" + vector(3, body)


def hello_12(**fields):
    """One that offers TLS 1.2 and nothing newer."""
    fields.setdefault("suites", SUITES_12)
    fields.setdefault("extensions", SERVER_NAME + GROUPS + SIGNATURES)
    return hello(**fields)


def record(kind, content, version=b"\3\1"):
    return bytes([kind]) + version + vector(2, content)


def records(message, fragment_bytes):
    """A handshake message in records of so many bytes."""
    parts = range(0, len(message), fragment_bytes)
    return b"".join(record(22, message[part : part + fragment_bytes]) for part in parts)
