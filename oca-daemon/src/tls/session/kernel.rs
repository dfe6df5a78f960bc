//! A session whose records the kernel seals: what is pending then are alerts as they are, each to be sent as a record of its own.

use std::io;
use std::os::fd::BorrowedFd;

use super::{Session, Stage};
use crate::stats::RecordLayer;
use crate::tls::control::OUR_KEY_UPDATE;
use crate::tls::kernel::{Cipher, KernelSealer, KernelTls};
use crate::tls::record::ContentType;
use crate::tls::sealer::SealError;
use crate::tls::traffic::Traffic;

impl Session {
    /// Settles who seals what is sent on `socket`: the kernel, where it can and will. Once, after the handshake and before a
    /// response: `None` while it is too early. Nothing that was sealed here may wait for the socket.
    pub fn choose_record_layer(
        &mut self,
        kernel: Option<KernelTls>,
        socket: BorrowedFd<'_>,
    ) -> Option<RecordLayer> {
        match &mut self.stage {
            Stage::Established(traffic) if self.pending.bytes().is_empty() && !self.has_said_last => {
                Some(traffic.choose_record_layer(kernel, socket))
            }
            _ => None,
        }
    }

    /// Whether the kernel seals.
    pub fn is_sealed_by_kernel(&self) -> bool {
        matches!(&self.stage, Stage::Established(traffic) if traffic.kernel.is_some())
    }

    /// Sends what must go before data: alerts, and a change of the key where one is due. False when the socket's buffer is full.
    pub fn make_way(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        if self.has_said_last {
            return Err(io::Error::other(SealError::Refused));
        }
        if !self.send_alerts(socket)? {
            return Ok(false);
        }
        match &mut self.stage {
            Stage::Established(traffic) => traffic.change_kernel_key(socket),
            _ => Err(io::Error::other(SealError::Refused)),
        }
    }

    /// The kernel has taken so much data.
    pub fn on_kernel_took(&mut self, bytes: usize) {
        if let Some(kernel) = self.kernel() {
            kernel.on_sent(bytes);
        }
    }

    /// Sends the alerts that are pending; false when the socket's buffer is full. After the last of a connection true means that
    /// our side may be shut: all that the kernel took is with TCP.
    pub fn flush_to_kernel(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let is_sent = self.send_alerts(socket)?;
        let has_said_last = self.has_said_last;
        match self.kernel() {
            Some(kernel) if is_sent && has_said_last => kernel.is_all_with_tcp(socket),
            _ => Ok(is_sent),
        }
    }

    fn send_alerts(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let Stage::Established(traffic) = &mut self.stage else { return Ok(true) };
        let Some(kernel) = &mut traffic.kernel else { return Ok(true) };
        let sent_bytes = kernel.send_alerts(socket, self.pending.bytes())?;
        self.pending.sent(sent_bytes);
        Ok(self.pending.bytes().is_empty())
    }

    fn kernel(&mut self) -> Option<&mut KernelSealer> {
        match &mut self.stage {
            Stage::Established(traffic) => traffic.kernel.as_deref_mut(),
            _ => None,
        }
    }
}

impl Traffic {
    fn choose_record_layer(&mut self, kernel: Option<KernelTls>, socket: BorrowedFd<'_>) -> RecordLayer {
        // The secrets go with the question, whatever the answer is.
        let (Some(kernel), Some(secrets)) = (kernel, self.secrets.take()) else { return RecordLayer::User };
        let is_known = Cipher::of(&secrets).is_some_and(|cipher| kernel.seals(cipher, self.version));
        if !is_known || self.key_update_owed {
            return RecordLayer::User;
        }
        let sequence = self.sealer.sequence();
        let taken =
            KernelSealer::take_over(kernel, socket, &secrets, self.version, sequence, self.records_max);
        match taken {
            Ok(kernel) => {
                self.kernel = Some(Box::new(kernel));
                RecordLayer::Kernel
            }
            Err(_) => RecordLayer::Refused,
        }
    }

    /// Where the client has asked for it, or the key is nearly used up: announces a new one with the old, and gives it to the kernel
    /// (RFC 8446 §4.6.3). A kernel that takes none goes on with the old until the response in hand is sent, as it may: a client
    /// cannot tell what was on its way already. False when the socket's buffer is full.
    fn change_kernel_key(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let Some(kernel) = &mut self.kernel else { return Err(io::Error::other(SealError::Refused)) };
        let is_worn_out = kernel.is_key_due();
        let keys = self.keys.as_mut().filter(|_| kernel.can_change_key());
        match keys {
            _ if !is_worn_out && !self.key_update_owed => Ok(true),
            None if is_worn_out => Err(io::Error::other(SealError::WornOut)),
            None => Ok(true),
            Some(keys) => {
                if !kernel.send_record(socket, ContentType::Handshake, &OUR_KEY_UPDATE)? {
                    return Ok(false);
                }
                let (sequence, secrets) =
                    keys.update_tx_secret().map_err(|_| io::Error::other(SealError::Refused))?;
                // Whatever the system call says, it is no word of the client's.
                kernel.change_key(socket, &secrets, sequence).map_err(io::Error::other)?;
                self.key_update_owed = false;
                Ok(true)
            }
        }
    }
}
