//! Unix sockets that carry descriptors.
//!
//! Descriptors arrive close-on-exec. Those that did not fit into the process are lost, and the receiver finds fewer
//! than it was promised; those that did are owned by the caller's vector, so none leaks.

use super::check;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The most descriptors that one message can carry (the kernel's `SCM_MAX_FD`).
pub(crate) const MAX_FDS: usize = 253;

/// Room for the header and `MAX_FDS` descriptors, aligned as a control message must be.
#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; 1040]);

/// How a pair of sockets moves bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Bytes; neither end waits.
    Stream,
    /// Bytes; a call may wait.
    Waiting,
    /// Whole messages, in order; a call may wait.
    Packets,
}

/// What came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) bytes: usize,
}

/// Whether to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Yes,
    No,
}

/// A connected pair, close-on-exec.
pub(crate) fn pair(kind: Kind) -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = match kind {
        Kind::Stream => libc::SOCK_STREAM | libc::SOCK_NONBLOCK,
        Kind::Waiting => libc::SOCK_STREAM,
        Kind::Packets => libc::SOCK_SEQPACKET,
    };
    let mut fds = [-1; 2];
    // SAFETY: `fds` has the room for two descriptors that the call fills.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) })?;
    // SAFETY: the kernel has just made both for us.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Sends bytes, with `fds` attached to the first of them. A peer that is gone is `EPIPE`, never a signal.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    wait: Wait,
) -> io::Result<usize> {
    if fds.len() > MAX_FDS {
        let what = format!("{} descriptors in one message, of at most {MAX_FDS}", fds.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let mut control = Control([MaybeUninit::uninit(); 1040]);
    let mut data = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut message = header(&mut data);
    attach(&mut message, &mut control, fds);
    let flags = libc::MSG_NOSIGNAL | dont_wait(wait);
    loop {
        // SAFETY: `message` points to `data` and `control`, which outlive the call; both are only read.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, flags) };
        match io_result(sent) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Receives into `buffer`, and the descriptors that came with these bytes behind those in `fds`. No bytes: the end.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    wait: Wait,
) -> io::Result<Received> {
    let mut control = Control([MaybeUninit::uninit(); 1040]);
    let mut data = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut message = header(&mut data);
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let flags = libc::MSG_CMSG_CLOEXEC | dont_wait(wait);
    let bytes = loop {
        // SAFETY: `message` points to `data` and `control`, which have the lengths it states and outlive the call.
        match io_result(unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, flags) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    detach(&message, fds);
    Ok(Received { bytes })
}

fn header(data: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zeroes is a valid msghdr: no address, no data, no control.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = data;
    message.msg_iovlen = 1;
    message
}

fn attach(message: &mut libc::msghdr, control: &mut Control, fds: &[BorrowedFd<'_>]) {
    if fds.is_empty() {
        return;
    }
    let size = std::mem::size_of_val(fds) as libc::c_uint;
    message.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: only arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as _;
    // SAFETY: `Control` is aligned and has room for `MAX_FDS` descriptors and their header, which the caller checked;
    // a `BorrowedFd` is represented as the bare number.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(message);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(size) as _;
        std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(first), size as usize);
    }
}

fn detach(message: &libc::msghdr, fds: &mut Vec<OwnedFd>) {
    // SAFETY: the kernel has filled the control buffer and set its length; the walk stays within that, and each
    // descriptor in it is new and ours.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(message);
        while let Some(head) = next.as_ref() {
            if head.cmsg_level == libc::SOL_SOCKET && head.cmsg_type == libc::SCM_RIGHTS {
                let first = libc::CMSG_DATA(next);
                let size = next.byte_add(head.cmsg_len as _).addr() - first.addr();
                let first = first.cast::<RawFd>();
                let each = |i| OwnedFd::from_raw_fd(first.add(i).read_unaligned());
                fds.extend((0..size / size_of::<RawFd>()).map(each));
            }
            next = libc::CMSG_NXTHDR(message, next);
        }
    }
}

fn dont_wait(wait: Wait) -> libc::c_int {
    if wait == Wait::No { libc::MSG_DONTWAIT } else { 0 }
}

fn io_result(bytes: isize) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn descriptors_come_with_the_bytes_they_were_sent_with() {
        let (a, b) = pair(Kind::Stream).unwrap();
        let (c, d) = pair(Kind::Stream).unwrap();
        assert_eq!(
            send(a.as_fd(), b"one", &[c.as_fd(), d.as_fd()], Wait::No).unwrap(),
            3
        );
        let (mut buffer, mut fds) = ([0; 8], Vec::new());
        let received = receive(b.as_fd(), &mut buffer, &mut fds, Wait::No).unwrap();
        assert_eq!((received.bytes, fds.len()), (3, 2));
        send(fds[0].as_fd(), b"x", &[], Wait::No).unwrap();
        assert_eq!(
            receive(d.as_fd(), &mut buffer, &mut fds, Wait::No).unwrap().bytes,
            1
        );
    }

    #[test]
    fn more_descriptors_than_a_message_can_carry_are_refused() {
        let (a, b) = pair(Kind::Packets).unwrap();
        let fds = vec![b.as_fd(); MAX_FDS + 1];
        assert!(send(a.as_fd(), b"x", &fds, Wait::No).is_err());
        send(a.as_fd(), b"x", &fds[..MAX_FDS], Wait::No).unwrap();
        let mut got = Vec::new();
        receive(b.as_fd(), &mut [0], &mut got, Wait::No).unwrap();
        assert_eq!(got.len(), MAX_FDS);
    }

    #[test]
    fn the_end_is_no_bytes_and_a_send_into_it_is_an_error() {
        let (a, b) = pair(Kind::Packets).unwrap();
        drop(a);
        let mut fds = Vec::new();
        assert_eq!(
            receive(b.as_fd(), &mut [0; 4], &mut fds, Wait::Yes)
                .unwrap()
                .bytes,
            0
        );
        let error = send(b.as_fd(), b"x", &[], Wait::Yes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
