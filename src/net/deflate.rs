//! A stream inside another one, compressed both ways (raw DEFLATE, RFC 4978). What it holds is bounded: a piece of what came and
//! was not looked at, and a piece of what is on its way out; what a few octets expand to never exceeds the room the reader has.

use std::io;
use std::ops::Range;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Octets of compressed input held.
const INPUT: usize = 16 * 1024;
/// Octets compressed at once.
const PIECE: usize = 64 * 1024;
/// Pieces of input that may expand to nothing before the caller is to look at its deadline.
const FRUITLESS: u32 = 16;

/// Both directions of a compressed connection.
pub(super) struct Deflate {
    inflater: Decompress,
    deflater: Compress,
    input: Vec<u8>,
    /// Octets of `input` that were not looked at.
    unread: Range<usize>,
    output: Vec<u8>,
    /// Octets of `output` that are out.
    written: usize,
    /// The peer ended its compressed stream.
    ended: bool,
    /// What came was no such stream.
    garbled: bool,
    received: u64,
    sent: u64,
}

impl Deflate {
    pub(super) fn new() -> Self {
        Self {
            inflater: Decompress::new(false),
            deflater: Compress::new(Compression::fast(), false),
            input: vec![0; INPUT],
            unread: 0..0,
            output: Vec::new(),
            written: 0,
            ended: false,
            garbled: false,
            received: 0,
            sent: 0,
        }
    }

    /// Octets that came and went compressed.
    pub(super) fn octets(&self) -> (u64, u64) {
        (self.received, self.sent)
    }

    /// Whether something is compressed and not out yet.
    pub(super) fn owes(&self) -> bool {
        self.written < self.output.len()
    }

    /// Whether what came could not be expanded.
    pub(super) fn is_garbled(&self) -> bool {
        self.garbled
    }

    /// Fills `into` as far as that goes with what `source` (the stream below) has; 0 at its end. A peer that goes on sending what
    /// expands to nothing (empty blocks) gets no further than one that sends nothing: the read would block.
    pub(super) fn read(&mut self, into: &mut [u8], source: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let mut fruitless = 0;
        loop {
            if self.ended || into.is_empty() {
                return Ok(0);
            }
            // There may be more to come out of what went in long ago.
            let input = self.input.get(self.unread.clone()).unwrap_or_default();
            let (before_in, before_out) = (self.inflater.total_in(), self.inflater.total_out());
            let had_input = !input.is_empty();
            let Ok(status) = self.inflater.decompress(input, into, FlushDecompress::None) else { return Err(self.garble()) };
            let taken = usize::try_from(self.inflater.total_in() - before_in).unwrap_or(usize::MAX);
            let produced = usize::try_from(self.inflater.total_out() - before_out).unwrap_or(0);
            self.unread.start = self.unread.start.saturating_add(taken).min(self.unread.end);
            self.ended = status == Status::StreamEnd;
            if produced > 0 {
                return Ok(produced);
            }
            if self.ended {
                return Ok(0);
            }
            if had_input && taken == 0 {
                return Err(self.garble());
            }
            if self.unread.is_empty() {
                if fruitless == FRUITLESS {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                fruitless += 1;
                let count = source(&mut self.input)?;
                if count == 0 {
                    return Ok(0);
                }
                self.received += count as u64;
                self.unread = 0..count;
            }
        }
    }

    /// Takes some of `bytes` and gives it, so compressed that the peer can read all of it, to `sink` (the stream below);
    /// returns how many were taken. What `sink` did not take is owed: with no `bytes` just that goes out.
    pub(super) fn write(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        self.push(sink)?;
        let piece = bytes.get(..bytes.len().min(PIECE)).unwrap_or_default();
        if piece.is_empty() {
            return Ok(0);
        }
        let start = self.deflater.total_in();
        loop {
            let done = usize::try_from(self.deflater.total_in() - start).unwrap_or(usize::MAX);
            self.output.reserve(PIECE / 4);
            let rest = piece.get(done..).unwrap_or_default();
            self.deflater.compress_vec(rest, &mut self.output, FlushCompress::Sync).map_err(io::Error::other)?;
            let all = self.deflater.total_in() - start == piece.len() as u64;
            // Room left over means that nothing is held back.
            if all && self.output.len() < self.output.capacity() {
                break;
            }
        }
        match self.push(sink) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(piece.len()),
        }
    }

    fn push(&mut self, sink: &mut dyn FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        while self.owes() {
            match sink(self.output.get(self.written..).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count;
                    self.sent += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    fn garble(&mut self) -> io::Error {
        self.garbled = true;
        io::Error::new(io::ErrorKind::InvalidData, "what the server sent is not compressed as was agreed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source that gives a few octets at a time, and would block in between.
    fn dripping(bytes: Vec<u8>, piece: usize) -> impl FnMut(&mut [u8]) -> io::Result<usize> {
        let mut at = 0;
        let mut blocked = false;
        move |into| {
            blocked = !blocked;
            if blocked {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = piece.min(bytes.len() - at).min(into.len());
            into[..count].copy_from_slice(&bytes[at..at + count]);
            at += count;
            Ok(count)
        }
    }

    fn read_all(deflate: &mut Deflate, mut source: impl FnMut(&mut [u8]) -> io::Result<usize>, room: usize) -> io::Result<Vec<u8>> {
        let (mut all, mut piece) = (Vec::new(), vec![0; room]);
        loop {
            match deflate.read(&mut piece, &mut source) {
                Ok(0) => return Ok(all),
                Ok(count) => all.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    #[test]
    fn what_one_side_writes_the_other_reads_however_it_is_cut() {
        let mut text = b"A1 UID FETCH 1:* (UID FLAGS)\r\n".repeat(20_000);
        let mut noise = 1_u32;
        text.extend((0..200_000).map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        }));
        for (taken, piece, room) in [(1, 1, 1), (7, 1000, 3), (usize::MAX, usize::MAX, 256 * 1024)] {
            let text = if taken == 1 { &text[595_000..605_000] } else { &text[..] };
            let (mut sender, mut wire) = (Deflate::new(), Vec::new());
            let mut at = 0;
            let mut blocked = false;
            let mut sink = |bytes: &[u8]| {
                blocked = !blocked;
                if blocked {
                    return Err(io::Error::from(io::ErrorKind::WouldBlock));
                }
                let count = bytes.len().min(taken);
                wire.extend_from_slice(&bytes[..count]);
                Ok(count)
            };
            while at < text.len() || sender.owes() {
                match sender.write(&text[at..], &mut sink) {
                    Ok(count) => at += count,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            assert_eq!(sender.octets().1, wire.len() as u64);
            // All of it can be read although the stream has no end.
            let mut receiver = Deflate::new();
            assert!(read_all(&mut receiver, dripping(wire, piece), room).unwrap() == text);
        }
    }

    #[test]
    fn a_bomb_fills_the_room_there_is_and_no_more() {
        let (mut sender, mut wire) = (Deflate::new(), Vec::new());
        let zeros = vec![0; 4 * 1024 * 1024];
        let mut at = 0;
        while at < zeros.len() {
            at += sender
                .write(&zeros[at..], &mut |bytes| {
                    wire.extend_from_slice(bytes);
                    Ok(bytes.len())
                })
                .unwrap();
        }
        assert!(wire.len() < zeros.len() / 100);
        let mut receiver = Deflate::new();
        let mut source = dripping(wire, usize::MAX);
        let (mut piece, mut sum) = (vec![1; 1000], 0);
        loop {
            match receiver.read(&mut piece, &mut source) {
                Ok(0) => break,
                Ok(count) => sum += count,
                Err(_) => {}
            }
            assert!(receiver.input.capacity() <= INPUT && receiver.output.capacity() == 0);
        }
        assert_eq!(sum, zeros.len());
    }

    #[test]
    fn empty_blocks_without_end_do_not_keep_a_reader_from_its_deadline() {
        let mut receiver = Deflate::new();
        let (mut asked, mut piece) = (0, [0; 100]);
        let error = receiver.read(&mut piece, &mut |into| {
            asked += 1;
            assert!(asked < 1000, "it reads on and on");
            // Stored blocks of no octets, whole ones each time.
            let count = into.len() / 5 * 5;
            into[..count].copy_from_slice(&[0, 0, 0, 0xFF, 0xFF].repeat(count / 5));
            Ok(count)
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_not_compressed_is_an_error_and_an_end_is_an_end() {
        let mut receiver = Deflate::new();
        let error = read_all(&mut receiver, dripping(b"* OK not compressed at all\r\n".repeat(10), 100), 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(receiver.is_garbled());
        // A final empty block: the stream is over, whatever follows.
        let mut receiver = Deflate::new();
        assert_eq!(read_all(&mut receiver, dripping(b"\x03\x00* BYE\r\n".to_vec(), 100), 100).unwrap(), b"");
        assert!(!receiver.is_garbled());
    }
}
