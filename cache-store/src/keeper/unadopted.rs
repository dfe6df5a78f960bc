//! How what was published and never adopted goes, where a purge means it. Whoever published it has died, or no daemon
//! answered then: the next reconciliation would find it and have it serve.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use control_client::content::{BundleKey, BundlePath};

use super::Keeper;
use crate::change::ChangeError;
use crate::disk;
use crate::format::path_hash;
use crate::identity::{BundleId, directory_name};
use crate::reader::ReadError;

/// What a purge means.
#[derive(Debug)]
pub(crate) struct Meant {
    path: BundlePath,
    /// The path's hash, where nothing below the path is meant: then names say which files are.
    only: Option<[u8; 16]>,
    /// Until when the answer is waited for.
    pub(crate) deadline: Instant,
}

/// What came of a purge on one volume, of what was never adopted there. By default, nothing: it was not reached.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    /// The bundles whose files have gone, durably, and the bytes of these.
    pub(crate) bundles: Vec<(BundleKey, u64)>,
    /// Whether nothing was left that may be meant.
    pub(crate) is_all: bool,
}

impl Meant {
    /// The bundle of a path, and with `prefix` all bundles below it.
    pub(crate) fn new(path: &BundlePath, prefix: bool, deadline: Instant) -> Self {
        Self { path: path.clone(), only: (!prefix).then(|| path_hash(path)), deadline }
    }

    /// The path.
    pub(crate) fn path(&self) -> &BundlePath {
        &self.path
    }

    /// Whether no bundle of another path is meant.
    pub(crate) fn is_exact(&self) -> bool {
        self.only.is_some()
    }

    /// Whether the bundle of that path is to go.
    pub(crate) fn includes(&self, path: &BundlePath) -> bool {
        if self.is_exact() { *path == self.path } else { path.is_within(&self.path) }
    }

    /// Whether a file of that name may be meant.
    fn may_include(&self, id: BundleId) -> bool {
        self.only.is_none_or(|only| only == id.path_hash)
    }

    /// The directories under `bundles/` with such files, by the bytes that their names say.
    fn directories(&self) -> RangeInclusive<u8> {
        self.only.map_or(0..=u8::MAX, |only| only[0]..=only[0])
    }
}

impl Keeper<'_> {
    /// Removes what is meant and is neither held nor leaving. Where it is too late for that, nobody is answered.
    pub(super) fn purge_unadopted(&mut self, meant: &Meant, reply: &SyncSender<Removed>) {
        let mut removed = Removed { is_all: true, ..Removed::default() };
        for first_byte in meant.directories() {
            // Who purges asks again. Until then the other commands have their turn.
            if Instant::now() >= meant.deadline {
                return;
            }
            if self.view.is_failed() {
                break;
            }
            self.view.keeper_clock.go_on();
            if let Err(error) = self.purge_directory(first_byte, meant, &mut removed) {
                self.note_left(&format!("bundles/{}", directory_name(first_byte)), &error);
                removed.is_all = false;
            }
        }
        removed.is_all &= !self.view.is_failed();
        let _ = reply.send(removed);
    }

    fn purge_directory(&mut self, first_byte: u8, meant: &Meant, removed: &mut Removed) -> io::Result<()> {
        let directory = match self.volume.bundle_directory(first_byte) {
            // Nothing can be published there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let names = disk::list(directory.as_fd())?;
        let ids = names.iter().filter_map(|name| BundleId::parse_file_name(name));
        let mut gone = Vec::new();
        // In another's directory, nobody looks for it.
        for id in ids.filter(|id| id.path_hash[0] == first_byte && meant.may_include(*id)) {
            // What is held or leaves goes by its departure.
            if self.inventory.held().contains_key(&id) || self.is_leaving(id) {
                continue;
            }
            match self.remove_if_meant(id, meant) {
                Ok(bundle) => gone.extend(bundle),
                Err(error) => {
                    self.note_left(&id.file_path(), &error);
                    removed.is_all = false;
                }
            }
        }
        if !gone.is_empty() {
            disk::sync(directory.as_fd())?;
            removed.bundles.append(&mut gone);
        }
        Ok(())
    }

    /// Removes a file that is meant; which bundle that was, and the bytes of the file. An error says that the file is
    /// there still, and may be meant.
    fn remove_if_meant(&mut self, id: BundleId, meant: &Meant) -> io::Result<Option<(BundleKey, u64)>> {
        // What is no file is adopted by nobody.
        let Some(file_bytes) = disk::named_file_bytes(self.volume.root(), &id.file_path())? else {
            return Ok(None);
        };
        let key = if meant.is_exact() {
            // Whatever is in it: under this name it could serve this path only.
            BundleKey { path: meant.path.clone(), generation: id.generation }
        } else {
            match self.read_record(id) {
                Ok(record) if meant.includes(&record.key.path) => record.key,
                Ok(_) => return Ok(None),
                Err(error) => return self.turn_away(id, &error).map(|()| None),
            }
        };
        disk::remove_file(self.volume.root(), &id.file_path())?;
        tracing::info!(
            volume = %self.view.path.display(), bundle = %key,
            "a purge has removed what was published and never adopted"
        );
        Ok(Some((key, file_bytes)))
    }

    /// Puts aside what is no bundle, so that it never serves. An error says that it may be one.
    fn turn_away(&mut self, id: BundleId, error: &ReadError) -> io::Result<()> {
        match self.refuse(id, error) {
            ChangeError::NoSuchFile(_) => Ok(()),
            ChangeError::Refused(_) if !error.reason().keeps_file() => Ok(()),
            ChangeError::Io(error) => Err(error),
            refused => Err(io::Error::other(refused.to_string())),
        }
    }

    fn note_left(&self, file: &str, error: &io::Error) {
        self.on_disk_error(error);
        tracing::warn!(
            volume = %self.view.path.display(), file, %error,
            "a purge has left this where it is, not knowing whether it is meant, or unable to remove it; \
             look after it, and purge again"
        );
    }
}
