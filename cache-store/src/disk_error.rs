//! Whose fault an error of a system call is. One place, because much follows from it: a volume is isolated for
//! its disk's errors, and for nobody else's.

use std::io;

use rustix::io::Errno;

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// This process is short of descriptors or memory, or was interrupted.
    Process,
    /// The disk could not do it.
    Disk,
    /// The disk did not answer in time.
    Hang,
    /// Everything else: permissions, a full or read-only file system, a file that is none.
    Operator,
}

/// Sorts an error. What is not known to be the disk's is not put on the disk.
pub(crate) fn blame(error: &io::Error) -> Blame {
    const PROCESS: [Errno; 6] =
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::AGAIN, Errno::INTR];
    const DISK: [Errno; 8] = [
        Errno::IO,
        Errno::REMOTEIO,
        Errno::NODATA,
        Errno::BADMSG,
        Errno::UCLEAN,
        Errno::NXIO,
        Errno::NODEV,
        Errno::ILSEQ,
    ];
    match Errno::from_io_error(error) {
        Some(errno) if PROCESS.contains(&errno) => Blame::Process,
        Some(errno) if DISK.contains(&errno) => Blame::Disk,
        Some(Errno::TIMEDOUT) => Blame::Hang,
        None if error.kind() == io::ErrorKind::TimedOut => Blame::Hang,
        _ => Blame::Operator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found in review: four directories named as bundles isolated a healthy volume.
    #[test]
    fn a_disk_is_blamed_for_what_disks_do_and_for_nothing_else() {
        let of = |errno: Errno| blame(&errno.into());
        assert_eq!(of(Errno::IO), Blame::Disk);
        assert_eq!(of(Errno::UCLEAN), Blame::Disk);
        assert_eq!(blame(&io::ErrorKind::TimedOut.into()), Blame::Hang);
        assert_eq!(of(Errno::MFILE), Blame::Process);
        // The memory's is not the disk's.
        assert_eq!(of(Errno::HWPOISON), Blame::Operator);
        for errno in [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::NOSPC, Errno::ISDIR, Errno::INVAL] {
            assert_eq!(of(errno), Blame::Operator, "{errno}");
        }
        assert_eq!(blame(&io::ErrorKind::UnexpectedEof.into()), Blame::Operator);
    }
}
