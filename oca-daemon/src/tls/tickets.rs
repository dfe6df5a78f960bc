//! Session tickets: what a client brings back to resume a session without a full handshake (RFC 8446 §4.6.1, RFC 5077).
//!
//! The daemon remembers nothing of a session: a ticket holds it, sealed with a key of ours. All workers share the keys, and a
//! file keeps them, so that tickets are good on every worker and after a restart. A new key seals every six hours; the one before
//! it opens for as long again, and is then forgotten: whoever takes the machine later cannot open what was recorded before. In TLS
//! 1.2 that holds for sessions that ended: a session that is resumed gets a new ticket with its old secret.

mod key_file;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use crate::limits::{TICKET_BYTES_MAX, TICKET_ROTATION};
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
        let keys = stored.into_iter().filter_map(TicketKey::new).map(Arc::new).collect();
        let this = Arc::new(Self { file, keys: ArcSwap::from_pointee(keys) });
        let rotated = this.rotate(now);
        (this, read.and(rotated))
    }

    /// Makes a new key where one is due at `now`, in seconds since 1970, and forgets those that are too old. It writes a file:
    /// not for a worker.
    pub fn rotate(&self, now: u64) -> Result<(), KeyFileError> {
        let mut keys: Vec<Arc<TicketKey>> = self.keys.load().to_vec();
        let before = keys.len();
        keys.retain(|key| key.stored.is_usable(now));
        keys.sort_by_key(|key| std::cmp::Reverse(key.stored.made));
        let has_current = keys.first().is_some_and(|key| key.stored.is_current(now));
        if has_current && keys.len() == before {
            return Ok(());
        }
        if !has_current {
            // Without randomness there is no key, and no ticket: clients shake hands in full.
            keys.splice(0..0, StoredKey::random(now).and_then(TicketKey::new).map(Arc::new));
        }
        let stored: Vec<StoredKey> = keys.iter().map(|key| key.stored.clone()).collect();
        self.keys.store(Arc::new(keys));
        match &self.file {
            Some(file) => key_file::write(file, &stored),
            None => Ok(()),
        }
    }
}

impl StoredKey {
    fn random(now: u64) -> Option<Self> {
        let mut key = Self { made: now, name: [0; _], secret: [0; _] };
        rand::fill(&mut key.name).ok()?;
        rand::fill(&mut key.secret).ok()?;
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
        let aead = RandomizedNonceKey::new(&AES_256_GCM, &stored.secret).ok()?;
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

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.keys.load().first()?.seal(session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let keys = self.keys.load();
        keys.iter().find(|key| ticket.starts_with(&key.stored.name))?.open(ticket)
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
    fn a_file_that_is_none_of_ours_is_replaced_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ticket-keys");
        fs::write(&file, "something else").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let (keys, result) = TicketKeys::load(Some(file.clone()), NOW);
        assert!(matches!(result, Err(KeyFileError::Unreadable(..))), "{result:?}");
        let ticket = keys.encrypt(b"a session").unwrap();
        assert!(TicketKeys::load(Some(file), NOW).0.decrypt(&ticket).is_some());
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
