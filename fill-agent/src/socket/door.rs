//! The agent's Unix socket, for root, for the agent's own user and for its group.
//!
//! The socket is made with mode 0660, and each peer is checked again by `SO_PEERCRED` (`unix(7)`): a directory that was
//! opened too wide by mistake does not open the door.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::{getegid, geteuid};

const MODE: u32 = 0o660;

/// The kernel keeps this many that wait to be accepted.
const BACKLOG: i32 = 32;

/// The socket and its name, which goes with it.
pub struct Door {
    pub(super) listener: UnixListener,
    pub(super) name: SocketName,
}

/// The name of a socket that we made. Dropping it removes the name, if it is still ours.
pub(super) struct SocketName {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Why there is no socket: all are for the operator.
#[derive(Debug)]
pub enum DoorError {
    /// Something else has the name.
    NotASocket(PathBuf),
    /// Somebody answers there.
    InUse(PathBuf),
    /// The operating system refused.
    Io(PathBuf, io::Error),
}

impl Door {
    /// Binds `path`. A socket that nobody answers at, left by an agent that was killed, is replaced; anything else of that name
    /// is left alone.
    pub fn bind(path: &Path) -> Result<Self, DoorError> {
        let refused = |error: io::Error| DoorError::Io(path.to_owned(), error);
        remove_stale(path)?;
        let listener = bind_private(path).map_err(refused)?;
        let metadata = fs::symlink_metadata(path).map_err(refused)?;
        let name = SocketName { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() };
        Ok(Self { listener, name })
    }
}

impl Drop for SocketName {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode));
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether the peer may ask and tell: the kernel says who it is.
pub(super) fn is_allowed(stream: &tokio::net::UnixStream) -> bool {
    let Ok(peer) = stream.peer_cred() else { return false };
    let is_allowed = may_enter(peer.uid(), peer.gid(), geteuid().as_raw(), getegid().as_raw());
    if !is_allowed {
        tracing::warn!(
            user = peer.uid(),
            group = peer.gid(),
            "a peer of the agent's socket was refused; only root, the agent's user and its group may use it"
        );
    }
    is_allowed
}

fn may_enter(user: u32, group: u32, own_user: u32, own_group: u32) -> bool {
    user == 0 || user == own_user || group == own_group
}

fn remove_stale(path: &Path) -> Result<(), DoorError> {
    let refused = |error: io::Error| DoorError::Io(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(DoorError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(DoorError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(refused)
        }
        Err(error) => Err(refused(error)),
    }
}

/// The mode is set before the name exists, so that there is no moment at which others could connect; what a strict umask took
/// from our group is given back afterwards.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::from_raw_mode(MODE))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

impl fmt::Display for DoorError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASocket(path) => {
                write!(formatter, "{}: is no socket; fill.socket has to name a free place", path.display())
            }
            Self::InUse(path) => {
                write!(formatter, "{}: another process answers there; stop it first", path.display())
            }
            Self::Io(path, error) => {
                write!(
                    formatter,
                    "{}: {error}; fill.socket has to lie in a folder of the agent",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for DoorError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_own_user_and_the_own_group_may_enter_and_nobody_else() {
        for (user, group, allowed) in
            [(0, 5, true), (990, 7, true), (991, 980, true), (991, 7, false), (980, 990, false)]
        {
            assert_eq!(may_enter(user, group, 990, 980), allowed, "{user} {group}");
        }
    }

    #[test]
    fn a_socket_that_a_killed_agent_left_is_replaced_and_one_that_answers_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        drop(UnixListener::bind(&path).unwrap());
        let door = Door::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(Door::bind(&path), Err(DoorError::InUse(_))));
        drop(door);
        assert!(!path.exists(), "the name goes with the door");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Door::bind(&path), Err(DoorError::NotASocket(_))));
    }
}
