#![expect(unsafe_code, reason = "installs a signal handler, which maps memory")]
//! What happens when a page of a mapping cannot be read: the kernel sends `SIGBUS` to the thread that touched it.
//!
//! Whoever is about to read a mapping says so (`reading`). If a page of it then goes away (the file was cut short, the
//! memory has failed), the handler marks the file as broken, lays zeroes over the mapping, and the read goes on. The mark is set before
//! the zeroes are there, so that whoever saw zeroes, on any thread, finds the mark when it looks: before a byte leaves. A
//! `SIGBUS` for any other reason kills the process, as it should.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{Ordering, compiler_fence};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use super::resident_file::ResidentFile;

/// A mapping that the thread reads.
struct Region {
    start: usize,
    length_bytes: usize,
    file: *const ResidentFile,
}

thread_local! {
    // Without destructor and lazy beginning, so that the handler may look at it.
    static REGION: Cell<*const Region> = const { Cell::new(ptr::null()) };
}

/// What was done about `SIGBUS` before us.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler, for the whole process; again is harmless.
pub fn install() -> io::Result<()> {
    if BEFORE.get().is_some() {
        return Ok(());
    }
    // SAFETY: all zeroes is an empty action; the handler is async-signal-safe, as argued there.
    unsafe {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        if libc::sigaction(libc::SIGBUS, ptr::null(), before.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        // Kept before the handler can run.
        if BEFORE.set(before.assume_init()).is_err() {
            return Ok(());
        }
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = on_bus_error as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        if libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Runs `read`, which may touch the mapping of `file` at `start`; should a page of it be gone, the file is marked as broken, and
/// zeroes are read. Not to be nested.
pub(super) fn reading<R>(
    start: usize,
    length_bytes: usize,
    file: &ResidentFile,
    read: impl FnOnce() -> R,
) -> R {
    /// Clears the thread's region however `read` ends.
    struct Clear;
    impl Drop for Clear {
        fn drop(&mut self) {
            compiler_fence(Ordering::SeqCst);
            REGION.set(ptr::null());
        }
    }
    let region = Region { start, length_bytes, file };
    debug_assert!(REGION.get().is_null());
    REGION.set(&raw const region);
    let _clear = Clear;
    compiler_fence(Ordering::SeqCst);
    read()
}

/// Whether what this thread has read of the mapping that it is reading, if it is reading one, are the mapping's bytes. To be
/// asked after the bytes were used and before anything made of them leaves.
///
/// A file that was cut in the middle of a page, or cut and lengthened again, gives zeroes without a signal; so it is asked about,
/// too. ext4 sets the length before it clears the rest of a page, so that whoever saw zeroes sees that. XFS clears first: what is
/// sealed within those microseconds, of less than one page, is not noticed. Nothing asked later could call it back.
pub fn is_intact() -> bool {
    compiler_fence(Ordering::SeqCst);
    let region = REGION.get();
    if region.is_null() {
        return true;
    }
    // SAFETY: set only while the region and the file live, in `reading` on this very thread.
    let file = unsafe { &*(*region).file };
    file.damage().is_none()
}

/// Async-signal-safe: it reads a thread-local without destructor, stores to an atomic, and makes one system call.
extern "C" fn on_bus_error(_signal: i32, information: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid `siginfo_t`, whose address is the one that was touched.
    let (address, code) = unsafe { ((*information).si_addr().addr(), (*information).si_code) };
    // Told ahead of any use of the memory, to a thread that has touched nothing: there is nothing to be tried again.
    if code == libc::BUS_MCEERR_AO {
        return;
    }
    let region = REGION.get();
    if code > 0 && !region.is_null() {
        // SAFETY: as in `is_intact`: the thread that is interrupted here is inside `reading`.
        let Region { start, length_bytes, file } = unsafe { &*region };
        if address.wrapping_sub(*start) < *length_bytes {
            // SAFETY: as above.
            unsafe { (**file).mark_broken() };
            let fixed = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
            let place = ptr::with_exposed_provenance_mut(*start);
            // SAFETY: replaces the pages of that mapping, which belongs to the block that is being read, by readable ones at the
            // same place; dropping the block unmaps the place, whatever lies there.
            if unsafe { mmap_anonymous(place, *length_bytes, ProtFlags::READ, fixed) }.is_ok() {
                return;
            }
        }
    }
    // Not ours. Sent by somebody: the default, which ends the process. Raised by a touch: what would have happened without us happens
    // when the instruction is tried again.
    // SAFETY: `BEFORE` is what `sigaction` gave, and all zeroes is the default; both calls are async-signal-safe.
    unsafe {
        let default: libc::sigaction = MaybeUninit::zeroed().assume_init();
        let next = BEFORE.get().filter(|_| code > 0).unwrap_or(&default);
        libc::sigaction(libc::SIGBUS, next, ptr::null_mut());
        if code <= 0 {
            libc::raise(libc::SIGBUS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error in memory that nobody has touched is told to any thread: the handler is needed after it.
    #[test]
    fn a_warning_of_failed_memory_leaves_the_handler_where_it_is() {
        install().unwrap();
        // SAFETY: all zeroes is a `siginfo_t`; the kernel lets a process queue any signal for its own threads.
        let current = unsafe {
            let mut information: libc::siginfo_t = MaybeUninit::zeroed().assume_init();
            information.si_signo = libc::SIGBUS;
            information.si_code = libc::BUS_MCEERR_AO;
            let (process, thread) = (libc::getpid(), libc::gettid());
            let number = libc::SYS_rt_tgsigqueueinfo;
            assert_eq!(libc::syscall(number, process, thread, libc::SIGBUS, &raw const information), 0);
            let mut current = MaybeUninit::<libc::sigaction>::zeroed();
            assert_eq!(libc::sigaction(libc::SIGBUS, ptr::null(), current.as_mut_ptr()), 0);
            current.assume_init()
        };
        assert_eq!(current.sa_sigaction, on_bus_error as *const () as usize);
    }
}
