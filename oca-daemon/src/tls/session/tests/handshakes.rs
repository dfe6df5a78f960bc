//! What a session says and keeps before its handshake is done, and what it gives a client to come back with.

use super::*;
use crate::limits::{HANDSHAKE_BYTES_MAX, HANDSHAKE_RECORDS_MAX};

/// What a session says to bytes that a client starts with.
fn told_at_start(bytes: &[u8]) -> Vec<u8> {
    let mut session = Session::new(server_settings(), Arc::default()).unwrap();
    let result = session.receive(bytes, &mut Vec::new());
    assert!(matches!(result, Err(SessionError::Handshake(_))), "{result:?}");
    assert_eq!(session.receive(b"more", &mut Vec::new()).unwrap(), Received::Ended);
    session.say_goodbye();
    session.pending().to_vec()
}

#[test]
fn what_is_no_handshake_is_answered_with_an_alert() {
    let decode_error = [21, 3, 3, 0, 2, 2, 50];
    assert_eq!(told_at_start(b"GET / HTTP/1.1\r\n\r\n"), decode_error);
    assert_eq!(told_at_start(&[22, 3, 1, 255, 255]), decode_error);
    assert_eq!(told_at_start(&[22, 4, 1, 0, 1, 0]), decode_error);
    assert_eq!(told_at_start(&[23, 3, 3, 0, 1, 0]), [21, 3, 3, 0, 2, 2, 10]);
}

#[test]
fn a_hello_that_never_ends_is_not_kept_for_ever_and_told_so() {
    let mut session = Session::new(server_settings(), Arc::default()).unwrap();
    // One message of 16 MiB, in records of 1 KiB.
    let mut record = vec![22, 3, 1, 4, 0];
    record.extend([1, 0xff, 0xff, 0xff]);
    record.resize(5 + (1 << 10), 0);
    let mut sent_bytes = 0;
    while let Ok(received) = session.receive(&record, &mut Vec::new()) {
        assert_eq!(received, Received::Open);
        sent_bytes += record.len();
        assert!(sent_bytes <= HANDSHAKE_BYTES_MAX + record.len());
        record.splice(5..9, [0; 4]);
    }
    assert_eq!(session.pending(), [21, 3, 3, 0, 2, 2, 50]);
}

#[test]
fn an_alert_is_not_answered() {
    assert!(told_at_start(&[21, 3, 1, 0, 2, 2, 40]).is_empty());
}

/// rustls has no alert for this one.
#[test]
fn a_hello_that_is_broken_into_by_something_else_is_told_so() {
    let mut session = Session::new(server_settings(), Arc::default()).unwrap();
    let half = [&[22, 3, 1, 0, 10][..], &hello(TLS13)[5..15]].concat();
    session.receive(&half, &mut Vec::new()).unwrap();
    session.receive(&[23, 3, 3, 0, 1, 0], &mut Vec::new()).unwrap_err();
    assert_eq!(session.pending(), [21, 3, 3, 0, 2, 2, 10]);
}

#[test]
fn a_client_whose_early_data_is_refused_is_served_nevertheless() {
    let mut client = ClientConfig::clone(&client_settings(TLS13));
    client.enable_early_data = true;
    let client = Arc::new(client);
    // Another server, which takes early data, gives the ticket.
    let mut other = settings_without_tickets();
    other.max_early_data_size = 16_384;
    let mut first = Pair::connect_with(Arc::clone(&client), Arc::new(other), 1 << 16);
    first.send(&[b"answer"], 1 << 16);

    let mut connection = ClientConnection::new(Arc::clone(&client), "localhost".try_into().unwrap()).unwrap();
    for length in [2000, 1, 500, 6000, 7000] {
        connection.early_data().expect("the ticket allows it").write_all(&noise(length)).unwrap();
    }
    let server = Session::new(server_settings(), Arc::default()).unwrap();
    let mut pair = Pair { client: connection, server, inbox: Vec::new() };
    while pair.client.is_handshaking() || pair.server.is_handshaking() {
        pair.client_speaks(4096).unwrap();
        pair.server_speaks();
    }
    assert!(!pair.client.is_early_data_accepted() && pair.inbox.is_empty());
    pair.client.writer().write_all(b"GET").unwrap();
    pair.client_speaks(4096).unwrap();
    assert_eq!(pair.inbox, b"GET");

    // Our own tickets allow none.
    assert_eq!(pair.send(&[b"answer"], 1 << 16), b"answer");
    let mut connection = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
    assert!(connection.early_data().is_none());
}

/// A session keeps its secret when it is resumed in TLS 1.2, and would outlive the key of its first ticket.
#[test]
fn a_session_of_tls_1_2_that_is_resumed_gets_no_new_ticket() {
    for suite in [TLS12, TLS13] {
        let (client, server) = (client_settings(suite), server_settings());
        for round in 0..4 {
            let connection =
                ClientConnection::new(Arc::clone(&client), "localhost".try_into().unwrap()).unwrap();
            let session = Session::new(Arc::clone(&server), Arc::default()).unwrap();
            let mut pair = Pair { client: connection, server: session, inbox: Vec::new() };
            let mut tickets = 0;
            while pair.client.is_handshaking() || pair.server.is_handshaking() {
                pair.client_speaks(1 << 16).unwrap();
                tickets += tickets_of_tls12(pair.server.pending());
                pair.server_speaks();
            }
            assert_eq!(pair.server.is_resumed(), round > 0);
            let expected = if suite == TLS13 { (2, 0) } else { (0, usize::from(round == 0)) };
            assert_eq!((pair.client.tls13_tickets_received() as usize, tickets), expected, "round {round}");
        }
    }
}

/// How many tickets, but empty ones, there are in records that are not sealed.
fn tickets_of_tls12(mut records: &[u8]) -> usize {
    const NEW_SESSION_TICKET: u8 = 4;
    const EMPTY_BYTES: usize = 4 + 4 + 2;
    let mut tickets = 0;
    while let Some(header) = records.first_chunk::<HEADER_BYTES>() {
        let body_bytes = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let body = &records[HEADER_BYTES..][..body_bytes];
        if header[0] == ContentType::Handshake as u8
            && body[0] == NEW_SESSION_TICKET
            && body_bytes > EMPTY_BYTES
        {
            tickets += 1;
        }
        records = &records[HEADER_BYTES + body_bytes..];
    }
    tickets
}

/// rustls passes by what it cannot open where a hello has announced early data, and looks at all of it again with each record.
#[test]
fn records_that_say_nothing_after_a_hello_with_early_data_end_the_handshake() {
    let mut session = Session::new(server_settings(), Arc::default()).unwrap();
    session.receive(&with_early_data(hello(TLS13)), &mut Vec::new()).unwrap();
    let empty = RecordHeader::bytes(ContentType::ApplicationData, 0);
    let taken = (0..20_000).take_while(|_| session.receive(&empty, &mut Vec::new()).is_ok()).count();
    assert!(taken <= HANDSHAKE_RECORDS_MAX as usize, "{taken} records");
}

/// A hello of TLS 1.3 that announces early data (RFC 8446, section 4.2.10).
fn with_early_data(mut hello: Vec<u8>) -> Vec<u8> {
    let mut extensions = HEADER_BYTES + 4 + 2 + 32;
    extensions += 1 + usize::from(hello[extensions]);
    extensions += 2 + usize::from(u16::from_be_bytes([hello[extensions], hello[extensions + 1]]));
    extensions += 1 + usize::from(hello[extensions]);
    hello.extend([0, 42, 0, 0]);
    for length in [3, HEADER_BYTES + 2, extensions] {
        let longer = u16::from_be_bytes([hello[length], hello[length + 1]]) + 4;
        hello[length..length + 2].copy_from_slice(&longer.to_be_bytes());
    }
    hello
}

/// A client's hello in a record of its own.
pub(super) fn hello(suite: SupportedCipherSuite) -> Vec<u8> {
    let mut client = ClientConnection::new(client_settings(suite), "localhost".try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}
