//! Reads frames of a primary's stream at its client port.
//!
//! kevy never streams a frame above 256 KiB, nor anything behind it: its pump hands out 256 KiB at a time, and such a frame
//! never fits. `FEED.READ` reads the same backlog without that limit. Its answer is put together in the primary's memory, so
//! few frames are asked for at a time while they are large.

use crate::continuation::history::{COPY, FRAMES, HISTORY, OWN, TRAIL};
use crate::continuation::passes::Asker;
use crate::continuation::path::Told;
use crate::position::marks::Place;
use kevy_resp::encode_command_borrowed;
use kevy_rt::Argv;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest silence of a primary that is asked for a frame. It copies the frame before it answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest frame: a command has come from one client, of whom kevy keeps no more. No word in it is larger than half of that.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// What is made ready for bytes that have not come yet.
const AHEAD_BYTES: usize = 1 << 20;
/// What a node tells of its history, at most.
const HISTORY_BYTES_MAX: u64 = 16 << 10;
/// The longest line: a number, or the text of an error.
const LINE_BYTES_MAX: u64 = 512;
/// What is read at once. After a failover under load thousands of small frames are fetched while somebody waits for them.
const READ_BYTES: usize = 64 << 10;

/// What a primary answers.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// So many frames, each of which [`Feed::frame`] reads. None: the stream goes no further yet.
    Frames(u64),
    /// The primary does not have them, or has another stream by now: a copy is needed.
    Gone(String),
    /// There is one among them that kevy wrote and cannot read, because of its number of words. It is left out without a word.
    Unreadable,
}

/// A connection to a primary's client port.
pub(crate) struct Feed {
    reader: BufReader<TcpStream>,
    /// Questions that were not sent yet.
    out: Vec<u8>,
    /// What proves to the node that a member asks.
    asker: Asker,
}

impl Feed {
    /// Connects to the node that `asker` asks.
    pub(crate) fn connect(asker: &Asker, address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, timeout)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        socket.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            reader: BufReader::with_capacity(READ_BYTES, socket),
            out: Vec::new(),
            asker: asker.clone(),
        })
    }

    /// Waits no longer than this for an answer, in place of what suits large frames.
    pub(crate) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        let socket = self.reader.get_ref();
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))
    }

    /// A second handle, to end it from another thread.
    pub(crate) fn handle(&self) -> io::Result<TcpStream> {
        self.reader.get_ref().try_clone()
    }

    /// Asks for up to `count` frames from `offset` on of the stream `generation` of `shard`.
    pub(crate) fn ask(
        &mut self,
        shard: usize,
        generation: u64,
        offset: u64,
        count: u64,
    ) -> io::Result<Answer> {
        self.want(shard, generation, offset, count);
        self.send()?;
        self.answer(generation, offset, count)
    }

    /// The same, together with other questions: to be sent by [`Feed::send`].
    pub(crate) fn want(&mut self, shard: usize, generation: u64, offset: u64, count: u64) {
        self.add(&format!("FEED.READ {shard} {generation} {offset} COUNT {count}"));
    }

    /// And what was answered to it.
    pub(crate) fn answer(&mut self, generation: u64, offset: u64, count: u64) -> io::Result<Answer> {
        Ok(told(answer(&mut self.reader, generation, count)?, offset))
    }

    /// The same for frames that the node received in the history of `from`.
    pub(crate) fn ask_kept(&mut self, shard: usize, from: Place, count: u64) -> io::Result<Answer> {
        self.want_kept(shard, from, count);
        self.send()?;
        self.kept_answer(from, count)
    }

    /// The same, together with other questions.
    pub(crate) fn want_kept(&mut self, shard: usize, from: Place, count: u64) {
        let Place { epoch, flushes, offset } = from;
        self.add_of_member(&format!("ELECT {FRAMES} {shard} {} {flushes} {offset} {count}", epoch.0));
    }

    /// And what was answered to it.
    pub(crate) fn kept_answer(&mut self, from: Place, count: u64) -> io::Result<Answer> {
        Ok(answer(&mut self.reader, from.epoch.0, count)?.0)
    }

    /// Asks whose history the node's is. `None`: it does not understand that.
    pub(crate) fn history(&mut self, shard: usize) -> io::Result<Option<Told>> {
        self.want_history(shard);
        self.send()?;
        self.history_answer()
    }

    /// The same, together with other questions.
    pub(crate) fn want_history(&mut self, shard: usize) {
        self.add_of_member(&format!("ELECT {HISTORY} {shard}"));
    }

    /// And what was answered to it.
    pub(crate) fn history_answer(&mut self) -> io::Result<Option<Told>> {
        let Some(text) = self.text()? else { return Ok(None) };
        Told::read(&text).map(Some).ok_or_else(|| garbage(format!("{text:?}")))
    }

    /// Asks for frames that the node has written in the history of `from`, where that is the last one that it wrote.
    pub(crate) fn ask_own(&mut self, shard: usize, from: Place, count: u64) -> io::Result<Answer> {
        let own = |feed: &mut Self| {
            feed.ask_member(&format!("ELECT {OWN} {shard}"))?;
            Ok::<_, io::Error>(feed.text()? == Some(format!("{} {}", from.epoch.0, from.flushes)))
        };
        // Before and after, so that the stream is that history's.
        if own(self)? {
            let (generation, _) = self.tail(shard)?;
            if own(self)? {
                return self.ask(shard, generation, from.offset, count);
            }
        }
        Ok(Answer::Gone("it has written nothing there, or something since".to_owned()))
    }

    /// A short text. `None`: the node does not understand the question.
    fn text(&mut self) -> io::Result<Option<String>> {
        let head = line(&mut self.reader)?;
        if head.starts_with("-ERR") {
            return Ok(None);
        }
        if head.starts_with('-') {
            // It may answer later.
            return Err(io::Error::other(head));
        }
        let size = number(&head, '$')?;
        if size > HISTORY_BYTES_MAX {
            return Err(garbage(format!("{size} bytes about its history")));
        }
        let mut text = String::new();
        (&mut self.reader).take(size + 2).read_to_string(&mut text)?;
        text.strip_suffix("\r\n")
            .map(|text| Some(text.to_owned()))
            .ok_or_else(|| garbage(format!("{text:?}")))
    }

    /// Whether `node` may copy from there now; then, about how many bytes. 0: the node there does not say.
    pub(crate) fn may_copy(&mut self, shard: usize, node: &str) -> io::Result<Option<u64>> {
        self.ask_member(&format!("ELECT {COPY} {shard} {node}"))?;
        let answer = line(&mut self.reader)?;
        if answer.starts_with("-NOPERM") {
            return Err(io::Error::other(answer));
        }
        let about = answer.strip_prefix(':').and_then(|number| number.parse().ok());
        // Releases before say no more than 1, or do not know the question.
        Ok((about != Some(0)).then(|| about.filter(|bytes| *bytes > 1).unwrap_or(0)))
    }

    /// The stream that the node serves for `shard`, and where it is.
    pub(crate) fn tail(&mut self, shard: usize) -> io::Result<(u64, u64)> {
        self.want_tail(shard);
        self.send()?;
        self.tail_answer()
    }

    /// The same, together with other questions.
    pub(crate) fn want_tail(&mut self, shard: usize) {
        self.add(&format!("FEED.TAIL {shard}"));
    }

    /// And what was answered to it.
    pub(crate) fn tail_answer(&mut self) -> io::Result<(u64, u64)> {
        expect(&line(&mut self.reader)?, '*', 2)?;
        Ok((number(&line(&mut self.reader)?, ':')?, number(&line(&mut self.reader)?, ':')?))
    }

    /// Has the node write its log anew. It says no where it does so already.
    pub(crate) fn rewrite_log(&mut self) -> io::Result<()> {
        self.request("BGREWRITEAOF")?;
        line(&mut self.reader).map(drop)
    }

    /// Says that all before `next` is here, together with other questions.
    pub(crate) fn want_room(&mut self, shard: usize, next: u64, frame_bytes: usize) {
        let question = self.asker.ask(&format!("ELECT {TRAIL} {shard} {next} {frame_bytes}"));
        self.add(&question);
    }

    /// And what was answered to it. An older release does not know it, and lets nobody wait.
    pub(crate) fn room_answer(&mut self) -> io::Result<()> {
        line(&mut self.reader).map(drop)
    }

    /// Sends what is wanted, all at once: it is answered in one turn of the server.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        let out = std::mem::take(&mut self.out);
        self.reader.get_mut().write_all(&out)
    }

    fn add(&mut self, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        encode_command_borrowed(&mut self.out, &words);
    }

    /// Asks what only members may ask.
    fn ask_member(&mut self, question: &str) -> io::Result<()> {
        self.add_of_member(question);
        self.send()
    }

    fn add_of_member(&mut self, question: &str) {
        let question = self.asker.ask(question);
        self.add(&question);
    }

    fn request(&mut self, words: &str) -> io::Result<()> {
        self.add(words);
        self.send()
    }

    /// The next of the frames that were answered, and its offset.
    pub(crate) fn frame(&mut self) -> io::Result<(u64, Argv)> {
        frame(&mut self.reader)
    }
}

/// Takes apart the head of `*3 :generation :next *frames`. Says what is next, too.
fn answer(from: &mut impl BufRead, generation: u64, count: u64) -> io::Result<(Answer, u64)> {
    let head = line(from)?;
    if let Some(error) = head.strip_prefix('-') {
        return match error.starts_with("FEEDRESYNC") || error.starts_with("ERR feed cursor ahead") {
            true => Ok((Answer::Gone(error.to_owned()), 0)),
            // Loading, for instance: it may answer later.
            false => Err(io::Error::other(error.to_owned())),
        };
    }
    expect(&head, '*', 3)?;
    let served = number(&line(from)?, ':')?;
    let next = number(&line(from)?, ':')?;
    let frames = number(&line(from)?, '*')?;
    if served != generation {
        return Ok((Answer::Gone(format!("its stream is {served} now")), next));
    }
    if frames > count {
        return Err(garbage(format!("{frames} frames, and {count} were asked for")));
    }
    Ok((Answer::Frames(frames), next))
}

/// What such an answer says to a question for frames from `offset` on.
fn told((answer, next): (Answer, u64), offset: u64) -> Answer {
    match answer {
        Answer::Frames(frames) if next > offset.saturating_add(frames) => Answer::Unreadable,
        answer => answer,
    }
}

/// Takes apart `*2 :offset *words`.
fn frame(from: &mut impl BufRead) -> io::Result<(u64, Argv)> {
    let mut text = Vec::new();
    expect(read_line(from, &mut text)?, '*', 2)?;
    Ok((number(read_line(from, &mut text)?, ':')?, argv(from, &mut text)?))
}

fn argv(from: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<Argv> {
    let count = number(read_line(from, text)?, '*')?;
    let mut argv = Argv::default();
    let (mut left, mut word) = (FRAME_BYTES_MAX, Vec::new());
    for _ in 0..count {
        let size = usize::try_from(number(read_line(from, text)?, '$')?).unwrap_or(usize::MAX);
        left = left.checked_sub(size).ok_or_else(|| garbage("a frame above 1 GiB".to_owned()))?;
        read_word(from, size, &mut word)?;
        argv.push(&word);
        from.read_exact(&mut [0; 2])?;
    }
    Ok(argv)
}

/// The next `size` bytes. As many as are said to come get room at once only while they are few.
fn read_word(from: &mut impl BufRead, size: usize, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    if size <= AHEAD_BYTES {
        into.resize(size, 0);
        return from.read_exact(into);
    }
    into.reserve(AHEAD_BYTES);
    if from.take(size as u64).read_to_end(into)? != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    read_line(from, &mut Vec::new()).map(str::to_owned)
}

/// A line, in place of the one that was read `into` there before.
fn read_line<'a>(from: &mut impl BufRead, into: &'a mut Vec<u8>) -> io::Result<&'a str> {
    into.clear();
    from.take(LINE_BYTES_MAX).read_until(b'\n', into)?;
    if into.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let text = into.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok());
    text.ok_or_else(|| garbage("a line that does not end, or is no text".to_owned()))
}

fn number(line: &str, kind: char) -> io::Result<u64> {
    let number = line.strip_prefix(kind).and_then(|number| number.parse().ok());
    number.ok_or_else(|| garbage(format!("{line:?}, where {kind} and a number were due")))
}

fn expect(line: &str, kind: char, count: u64) -> io::Result<()> {
    match number(line, kind)? == count {
        true => Ok(()),
        false => Err(garbage(format!("{line:?}, where {kind}{count} was due"))),
    }
}

fn garbage(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the primary answers with {what}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    /// An answer to a question for two frames of stream 7, and its first frame.
    fn read(answer: &str) -> io::Result<(Answer, Option<(u64, Argv)>)> {
        let mut bytes = answer.as_bytes();
        let (answer, _) = super::answer(&mut bytes, 7, 2)?;
        let first = matches!(answer, Answer::Frames(1..)).then(|| super::frame(&mut bytes)).transpose()?;
        Ok((answer, first))
    }

    #[test]
    fn frames_are_taken_only_from_the_stream_that_was_asked_for() {
        let frame = |generation| {
            format!("*3\r\n:{generation}\r\n:41\r\n*1\r\n*2\r\n:40\r\n*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n")
        };
        let argv = Argv::from(vec![b"DEL".to_vec(), b"k".to_vec()]);
        assert_eq!(read(&frame(7)).unwrap(), (Answer::Frames(1), Some((40, argv))));
        assert!(matches!(read(&frame(8)).unwrap(), (Answer::Gone(_), None)));
    }

    #[test]
    fn a_stream_that_goes_no_further_is_told_from_one_that_has_lost_the_frame() {
        assert_eq!(read("*3\r\n:7\r\n:40\r\n*0\r\n").unwrap().0, Answer::Frames(0));
        assert!(matches!(read("-FEEDRESYNC 9 100\r\n").unwrap().0, Answer::Gone(_)));
        assert!(read("-LOADING kevy is loading\r\n").is_err());
    }

    #[test]
    fn a_frame_that_is_left_out_without_a_word_is_noticed() {
        let told =
            |answer: &str, from| super::told(super::answer(&mut answer.as_bytes(), 7, 2).unwrap(), from);
        assert_eq!(told("*3\r\n:7\r\n:41\r\n*0\r\n", 40), Answer::Unreadable);
        assert_eq!(told("*3\r\n:7\r\n:42\r\n*1\r\n*2\r\n:41\r\n", 40), Answer::Unreadable);
        assert_eq!(told("*3\r\n:7\r\n:42\r\n*2\r\n", 40), Answer::Frames(2));
        assert_eq!(told("*3\r\n:7\r\n:40\r\n*0\r\n", 40), Answer::Frames(0));
    }

    #[test]
    fn garbage_is_an_error_and_asks_for_no_memory() {
        for wrong in [
            "",
            "*3\r\n:7\r\n",
            "*2\r\n:7\r\n:1\r\n",
            "*3\r\n:7\r\n:41\r\n*3\r\n",
            "*3\r\n:7\r\n:41\r\n*1\r\n*2\r\n:40\r\n*1\r\n$18446744073709551615\r\n",
            "*3\r\n:7\r\n:41\r\n*1\r\n*2\r\n:40\r\n*1\r\n$100000000\r\nx",
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
