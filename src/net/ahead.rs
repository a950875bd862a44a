//! A socket under TLS, read in large pieces: TLS asks for the few octets of a record's head and then for the record, and each of
//! these would be a system call. It knows octets alone.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Octets read at once.
const PIECE: usize = 64 * 1024;

/// A socket, and what was read from it ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    tcp: TcpStream,
    buffer: Vec<u8>,
    /// What of the buffer was not asked for yet.
    unread: std::ops::Range<usize>,
}

impl Ahead {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, buffer: vec![0; PIECE], unread: 0..0 }
    }

    /// The socket, to wait for it: whoever reads until nothing is left has emptied the buffer too.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }
}

impl Read for Ahead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            if into.len() >= self.buffer.len() {
                return self.tcp.read(into);
            }
            self.unread = 0..0;
            let count = self.tcp.read(&mut self.buffer)?;
            self.unread = 0..count;
        }
        let ready = self.buffer.get(self.unread.clone()).unwrap_or_default();
        let count = ready.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), ready.get(..count)) {
            to.copy_from_slice(from);
        }
        self.unread.start += count;
        Ok(count)
    }
}

impl Write for Ahead {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_was_read_ahead_comes_in_order_and_then_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut ahead = Ahead::new(listener.accept().unwrap().0);
        let sent: Vec<u8> = (0..200_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
        let writer = {
            let sent = sent.clone();
            std::thread::spawn(move || server.write_all(&sent).unwrap())
        };
        let mut got = Vec::new();
        for size in [5, 1000, 3, 70_000].into_iter().cycle() {
            let mut piece = vec![0; size];
            match ahead.read(&mut piece).unwrap() {
                0 => break,
                count => got.extend_from_slice(&piece[..count]),
            }
        }
        writer.join().unwrap();
        assert!(got == sent);
    }
}
