//! A client that seals what it is told to.

use aws_lc_rs::aead::{Aad, Nonce};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};

use super::*;
use crate::tls::opener::Opener;
use crate::tls::sealer::Sealer;
use crate::tls::traffic_key::TrafficKey;

/// A client whose records are made by hand.
pub(super) struct RawClient {
    pub(super) server: Session,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    /// A second copy of its key, for records that [`Sealer`] would not make.
    key: TrafficKey,
    sequence: u64,
    pub(super) keys: KernelConnection<ClientConnectionData>,
}

impl RawClient {
    pub(super) fn connect(suite: SupportedCipherSuite) -> Self {
        let mut client =
            UnbufferedClientConnection::new(client_settings(suite), "localhost".try_into().unwrap()).unwrap();
        let mut server = Session::new(server_settings(), Arc::default()).unwrap();
        let mut arrived = Vec::new();
        let mut is_ready = false;
        while !is_ready || server.is_handshaking() {
            let mut outgoing = Vec::new();
            let UnbufferedStatus { discard, state } = client.process_tls_records(&mut arrived);
            match state.unwrap() {
                ConnectionState::EncodeTlsData(mut data) => {
                    let mut room = vec![0; 1 << 14];
                    let length = data.encode(&mut room).unwrap();
                    outgoing.extend_from_slice(&room[..length]);
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(_) => is_ready = true,
                _ => {}
            }
            arrived.drain(..discard);
            server.receive(&outgoing, &mut Vec::new()).unwrap();
            arrived.extend_from_slice(server.pending());
            server.sent(server.pending().len());
        }
        // Tickets of TLS 1.3, which come after the client is done.
        let tickets = arrived.split_off(0);
        let version = server.version().unwrap();
        let (secrets, keys) = client.dangerous_into_kernel_connection().unwrap();
        let key = |secrets| TrafficKey::new(secrets, version).unwrap();
        let mut this = Self {
            server,
            sealer: Sealer::new(key(&secrets.tx.1), secrets.tx.0, u64::MAX),
            opener: Opener::new(key(&secrets.rx.1), secrets.rx.0),
            key: key(&secrets.tx.1),
            sequence: secrets.tx.0,
            keys,
        };
        this.open_all(&tickets);
        this
    }

    pub(super) fn record(&mut self, kind: ContentType, content: &[u8]) -> Vec<u8> {
        let mut record = vec![0; RECORD_BYTES_MAX];
        let length = self.sealer.seal(kind, content, &mut record).unwrap();
        self.sequence += 1;
        record.truncate(length);
        record
    }

    /// A record of TLS 1.3 around any bytes, which should end in a content type and padding.
    pub(super) fn record_of_inner(&mut self, inner: &[u8]) -> Vec<u8> {
        let header = RecordHeader::bytes(ContentType::ApplicationData, inner.len() + 16);
        let mut sealed = inner.to_vec();
        let nonce = Nonce::assume_unique_for_key(self.key.nonce(self.sequence));
        self.key.aead.seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed).unwrap();
        self.sequence += 1;
        [&header[..], &sealed].concat()
    }

    /// Has the session receive; returns what it has read.
    pub(super) fn tell(&mut self, records: &[u8]) -> (Result<Received, SessionError>, Vec<u8>) {
        let mut inbox = Vec::new();
        let result = self.server.receive(records, &mut inbox);
        (result, inbox)
    }

    pub(super) fn open_all(&mut self, mut records: &[u8]) -> Vec<(ContentType, Vec<u8>)> {
        let mut opened = Vec::new();
        while let Some(header) = records.first_chunk() {
            let header = RecordHeader::parse(*header, RECORD_BYTES_MAX).unwrap();
            let (record, rest) = records.split_at(HEADER_BYTES + header.body_bytes);
            let mut content = Vec::new();
            let kind = self.opener.open(header, &record[HEADER_BYTES..], &mut content).unwrap();
            opened.push((kind, content));
            records = rest;
        }
        opened
    }

    /// What the session has for the client.
    pub(super) fn told(&mut self) -> Vec<(ContentType, Vec<u8>)> {
        let records = self.server.pending().to_vec();
        self.server.sent(records.len());
        self.open_all(&records)
    }

    /// That the records end the session with that alert, and with nothing else.
    #[track_caller]
    pub(super) fn is_refused(&mut self, records: &[u8], alert: Alert) {
        let (result, inbox) = self.tell(records);
        assert!(matches!(result, Err(SessionError::Peer(sent)) if sent == alert), "{result:?}");
        assert!(inbox.is_empty());
        self.server.say_goodbye();
        assert_eq!(self.told(), [(ContentType::Alert, alert.bytes().to_vec())]);
        assert_eq!(self.tell(b"more").0.unwrap(), Received::Ended);
        assert_eq!(self.server.seal([&b"data"[..]], &mut [0; 100]), Err(SealError::Refused));
    }
}
