//! What is found to be wrong with a block while it is sent, and who is blamed for it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::*;
use crate::limits::SEAL_BUFFER_BYTES;
use crate::tier::tests::site::Site;
use crate::transport::Transport;

/// Between the look at the file and the system call: sealed are zeroes then, or bytes that nobody has verified.
#[test]
fn what_was_sealed_of_a_file_that_was_damaged_meanwhile_does_not_leave() {
    type DoDamage = fn(&File);
    let damages: [(DoDamage, Damage); 3] = [
        (|file| file.set_len(0).unwrap(), Damage::CutShort),
        // In the middle of the first page: its rest is zeroes, of which no signal tells.
        (|file| file.set_len(1000).unwrap(), Damage::CutShort),
        (|file| file.write_all_at(b"x", 1000).unwrap(), Damage::Changed),
    ];
    for (do_damage, expected) in damages {
        let mut site = Site::new(16 << 20);
        let bundle = site.publish_and_load(0);
        let residency = site.tier.residency().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut received_bytes = || match theirs.read(&mut vec![0; SEAL_BUFFER_BYTES]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            result => result.unwrap(),
        };
        let mut transport = Transport::established(Arc::default());
        let mut seal_buffer = vec![0; SEAL_BUFFER_BYTES];
        let mut send = |bytes: &[u8]| transport.send(ours.as_fd(), &[IoSlice::new(bytes)], &mut seal_buffer);
        let lent = residency.with(BlockKey::at(&bundle, 0), |block| {
            let range = ByteRange { start: 0, end: 20_000 };
            assert!(send_sealed(block, range, &mut send).is_ok_and(|sent| sent.taken_bytes == 20_000));
            assert!(received_bytes() > 20_000);
            assert_eq!(block.damage(), None);
            let sent = send_sealed(block, range, |bytes| {
                do_damage(&site.file_of(&bundle));
                send(bytes)
            });
            assert_eq!(received_bytes(), 0, "what is not the object's has left");
            assert!(matches!(sent, Err(ResidentError::Sealed(damage)) if damage == expected), "{expected:?}");
        });
        assert!(lent.is_some(), "it was in memory");
    }
}

#[test]
fn a_file_that_was_written_to_is_noticed_by_the_next_look() {
    let mut site = Site::new(16 << 20);
    let bundle = site.publish_and_load(0);
    let lent = site.tier.residency().unwrap().with(BlockKey::at(&bundle, 0), |block| {
        let look = Instant::now();
        let later = look + Duration::from_nanos(1);
        assert_eq!(block.damage_since(look, look), None);
        site.file_of(&bundle).write_all_at(b"x", 1000).unwrap();
        assert_eq!(block.damage_since(look, later), None, "it was looked at");
        assert_eq!(block.damage_since(later, later), Some(Damage::Changed));
        assert_eq!(block.damage_since(look, later), Some(Damage::Failed), "what is broken stays so");
    });
    assert!(lent.is_some(), "it was in memory");
}

#[test]
fn a_file_is_not_blamed_for_what_its_socket_or_the_record_layer_did() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    let blamed = |kernel_seals, error| {
        of_the_socket(ours.as_fd(), kernel_seals, error).map(|error| error.raw_os_error())
    };
    assert_eq!(blamed(false, Errno::PIPE), Some(Some(Errno::PIPE.raw_os_error())));
    assert_eq!((blamed(false, Errno::IO), blamed(false, Errno::NOMEM)), (None, None));
    // Of our own making, and no client's.
    assert_eq!((blamed(true, Errno::IO), blamed(true, Errno::BADMSG)), (None, Some(None)));

    sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    poll(&mut [PollFd::new(&ours, PollFlags::IN)], None).unwrap();
    assert_eq!(blamed(false, Errno::IO), Some(Some(Errno::CONNRESET.raw_os_error())));
}
