"""Has the conversations of `conversations.py` with the daemon at 127.0.0.1:<port>, and prints what came of each.

    python run.py <port>
"""

import socket
import sys

import conversations as c
from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.errors import TLSError

PATIENCE_SECONDS = 10
ALERTS = {0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow", 40: "handshake_failure", 47: "illegal_parameter", 50: "decode_error", 51: "decrypt_error", 70: "protocol_version", 86: "inappropriate_fallback", 100: "no_renegotiation", 109: "missing_extension"}


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def exactly(connection, length):
    content = b""
    while len(content) < length:
        more = connection.recv(length - len(content))
        if not more:
            return None
        content += more
    return content


def start(port, sent):
    """What answers the first bytes of a client; None where nothing does, but the daemon goes on waiting."""
    with connect(port) as connection:
        connection.sendall(sent)
        connection.settimeout(PATIENCE_SECONDS)
        try:
            header = exactly(connection, 5)
            if header is None:
                return c.CLOSED
            body = exactly(connection, int.from_bytes(header[3:], "big"))
        except ConnectionResetError:
            return "reset"
        if header[0] == 21:
            return body[1]
        return c.HELLO if header[0] == 22 and body[0] == 2 else f"a record of type {header[0]}"


def is_still_open(port, sent):
    with connect(port) as connection:
        connection.sendall(sent)
        connection.settimeout(0.3)
        try:
            return len(connection.recv(1)) > 0
        except TimeoutError:
            return True


def shake_hands(port, version):
    settings = HandshakeSettings()
    settings.minVersion = settings.maxVersion = (3, version)
    client = TLSConnection(connect(port))
    client.handshakeClientCert(serverName="localhost", settings=settings, alpn=[b"http/1.1"])
    return client


def afterwards(port, version, action):
    client = shake_hands(port, version)
    try:
        try:
            action(client)
            client.send(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
        except (ConnectionError, TLSError):
            pass  # What it was told is still to be read.
        return answer(client)
    finally:
        client.sock.socket.close()


def answer(client):
    """The first alert, or the first data; tickets and key updates are read past."""
    try:
        while True:
            header, parser = next(client._recordLayer.recvRecord())
            content = parser.bytes
            if header.type == 21:
                return content[1]
            if header.type == 23:
                return c.SERVED if content.startswith(b"HTTP/1.1 404") else bytes(content[:40])
            if header.type == 22 and content[0] == 24:
                client.session.cl_app_secret, client.session.sr_app_secret = client._recordLayer.calcTLS1_3KeyUpdate_sender(
                    client.session.cipherSuite, client.session.cl_app_secret, client.session.sr_app_secret
                )
    except ConnectionResetError:
        return "reset"
    except (TLSError, OSError):
        return c.CLOSED


def said(outcome):
    return f"alert {ALERTS.get(outcome, outcome)}" if isinstance(outcome, int) else str(outcome)


def judge(name, expected, outcome):
    wanted = expected if isinstance(expected, tuple) else (expected,)
    is_right = outcome in wanted
    print(f"{'ok  ' if is_right else 'FAIL'}  {name:<58} {said(outcome)}" + ("" if is_right else f", not {' or '.join(map(said, wanted))}"))
    return is_right


def main(port):
    results = []
    for name, sent, expected in c.STARTS:
        if expected is None:
            outcome = "still waiting" if is_still_open(port, sent) else c.CLOSED
            results.append(judge(name, "still waiting", outcome))
        else:
            results.append(judge(name, expected, start(port, sent)))
    for name, version, action, expected in c.AFTERWARDS:
        results.append(judge(f"TLS 1.{version - 1}: {name}", expected, afterwards(port, version, action)))
    print(f"{sum(results)} of {len(results)} as they should")
    return all(results)


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1])) else 1)
