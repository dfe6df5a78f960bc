//! Kernel TLS: after the handshake the kernel seals what is sent, so that `sendfile` takes locked pages to the client over TLS
//! as it does in cleartext. What is received is opened here, as on every connection.
//!
//! 1. `probe`: what this kernel can do, found out once, at start;
//! 2. `crypto_info`: a key as the kernel takes it;
//! 3. `socket`: the system calls.
//!
//! This file is one connection's sending. The kernel counts and cuts records itself; alerts and key updates are given to it as records
//! of their own kind. A kernel that cannot change keys (before 6.14) cannot answer a client that wants ours changed, nor seal for
//! ever: such a connection ends after the response in hand, with a farewell, and the client makes another.

mod crypto_info;
mod probe;
mod socket;

use std::io;
use std::os::fd::BorrowedFd;

use rustix::net::sockopt;
use rustls::ConnectionTrafficSecrets;

pub use crypto_info::Cipher;
pub use probe::{KernelTls, NoKernelTls};

use self::crypto_info::CryptoInfo;
use super::record::{ContentType, PLAINTEXT_BYTES_MAX};
use super::sealer::SealError;
use crate::limits::KERNEL_RECORDS_KEPT;
use crate::socket_options::unacknowledged_bytes;
use crate::stats::TlsVersion;

/// How many times it is tried to read the two halves of a position without an acknowledgement in between.
const POSITION_TRIES: usize = 4;

/// Bytes of an alert.
const ALERT_BYTES: usize = 2;

/// The sending of a connection whose records the kernel seals.
pub struct KernelSealer {
    can_rekey: bool,
    version: TlsVersion,
    cipher: Cipher,
    /// No fewer than the kernel has sealed with the present key.
    records: u64,
    records_max: u64,
    written: Written,
}

/// What was given to the kernel, to tell whether all of it has reached TCP.
struct Written {
    /// What records are longer than their content.
    overhead_bytes: u64,
    /// Where TCP stood when the kernel began to seal.
    began_at: u64,
    /// What it was given since.
    content_bytes: u64,
    /// The number of the present key's first record.
    first_sequence: u64,
    /// Records sealed with earlier keys.
    earlier_records: u64,
}

impl KernelSealer {
    /// Has the kernel seal what is sent on `socket` from now on, the next record being number `sequence`. Everything sealed before
    /// must be with TCP. An error leaves the connection as it was.
    pub fn take_over(
        kernel: KernelTls,
        socket: BorrowedFd<'_>,
        secrets: &ConnectionTrafficSecrets,
        version: TlsVersion,
        sequence: u64,
        records_max: u64,
    ) -> io::Result<Self> {
        let info = CryptoInfo::new(secrets, version, sequence)
            .filter(|info| kernel.seals(info.cipher(), version))
            .ok_or(io::ErrorKind::Unsupported)?;
        let began_at = position(socket)?.ok_or(io::ErrorKind::ResourceBusy)?;
        socket::attach(socket)?;
        socket::set_sending_key(socket, info.bytes())?;
        let written = Written {
            overhead_bytes: info.overhead_bytes(),
            began_at,
            content_bytes: 0,
            first_sequence: sequence,
            earlier_records: 0,
        };
        let (can_rekey, cipher) = (kernel.can_rekey(), info.cipher());
        Ok(Self { can_rekey, version, cipher, records: sequence, records_max, written })
    }

    /// How many more records the key may seal, at least.
    pub fn records_left(&self) -> u64 {
        self.records_max.saturating_sub(self.records)
    }

    /// Whether the kernel takes another key.
    pub fn can_change_key(&self) -> bool {
        self.can_rekey && self.version == TlsVersion::Tls13
    }

    /// Whether the key has sealed what it may: what it may yet is for a key update, or a farewell.
    pub fn is_key_due(&self) -> bool {
        self.records_left() <= KERNEL_RECORDS_KEPT
    }

    /// The kernel has taken so much data.
    pub fn on_sent(&mut self, content_bytes: usize) {
        // It may begin a record with every call, and end one where its pages do not fit.
        self.records += content_bytes.div_ceil(PLAINTEXT_BYTES_MAX) as u64 + 1;
        self.written.content_bytes += content_bytes as u64;
    }

    /// Sends `alerts`, which follow each other; returns how many bytes of them are sent.
    pub fn send_alerts(&mut self, socket: BorrowedFd<'_>, alerts: &[u8]) -> io::Result<usize> {
        let mut sent_bytes = 0;
        for alert in alerts.chunks_exact(ALERT_BYTES) {
            if self.records_left() == 0 || !self.send_record(socket, ContentType::Alert, alert)? {
                break;
            }
            sent_bytes += alert.len();
        }
        Ok(sent_bytes)
    }

    /// Sends a record that holds no data; false when the socket's buffer is full.
    pub fn send_record(
        &mut self,
        socket: BorrowedFd<'_>,
        kind: ContentType,
        content: &[u8],
    ) -> io::Result<bool> {
        let is_sent = socket::send_record(socket, kind as u8, content)?;
        if is_sent {
            self.on_sent(content.len());
        }
        Ok(is_sent)
    }

    /// Gives the kernel the next key, after it was announced.
    pub fn change_key(
        &mut self,
        socket: BorrowedFd<'_>,
        secrets: &ConnectionTrafficSecrets,
        sequence: u64,
    ) -> io::Result<()> {
        let info = CryptoInfo::new(secrets, self.version, sequence).ok_or(SealError::Refused);
        let info = info.map_err(io::Error::other)?;
        let sealed_records = socket::next_sequence(socket, info.cipher())? - self.written.first_sequence;
        socket::set_sending_key(socket, info.bytes())?;
        self.written.earlier_records += sealed_records;
        self.written.first_sequence = sequence;
        self.records = sequence;
        Ok(())
    }

    /// Whether all that the kernel took has reached TCP. It keeps the end of a record that did not fit, and would lose it if our
    /// side were shut now. An error where it never will: the client has reset the connection, or the kernel has given it up.
    pub fn is_all_with_tcp(&self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let written = &self.written;
        let sequence = socket::next_sequence(socket, self.cipher)?;
        let records = written.earlier_records + sequence.saturating_sub(written.first_sequence);
        let end = written.began_at + written.content_bytes + records * written.overhead_bytes;
        let is_all = position(socket)?.is_some_and(|now_at| now_at >= end);
        if !is_all {
            // A socket that has failed always counts as writable: waiting for room would be waiting for nothing.
            sockopt::socket_error(socket)??;
        }
        Ok(is_all)
    }
}

/// How many bytes TCP was given since the connection began: what is acknowledged, and what is not yet. `None`: acknowledgements come
/// too fast to tell now.
fn position(socket: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    for _ in 0..POSITION_TRIES {
        let acknowledged = socket::acknowledged_bytes(socket)?;
        let position = acknowledged + u64::from(unacknowledged_bytes(socket));
        if socket::acknowledged_bytes(socket)? == acknowledged {
            return Ok(Some(position));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    #[test]
    fn where_tcp_stands_is_known_until_the_client_resets_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut ours, _) = listener.accept().unwrap();
        let began_at = position(ours.as_fd()).unwrap().unwrap();
        ours.write_all(&[1; 5000]).unwrap();
        client.read_exact(&mut [0; 5000]).unwrap();
        assert_eq!(position(ours.as_fd()).unwrap(), Some(began_at + 5000));
        sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        drop(client);
        ours.read_exact(&mut [0]).unwrap_err();
        assert_eq!(position(ours.as_fd()).unwrap_err().kind(), io::ErrorKind::NotConnected);
    }
}
