//! Session tickets: what a client brings back to resume a session without a full handshake (RFC 8446 §4.6.1, RFC 5077).
//!
//! The daemon remembers nothing of a session: a ticket holds it, sealed with a key of ours. All workers share the keys, and a
//! file keeps them, so that tickets are good on every worker and after a restart. A new key seals every six hours; the one before
//! it opens for as long again, and is then forgotten: whoever takes the machine later cannot open what was recorded before. So that
//! this holds for TLS 1.2 too, where a session keeps its secret when it is resumed, one that is resumed gets no new ticket there:
//! it ends with the key of its first.

mod key_file;

use std::cell::Cell;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use crate::limits::{TICKET_BYTES_MAX, TICKET_KEYS_RETRY, TICKET_ROTATION};
use key_file::StoredKey;

pub use key_file::KeyFileError;

/// The name of a key: random, and at the front of each of its tickets.
const NAME_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;

/// How far ahead of our clock a key may have been made: clocks are stepped back. One from later is of another clock, and might
/// stay for years.
const CLOCK_STEP_SECONDS: u64 = 300;

/// The keys of all workers.
pub struct TicketKeys {
    /// Where they are kept; `None`: they end with the process.
    file: Option<PathBuf>,
    /// The newest, which seals, first.
    keys: ArcSwap<Vec<Arc<TicketKey>>>,
    /// When the file could not be written that should hold them, in seconds since 1970; 0: it holds them.
    failed_to_write: AtomicU64,
}

thread_local! {
    /// Whether a ticket was opened in this turn of rustls.
    static HAS_OPENED: Cell<bool> = const { Cell::new(false) };
}

/// A turn of rustls begins, on this thread. A session of TLS 1.2 is resumed within one, from its ticket to the next; in 1.3 a new
/// ticket, which has a secret of its own, comes in a later one.
pub(super) fn begin_turn() {
    HAS_OPENED.set(false);
}

struct TicketKey {
    stored: StoredKey,
    aead: RandomizedNonceKey,
}

impl TicketKeys {
    /// Takes the keys from `file`, if it has any that may be used at `now`, in seconds since 1970; makes a new one where one is
    /// due. An error says why the next process will not know them; the keys are good nevertheless.
    pub fn load(file: Option<PathBuf>, now: u64) -> (Arc<Self>, Result<(), KeyFileError>) {
        let (stored, read) = match file.as_deref().map(key_file::read) {
            Some(Ok(stored)) => (stored, Ok(())),
            Some(Err(error)) => (Vec::new(), Err(error)),
            None => (Vec::new(), Ok(())),
        };
        // What is none of ours is not written over.
        let file = file.filter(|_| read.as_ref().err().is_none_or(KeyFileError::is_of_ours));
        let keys = stored.into_iter().filter_map(TicketKey::new).map(Arc::new).collect();
        let this =
            Arc::new(Self { file, keys: ArcSwap::from_pointee(keys), failed_to_write: AtomicU64::new(0) });
        let rotated = this.rotate(now);
        (this, read.and(rotated))
    }

    /// Makes a new key where one is due at `now`, in seconds since 1970, and forgets those that are too old. It writes a file, and
    /// writes it again some time after that has failed: not for a worker.
    pub fn rotate(&self, now: u64) -> Result<(), KeyFileError> {
        let mut keys: Vec<Arc<TicketKey>> = self.keys.load().to_vec();
        let before = keys.len();
        keys.retain(|key| key.stored.is_usable(now));
        keys.sort_by_key(|key| std::cmp::Reverse(key.stored.made));
        let has_current = keys.first().is_some_and(|key| key.stored.is_current(now));
        if has_current && keys.len() == before {
            let failed = self.failed_to_write.load(Relaxed);
            let is_due = failed != 0 && now.abs_diff(failed) >= TICKET_KEYS_RETRY.as_secs();
            return if is_due { self.write(&keys, now) } else { Ok(()) };
        }
        if !has_current {
            // Without randomness there is no key, and no ticket: clients shake hands in full.
            keys.splice(0..0, StoredKey::random(now).and_then(TicketKey::new).map(Arc::new));
        }
        self.keys.store(Arc::new(keys.clone()));
        self.write(&keys, now)
    }

    fn write(&self, keys: &[Arc<TicketKey>], now: u64) -> Result<(), KeyFileError> {
        let Some(file) = &self.file else { return Ok(()) };
        let written = key_file::write(file, keys.iter().map(|key| &key.stored));
        self.failed_to_write.store(if written.is_ok() { 0 } else { now.max(1) }, Relaxed);
        written
    }
}

impl StoredKey {
    fn random(now: u64) -> Option<Self> {
        let mut key = Self { made: now, name: [0; _], secret: Zeroizing::new([0; _]) };
        rand::fill(&mut key.name).ok()?;
        rand::fill(key.secret.as_mut_slice()).ok()?;
        Some(key)
    }

    /// Whether it opens tickets.
    fn is_usable(&self, now: u64) -> bool {
        self.made <= now + CLOCK_STEP_SECONDS && now < self.made + 2 * TICKET_ROTATION.as_secs()
    }

    /// Whether it seals tickets.
    fn is_current(&self, now: u64) -> bool {
        self.made <= now + CLOCK_STEP_SECONDS && now < self.made + TICKET_ROTATION.as_secs()
    }
}

impl TicketKey {
    fn new(stored: StoredKey) -> Option<Self> {
        let aead = RandomizedNonceKey::new(&AES_256_GCM, stored.secret.as_slice()).ok()?;
        Some(Self { stored, aead })
    }

    /// A ticket: the key's name, the nonce, the sealed session.
    fn seal(&self, session: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = session.to_vec();
        let nonce = self.aead.seal_in_place_append_tag(Aad::from(self.stored.name), &mut sealed).ok()?;
        Some([&self.stored.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_at_checked(NAME_BYTES)?.1.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut session = sealed.to_vec();
        let length = self.aead.open_in_place(nonce, Aad::from(self.stored.name), &mut session).ok()?.len();
        session.truncate(length);
        Some(session)
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    /// What is promised is kept: the youngest key that could open a ticket does so for longer.
    fn lifetime(&self) -> u32 {
        TICKET_ROTATION.as_secs() as u32
    }

    /// `None`, which is sent as an empty ticket (RFC 5077 §3.3), for a session of TLS 1.2 that was resumed just now.
    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        if HAS_OPENED.get() {
            return None;
        }
        self.keys.load().first()?.seal(session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let keys = self.keys.load();
        let session = keys.iter().find(|key| ticket.starts_with(&key.stored.name))?.open(ticket)?;
        HAS_OPENED.set(true);
        Some(session)
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").field("count", &self.keys.load().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const ROTATION: u64 = TICKET_ROTATION.as_secs();

    fn in_memory(now: u64) -> Arc<TicketKeys> {
        TicketKeys::load(None, now).0
    }

    #[test]
    fn a_ticket_is_opened_by_the_process_after_the_one_that_made_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ticket-keys");
        let (first, result) = TicketKeys::load(Some(file.clone()), NOW);
        result.unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let ticket = first.encrypt(b"a session").unwrap();
        let (second, result) = TicketKeys::load(Some(file), NOW + 60);
        result.unwrap();
        assert_eq!(second.decrypt(&ticket).unwrap(), b"a session");
        assert!(in_memory(NOW).decrypt(&ticket).is_none());
    }

    #[test]
    fn a_ticket_is_good_for_as_long_as_is_promised_and_not_for_twice_that() {
        let keys = in_memory(NOW);
        keys.rotate(NOW + ROTATION - 1).unwrap();
        let ticket = keys.encrypt(b"a session").unwrap();
        let last_promised = NOW + ROTATION - 1 + u64::from(keys.lifetime());
        keys.rotate(last_promised).unwrap();
        assert!(keys.decrypt(&ticket).is_some());
        begin_turn();
        assert_ne!(
            keys.encrypt(b"a session").unwrap()[..NAME_BYTES],
            ticket[..NAME_BYTES],
            "no new key seals"
        );
        keys.rotate(NOW + 2 * ROTATION).unwrap();
        assert!(keys.decrypt(&ticket).is_none());
        assert_eq!(keys.keys.load().len(), 1, "old keys are forgotten");
    }

    #[test]
    fn a_key_from_the_far_future_is_of_a_wrong_clock_and_is_not_kept() {
        let keys = in_memory(NOW);
        let ticket = keys.encrypt(b"a session").unwrap();
        keys.rotate(NOW - CLOCK_STEP_SECONDS).unwrap();
        assert!(keys.decrypt(&ticket).is_some());
        begin_turn();
        keys.rotate(NOW - CLOCK_STEP_SECONDS - 1).unwrap();
        assert!(keys.decrypt(&ticket).is_none() && keys.encrypt(b"a session").is_some());
    }

    #[test]
    fn what_is_no_ticket_of_ours_is_not_opened() {
        let keys = in_memory(NOW);
        let ticket = keys.encrypt(b"a session").unwrap();
        for place in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[place] ^= 1;
            assert!(keys.decrypt(&changed).is_none(), "byte {place}");
            assert!(keys.decrypt(&ticket[..place]).is_none(), "{place} bytes");
        }
        assert!(keys.decrypt(&[ticket, vec![0; TICKET_BYTES_MAX]].concat()).is_none());
    }

    #[test]
    fn keys_that_others_may_have_read_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ticket-keys");
        let (first, _) = TicketKeys::load(Some(file.clone()), NOW);
        let ticket = first.encrypt(b"a session").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let (second, result) = TicketKeys::load(Some(file.clone()), NOW);
        assert!(result.unwrap_err().to_string().contains("0600"));
        assert!(second.decrypt(&ticket).is_none());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert!(TicketKeys::load(Some(file), NOW).1.is_ok());
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_left_alone_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("something"), folder.path().join("link"));
        fs::write(&file, "-----BEGIN PRIVATE KEY-----").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for name in [&file, &link, &folder.path().to_owned()] {
            let (keys, result) = TicketKeys::load(Some(name.clone()), NOW);
            let text = result.unwrap_err().to_string();
            assert!(text.contains("left alone"), "{text}");
            keys.rotate(NOW + ROTATION).unwrap();
            assert!(keys.encrypt(b"a session").is_some());
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "-----BEGIN PRIVATE KEY-----");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_file_of_ours_that_cannot_be_understood_is_replaced_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ticket-keys");
        fs::write(&file, "oca-ticket-keys 2\nof a later version").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let (keys, result) = TicketKeys::load(Some(file.clone()), NOW);
        assert!(matches!(result, Err(KeyFileError::Damaged(_))), "{result:?}");
        let ticket = keys.encrypt(b"a session").unwrap();
        assert!(TicketKeys::load(Some(file), NOW).0.decrypt(&ticket).is_some());
    }

    #[test]
    fn keys_that_could_not_be_written_are_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("later/ticket-keys");
        let (keys, result) = TicketKeys::load(Some(file.clone()), NOW);
        assert!(matches!(result, Err(KeyFileError::Write(..))), "{result:?}");
        let retry = TICKET_KEYS_RETRY.as_secs();
        keys.rotate(NOW + retry - 1).unwrap();
        assert!(keys.rotate(NOW + retry).is_err());
        fs::create_dir(file.parent().unwrap()).unwrap();
        keys.rotate(NOW + 2 * retry - 1).unwrap();
        assert!(!file.exists(), "it was tried too soon");
        keys.rotate(NOW + 2 * retry).unwrap();
        let ticket = keys.encrypt(b"a session").unwrap();
        assert!(TicketKeys::load(Some(file), NOW + 2 * retry).0.decrypt(&ticket).is_some());
    }

    #[test]
    fn without_its_folder_keys_live_as_long_as_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, result) = TicketKeys::load(Some(folder.path().join("absent/ticket-keys")), NOW);
        assert!(matches!(result, Err(KeyFileError::Write(..))), "{result:?}");
        let ticket = keys.encrypt(b"a session").unwrap();
        assert!(keys.decrypt(&ticket).is_some());
    }
}
