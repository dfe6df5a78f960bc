//! A Unix socket for root, for the process's own user and for its group.
//!
//! The socket is made with mode 0660, and each peer is checked again by `SO_PEERCRED` (`unix(7)`): a directory that was opened too wide
//! by mistake does not open the door. The kernel tells the peer's user and primary group, as they were when it connected; so an operator
//! who is in the group only besides uses `sudo` or `sg`.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use rustix::process::{getegid, geteuid};

const MODE: u32 = 0o660;

/// A socket that listens, and its name.
#[derive(Debug)]
pub struct PrivateSocket {
    listener: UnixListener,
    name: SocketName,
}

/// The name of a socket that we made. Dropping it removes the name, if it is still ours.
#[derive(Debug)]
pub struct SocketName {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Why there is no socket: all are for the operator.
#[derive(Debug)]
pub enum PrivateSocketError {
    /// Something that is not a socket has the name.
    NotASocket(PathBuf),
    /// Another process answers there.
    InUse(PathBuf),
    /// The operating system refused.
    Io(PathBuf, io::Error),
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The number of its process; 0: unknown.
    pub process: i32,
    /// Its user.
    pub user: u32,
    /// Its primary group.
    pub group: u32,
}

impl PrivateSocket {
    /// Binds `path`, where the kernel keeps `backlog` clients that wait to be accepted. A socket that nobody answers at, left by a
    /// process that was killed, is replaced; anything else of that name is left alone. Does not block.
    pub fn bind(path: &Path, backlog: i32) -> Result<Self, PrivateSocketError> {
        let refused = |error: io::Error| PrivateSocketError::Io(path.to_owned(), error);
        remove_stale(path)?;
        let listener = bind_private(path, backlog).map_err(refused)?;
        let metadata = fs::symlink_metadata(path).map_err(refused)?;
        let name = SocketName { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() };
        Ok(Self { listener, name })
    }

    /// The listener, which does not block, and the name that has to live as long as it.
    pub fn into_parts(self) -> (UnixListener, SocketName) {
        (self.listener, self.name)
    }
}

impl Drop for SocketName {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode));
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "a socket could not be removed; the next start replaces it");
        }
    }
}

impl Peer {
    /// Asks the kernel.
    pub fn of(stream: &tokio::net::UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self {
            process: credentials.pid().unwrap_or(0),
            user: credentials.uid(),
            group: credentials.gid(),
        })
    }

    /// Whether it may enter where the process runs as `own_user` and `own_group`.
    pub fn is_allowed(self, own_user: u32, own_group: u32) -> bool {
        self.user == 0 || self.user == own_user || self.group == own_group
    }

    /// Whether it may enter here.
    pub fn is_allowed_here(self) -> bool {
        self.is_allowed(geteuid().as_raw(), getegid().as_raw())
    }
}

fn remove_stale(path: &Path) -> Result<(), PrivateSocketError> {
    let refused = |error: io::Error| PrivateSocketError::Io(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(PrivateSocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match is_answered(path) {
        Ok(true) => Err(PrivateSocketError::InUse(path.to_owned())),
        Ok(false) => fs::remove_file(path).map_err(refused),
        Err(error) => Err(refused(error)),
    }
}

/// Whether a process listens there. Does not wait for one that takes no more connections: it is there all the same.
fn is_answered(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        // `unix(7)`: a backlog that is full.
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The mode is set before the name exists: Linux makes the name with the mode of the socket's own inode, less the umask. So there is no
/// moment at which others could connect, and no umask has to be changed under the other threads. What a strict umask took from our group
/// is given back afterwards.
fn bind_private(path: &Path, backlog: i32) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::from_raw_mode(MODE))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    listen(&socket, backlog)?;
    Ok(UnixListener::from(socket))
}

impl fmt::Display for PrivateSocketError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASocket(path) => write!(formatter, "{} exists and is not a socket", path.display()),
            Self::InUse(path) => write!(formatter, "another process answers at {}", path.display()),
            Self::Io(path, error) => write!(formatter, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for PrivateSocketError {}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn peer(user: u32, group: u32) -> Peer {
        Peer { process: 1, user, group }
    }

    #[test]
    fn root_the_own_user_and_the_own_group_may_make_changes_and_nobody_else() {
        for (who, allowed) in [
            (peer(0, 0), true),
            (peer(0, 5), true),
            (peer(990, 7), true),
            (peer(991, 980), true),
            (peer(991, 7), false),
            (peer(1000, 0), false),
            (peer(980, 990), false),
            (peer(65534, 65534), false),
        ] {
            assert_eq!(who.is_allowed(990, 980), allowed, "{who:?}");
        }
    }

    #[test]
    fn the_socket_is_made_for_user_and_group_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("process.sock");
        let door = PrivateSocket::bind(&path, 8).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(door);
        assert!(!path.exists(), "the name goes with the door");
    }

    #[test]
    fn a_socket_that_a_killed_process_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("process.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the standard library leaves the name behind, as a kill does");
        let door = PrivateSocket::bind(&path, 8).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(door);
    }

    #[test]
    fn a_socket_that_somebody_answers_at_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("process.sock");
        let _running = PrivateSocket::bind(&path, 8).unwrap();
        assert!(matches!(PrivateSocket::bind(&path, 8), Err(PrivateSocketError::InUse(_))));
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_socket_whose_owner_takes_no_connections_is_left_alone_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("process.sock");
        let _running = PrivateSocket::bind(&path, 0).unwrap();
        // The kernel takes one more than the backlog; one that has to wait comes to nothing here.
        let _waiting = UnixStream::connect(&path).unwrap();
        let (sender, bound) = mpsc::channel();
        std::thread::spawn(move || sender.send(PrivateSocket::bind(&path, 8)));
        let bound = bound.recv_timeout(Duration::from_secs(10)).expect("it does not block");
        assert!(matches!(bound, Err(PrivateSocketError::InUse(_))));
    }

    #[test]
    fn a_file_of_that_name_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("process.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(PrivateSocket::bind(&path, 8), Err(PrivateSocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_name_that_is_no_longer_ours_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("process.sock");
        let door = PrivateSocket::bind(&path, 8).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "of somebody else").unwrap();
        drop(door);
        assert!(path.exists());
    }
}
