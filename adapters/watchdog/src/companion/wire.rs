//! What a process and its companion tell each other: one packet for each word, with a descriptor where one is handed over.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// A word, and its number.
const PACKET_BYTES: usize = 9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// So many locks are in this memory, and all are held.
    Begin = 1,
    /// Hold this socket under that key.
    Hold,
    /// Close the socket of that key.
    Drop,
    /// The companion stands by.
    Ready,
}

#[derive(Debug)]
pub(super) enum Heard {
    Word(Word, u64, Option<OwnedFd>),
    /// The other end is closed.
    End,
}

/// Never waits: who does not listen is as good as gone.
pub(super) fn say(
    socket: BorrowedFd<'_>,
    word: Word,
    number: u64,
    handed: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut packet = [word as u8; PACKET_BYTES];
    packet[1..].copy_from_slice(&number.to_le_bytes());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let handed = handed.as_slice();
    if !handed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(handed)) {
        return Err(io::Error::other("no room for one descriptor"));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match sendmsg(socket.as_fd(), &[IoSlice::new(&packet)], &mut control, flags)? {
        PACKET_BYTES => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// The next word. `at_once`: an error instead of waiting.
pub(super) fn hear(socket: BorrowedFd<'_>, at_once: bool) -> io::Result<Heard> {
    let mut packet = [0; PACKET_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let wait = if at_once { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
    let parts = &mut [IoSliceMut::new(&mut packet)];
    let received = recvmsg(socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC | wait)?;
    let handed = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut handed) => handed.next(),
        _ => None,
    });
    let word = match packet[0] {
        _ if received.bytes == 0 => return Ok(Heard::End),
        1 => Word::Begin,
        2 => Word::Hold,
        3 => Word::Drop,
        4 => Word::Ready,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "no word")),
    };
    let mut number = [0; 8];
    number.copy_from_slice(&packet[1..]);
    Ok(Heard::Word(word, u64::from_le_bytes(number), handed))
}
