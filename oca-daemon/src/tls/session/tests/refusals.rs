//! What no client should say, and what it is told.

use rustls::AlertDescription;

use super::*;
use crate::limits::QUIET_RECORDS_MAX;
use crate::tls::opener::Opener;
use crate::tls::sealer::Sealer;
use crate::tls::traffic_key::TrafficKey;

/// A client, and what it says first.
fn refused(suite: SupportedCipherSuite, alert: Alert, make: impl Fn(&mut RawClient) -> Vec<u8>) {
    let mut client = RawClient::connect(suite);
    let records = make(&mut client);
    client.is_refused(&records, alert);
    // Nor does it matter in which parts it comes.
    let mut client = RawClient::connect(suite);
    let records = make(&mut client);
    let result = deliver(&mut client.server, &records, 1, &mut Vec::new());
    assert!(matches!(result, Err(SessionError::Peer(sent)) if sent == alert), "{result:?}");
}

#[test]
fn a_record_that_was_changed_in_any_part_does_not_open() {
    for suite in all_suites() {
        let overhead_bytes =
            if suite.tls13().is_some() { 17 } else { 16 + if is_gcm(suite) { 8 } else { 0 } };
        for place in HEADER_BYTES..HEADER_BYTES + overhead_bytes + 4 {
            let mut client = RawClient::connect(suite);
            let mut record = client.record(ContentType::ApplicationData, b"data");
            record[place] ^= 1;
            client.is_refused(&record, Alert::BadRecordMac);
        }
        // As another type, or with another length.
        if suite.tls13().is_none() {
            refused(suite, Alert::BadRecordMac, |client| {
                let mut record = client.record(ContentType::ApplicationData, b"data");
                record[0] = ContentType::Handshake as u8;
                record
            });
        }
        // A second time, and out of turn.
        let mut client = RawClient::connect(suite);
        let record = client.record(ContentType::ApplicationData, b"data");
        assert_eq!(client.tell(&record).1, b"data");
        client.is_refused(&record, Alert::BadRecordMac);
        let mut client = RawClient::connect(suite);
        client.record(ContentType::ApplicationData, b"data");
        let second = client.record(ContentType::ApplicationData, b"data");
        client.is_refused(&second, Alert::BadRecordMac);
    }
}

#[test]
fn a_record_too_short_to_be_sealed_does_not_open() {
    for suite in all_suites() {
        for length in [0, 1, 15] {
            refused(suite, Alert::BadRecordMac, |_| {
                [&RecordHeader::bytes(ContentType::ApplicationData, length)[..], &vec![0; length]].concat()
            });
        }
    }
}

#[test]
fn a_record_that_is_too_long_is_refused_by_its_header() {
    for (suite, room) in [(TLS13, 256), (TLS12, 2048)] {
        refused(suite, Alert::RecordOverflow, |_| {
            RecordHeader::bytes(ContentType::ApplicationData, PLAINTEXT_BYTES_MAX + room + 1).to_vec()
        });
    }
    let longest = vec![b'x'; PLAINTEXT_BYTES_MAX];
    let mut client = RawClient::connect(TLS13);
    let record = client.record(ContentType::ApplicationData, &longest);
    assert!(client.tell(&record).1 == longest);
    // With padding it may be no longer (RFC 8446 §5.4).
    refused(TLS13, Alert::RecordOverflow, |client| {
        let mut inner = longest.clone();
        inner.extend([ContentType::ApplicationData as u8, 0]);
        client.record_of_inner(&inner)
    });
}

#[test]
fn padding_is_no_content() {
    let mut client = RawClient::connect(TLS13);
    let mut inner = b"data".to_vec();
    inner.push(ContentType::ApplicationData as u8);
    inner.resize(5000, 0);
    let record = client.record_of_inner(&inner);
    let (result, inbox) = client.tell(&record);
    assert_eq!((result.unwrap(), inbox), (Received::Open, b"data".to_vec()));
    // All of it padding.
    refused(TLS13, Alert::UnexpectedMessage, |client| client.record_of_inner(&[0; 100]));
    // Of no known type.
    refused(TLS13, Alert::UnexpectedMessage, |client| client.record_of_inner(b"data\x18"));
}

#[test]
fn what_comes_unsealed_after_the_handshake_is_refused() {
    for kind in [ContentType::ChangeCipherSpec, ContentType::Alert, ContentType::Handshake] {
        refused(TLS13, Alert::UnexpectedMessage, |_| [&RecordHeader::bytes(kind, 1)[..], &[1]].concat());
        refused(TLS12, Alert::BadRecordMac, |_| [&RecordHeader::bytes(kind, 1)[..], &[1]].concat());
    }
    for suite in [TLS13, TLS12] {
        refused(suite, Alert::UnexpectedMessage, |_| b"GET /".to_vec());
    }
    refused(TLS12, Alert::ProtocolVersion, |client| {
        let mut record = client.record(ContentType::ApplicationData, b"data");
        record[2] = 1;
        record
    });
}

#[test]
fn the_version_in_a_record_of_tls_1_3_means_nothing() {
    let mut client = RawClient::connect(TLS13);
    let mut record = client.record(ContentType::ApplicationData, b"data");
    record[1..3].copy_from_slice(&[3, 1]);
    assert_eq!(client.tell(&record).1, b"data");
}

#[test]
fn sealed_messages_that_a_client_may_not_send_are_refused() {
    for (kind, content, alert) in [
        (ContentType::ChangeCipherSpec, &[1][..], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[], Alert::UnexpectedMessage),
        // A hello, a ticket, a certificate, a finished.
        (ContentType::Handshake, &[1, 0, 0, 0], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[4, 0, 0, 0], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[11, 0, 0, 0], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[20, 0, 0, 0], Alert::UnexpectedMessage),
        // Key updates that are none.
        (ContentType::Handshake, &[24, 0, 0, 1, 2], Alert::IllegalParameter),
        (ContentType::Handshake, &[24, 0, 0, 2, 0, 0], Alert::DecodeError),
        (ContentType::Handshake, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0], Alert::UnexpectedMessage),
        (ContentType::Alert, &[], Alert::UnexpectedMessage),
        (ContentType::Alert, &[2], Alert::DecodeError),
        (ContentType::Alert, &[1, 0, 0], Alert::DecodeError),
    ] {
        refused(TLS13, alert, |client| client.record(kind, content));
    }
    for (kind, content, alert) in [
        (ContentType::ChangeCipherSpec, &[1][..], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[20, 0, 0, 0], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[24, 0, 0, 1, 0], Alert::UnexpectedMessage),
        (ContentType::Alert, &[3, 0x28], Alert::IllegalParameter),
    ] {
        refused(TLS12, alert, |client| client.record(kind, content));
    }
}

#[test]
fn nothing_comes_between_the_parts_of_a_key_update() {
    let mut client = RawClient::connect(TLS13);
    let part = client.record(ContentType::Handshake, &[24, 0, 0]);
    assert_eq!(client.tell(&part).0.unwrap(), Received::Open);
    let data = client.record(ContentType::ApplicationData, b"data");
    let (result, _) = client.tell(&data);
    assert!(matches!(result, Err(SessionError::Peer(Alert::UnexpectedMessage))));
}

#[test]
fn after_its_key_update_a_client_is_read_by_its_next_key_alone() {
    let mut client = RawClient::connect(TLS13);
    let update = client.record(ContentType::Handshake, &[24, 0, 0, 1, 0]);
    let (sequence, secrets) = client.keys.update_tx_secret().unwrap();
    let old = client.record(ContentType::ApplicationData, b"old");
    client.sealer = Sealer::new(TrafficKey::new(&secrets, TlsVersion::Tls13).unwrap(), sequence, u64::MAX);
    let new = client.record(ContentType::ApplicationData, b"new");
    assert_eq!(client.tell(&[update, new].concat()).1, b"new");
    assert!(client.server.pending().is_empty());
    client.is_refused(&old, Alert::BadRecordMac);
}

#[test]
fn key_updates_that_ask_for_ours_are_answered_at_once_and_by_one_more_where_nothing_is_read() {
    let mut client = RawClient::connect(TLS13);
    let ask = |client: &mut RawClient| {
        let update = client.record(ContentType::Handshake, &[24, 0, 0, 1, 1]);
        let (sequence, secrets) = client.keys.update_tx_secret().unwrap();
        client.sealer =
            Sealer::new(TrafficKey::new(&secrets, TlsVersion::Tls13).unwrap(), sequence, u64::MAX);
        assert_eq!(client.tell(&update).0.unwrap(), Received::Open);
    };
    let update_bytes = HEADER_BYTES + 5 + 1 + 16;
    let take_update = |client: &mut RawClient, record: &[u8]| {
        let opened = client.open_all(record);
        assert_eq!(opened, [(ContentType::Handshake, vec![24, 0, 0, 1, 0])]);
        let (sequence, secrets) = client.keys.update_rx_secret().unwrap();
        client.opener = Opener::new(TrafficKey::new(&secrets, TlsVersion::Tls13).unwrap(), sequence);
    };
    for _ in 0..3 {
        ask(&mut client);
    }
    let answers = client.server.pending().to_vec();
    assert_eq!(answers.len(), 3 * update_bytes);
    answers.chunks(update_bytes).for_each(|answer| take_update(&mut client, answer));
    client.server.sent(answers.len());
    // A client that reads nothing: data, and more than is kept of answers.
    client.server.keep(&[0; 5000]);
    for _ in 0..3 {
        ask(&mut client);
    }
    assert_eq!(client.server.pending().len(), 5000);
    client.server.sent(5000);
    let mut buffer = vec![0; 1000];
    let (_, written) = client.server.seal([&b"data"[..]], &mut buffer).unwrap();
    take_update(&mut client, &buffer[..update_bytes]);
    let opened = client.open_all(&buffer[update_bytes..written]);
    assert_eq!(opened, [(ContentType::ApplicationData, b"data".to_vec())]);
}

#[test]
fn a_client_that_sends_nothing_for_ever_is_stopped() {
    for suite in [TLS13, TLS12] {
        let mut client = RawClient::connect(suite);
        for _ in 0..QUIET_RECORDS_MAX {
            let empty = client.record(ContentType::ApplicationData, b"");
            assert_eq!(client.tell(&empty).0.unwrap(), Received::Open);
        }
        let empty = client.record(ContentType::ApplicationData, b"");
        client.is_refused(&empty, Alert::UnexpectedMessage);
    }
}

#[test]
fn an_alert_ends_a_session_without_an_answer() {
    for suite in [TLS13, TLS12] {
        let mut client = RawClient::connect(suite);
        let alert = client.record(ContentType::Alert, &[2, 40]);
        let (result, _) = client.tell(&alert);
        assert!(matches!(result, Err(SessionError::Told(40))), "{result:?}");
        client.server.say_goodbye();
        assert_eq!(client.told(), []);
    }
}

#[test]
fn a_second_handshake_is_declined_and_the_session_goes_on() {
    let mut client = RawClient::connect(TLS12);
    let hello = client.record(ContentType::Handshake, &[1, 0, 0, 2, 3, 3]);
    assert_eq!(client.tell(&hello).0.unwrap(), Received::Open);
    assert_eq!(client.told(), [(ContentType::Alert, vec![1, 100])]);
    let data = client.record(ContentType::ApplicationData, b"data");
    assert_eq!(client.tell(&data).1, b"data");
    let again = client.record(ContentType::Handshake, &[1, 0, 0, 2, 3, 3]);
    client.is_refused(&again, Alert::UnexpectedMessage);
}

#[test]
fn more_than_a_request_may_have_is_not_taken_in() {
    let mut pair = Pair::connect(TLS13, 1 << 16);
    pair.client.set_buffer_limit(None);
    pair.client.writer().write_all(&noise(2 * INBOX_BYTES_MAX)).unwrap();
    let result = pair.client_speaks(4096);
    assert!(matches!(result, Err(SessionError::TooMany)), "{result:?}");
    assert!(pair.inbox.len() <= INBOX_BYTES_MAX);
    pair.server.say_goodbye();
    pair.server_speaks();
    assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn a_client_of_rustls_understands_why_it_was_refused() {
    let mut pair = Pair::connect(TLS13, 1 << 16);
    let mut bytes = Vec::new();
    pair.client.writer().write_all(b"GET").unwrap();
    pair.client.write_tls(&mut bytes).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    assert!(pair.server.receive(&bytes, &mut pair.inbox).is_err());
    let told = pair.server.pending().to_vec();
    pair.client.read_tls(&mut told.as_slice()).unwrap();
    assert_eq!(
        pair.client.process_new_packets().unwrap_err(),
        rustls::Error::AlertReceived(AlertDescription::BadRecordMac)
    );
}
