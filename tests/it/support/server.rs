//! What all scripted and in-memory servers stand on: a listener on a free loopback port, a thread for each connection,
//! and a wire that can be slow, deaf, mute, cut or upgraded to TLS. Everything ends when the server is dropped.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use native_tls::TlsStream;

use super::tls;

/// A listener and its connections.
pub struct Server {
    port: u16,
    control: Arc<Control>,
}

#[derive(Default)]
struct Control {
    stopped: Mutex<bool>,
    changed: Condvar,
    open: Mutex<HashMap<u64, TcpStream>>,
    closed: Condvar,
    connections: AtomicU64,
}

impl Control {
    fn is_stopped(&self) -> bool {
        *self.stopped.lock().unwrap()
    }
}

impl Server {
    /// Listens, and hands each connection (numbered from 1) to `handle` on a thread of its own. An error that `handle`
    /// returns only ends the connection.
    pub fn start(small_buffers: bool, handle: impl Fn(&mut Wire) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if small_buffers {
            // Accepted sockets inherit them; set before the handshake, so that the window announced is small too.
            let socket = socket2::SockRef::from(&listener);
            socket.set_recv_buffer_size(1024).unwrap();
            socket.set_send_buffer_size(1024).unwrap();
        }
        let port = listener.local_addr().unwrap().port();
        let control = Arc::new(Control::default());
        let shared = Arc::clone(&control);
        let handle = Arc::new(handle);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_stopped() {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                let _ = stream.set_nodelay(true);
                let (control, handle) = (Arc::clone(&shared), Arc::clone(&handle));
                control.open.lock().unwrap().insert(number, stream.try_clone().unwrap());
                std::thread::spawn(move || {
                    let mut wire = Wire::new(stream, number, Arc::clone(&control));
                    let _ = handle(&mut wire);
                    wire.hang_up();
                });
            }
        });
        Self { port, control }
    }

    /// The port, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u64 {
        self.control.connections.load(Ordering::SeqCst)
    }

    /// Waits until the server is done with every connection: what a dead client sent is dealt with then.
    pub fn wait_until_quiet(&self) {
        let open = self.control.open.lock().unwrap();
        drop(self.control.closed.wait_while(open, |open| !open.is_empty()).unwrap());
    }

    /// Cuts all connections that are open now; new ones are taken.
    pub fn cut_all(&self) {
        for stream in self.control.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        *self.control.stopped.lock().unwrap() = true;
        self.control.changed.notify_all();
        self.cut_all();
        // Wakes the listener's thread, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Gone,
}

/// One connection as a server sees it.
pub struct Wire {
    stream: Stream,
    number: u64,
    control: Arc<Control>,
    buffer: Vec<u8>,
    start: usize,
    received: u64,
    sent: u64,
    /// A pause after each octet written; every octet then travels alone.
    pub drip: Option<Duration>,
    /// Nothing is read any more once so many octets were.
    pub deaf_after: Option<u64>,
    /// Nothing is written any more once so many octets were.
    pub mute_after: Option<u64>,
    /// What is written is thrown away.
    pub silent: bool,
    /// Both directions are compressed (RFC 4978).
    deflate: Option<Box<(Decompress, Compress)>>,
}

fn gone() -> io::Error {
    io::Error::from(io::ErrorKind::NotConnected)
}

impl Wire {
    fn new(stream: TcpStream, number: u64, control: Arc<Control>) -> Self {
        Self {
            stream: Stream::Plain(stream),
            number,
            control,
            buffer: Vec::new(),
            start: 0,
            received: 0,
            sent: 0,
            drip: None,
            deaf_after: None,
            mute_after: None,
            silent: false,
            deflate: None,
        }
    }

    /// Reads and writes compressed from here on.
    pub fn start_deflate(&mut self) {
        self.deflate = Some(Box::new((Decompress::new(false), Compress::new(Compression::default(), false))));
    }

    /// The connection's number, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many octets were read from the socket and not yet taken.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn fill(&mut self) -> io::Result<usize> {
        if self.deaf_after.is_some_and(|bound| self.received >= bound) {
            self.stall();
            return Err(gone());
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let mut piece = [0; 16 * 1024];
        let count = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut piece)?,
            Stream::Tls(stream) => stream.read(&mut piece)?,
            Stream::Gone => return Err(gone()),
        };
        match &mut self.deflate {
            None => self.buffer.extend_from_slice(&piece[..count]),
            Some(deflate) => {
                let start = deflate.0.total_in();
                loop {
                    let taken = usize::try_from(deflate.0.total_in() - start).unwrap();
                    self.buffer.reserve(16 * 1024);
                    deflate.0.decompress_vec(&piece[taken..count], &mut self.buffer, FlushDecompress::None).map_err(io::Error::other)?;
                    if deflate.0.total_in() - start == count as u64 && self.buffer.len() < self.buffer.capacity() {
                        break;
                    }
                }
            }
        }
        self.received += count as u64;
        Ok(count)
    }

    /// One line without its line end; `None` at the end of the connection.
    pub fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            if let Some(index) = self.buffer[self.start + searched..].iter().position(|&byte| byte == b'\n') {
                let end = self.start + searched + index;
                let mut line = self.buffer[self.start..end].to_vec();
                self.start = end + 1;
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
            searched = self.buffered();
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Exactly `count` octets.
    pub fn read_exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count.min(1 << 20));
        while bytes.len() < count {
            if self.buffered() == 0 && self.fill()? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let taken = self.buffered().min(count - bytes.len());
            bytes.extend_from_slice(&self.buffer[self.start..self.start + taken]);
            self.start += taken;
        }
        Ok(bytes)
    }

    fn write_now(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut compressed = Vec::new();
        let bytes = match &mut self.deflate {
            None => bytes,
            Some(deflate) => {
                let start = deflate.1.total_in();
                loop {
                    let taken = usize::try_from(deflate.1.total_in() - start).unwrap();
                    compressed.reserve(16 * 1024);
                    deflate.1.compress_vec(&bytes[taken..], &mut compressed, FlushCompress::Sync).map_err(io::Error::other)?;
                    if deflate.1.total_in() - start == bytes.len() as u64 && compressed.len() < compressed.capacity() {
                        break;
                    }
                }
                &compressed
            }
        };
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes)?,
            Stream::Tls(stream) => stream.write_all(bytes)?,
            Stream::Gone => return Err(gone()),
        }
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// Writes at once (octet by octet under `drip`).
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.silent {
            return Ok(());
        }
        let allowed =
            self.mute_after.map_or(bytes.len(), |bound| usize::try_from(bound.saturating_sub(self.sent)).unwrap().min(bytes.len()));
        let (now, rest) = bytes.split_at(allowed);
        match self.drip {
            None => self.write_now(now)?,
            Some(pause) => {
                for byte in now {
                    self.write_now(std::slice::from_ref(byte))?;
                    if !pause.is_zero() {
                        std::thread::sleep(pause);
                    }
                }
            }
        }
        if rest.is_empty() {
            return Ok(());
        }
        self.stall();
        Err(gone())
    }

    /// Writes a line with CRLF.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.write(format!("{text}\r\n").as_bytes())
    }

    /// Becomes the server side of TLS, with the identity all test servers share.
    pub fn start_tls(&mut self) -> io::Result<()> {
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else { return Err(gone()) };
        let stream = tls::identity().acceptor().accept(stream).map_err(io::Error::other)?;
        self.stream = Stream::Tls(Box::new(stream));
        Ok(())
    }

    /// Neither reads nor writes until the server is dropped.
    pub fn stall(&self) {
        let mut stopped = self.control.stopped.lock().unwrap();
        while !*stopped {
            stopped = self.control.changed.wait(stopped).unwrap();
        }
    }

    /// Ends the connection with FIN; what the client still sends is read and thrown away for a moment, because closing
    /// over unread octets would become a reset.
    pub fn hang_up(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            let _ = stream.shutdown();
        }
        self.forget();
        let tcp = match &self.stream {
            Stream::Plain(stream) => stream.try_clone(),
            Stream::Tls(stream) => stream.get_ref().try_clone(),
            Stream::Gone => return,
        };
        self.stream = Stream::Gone;
        if let Ok(mut tcp) = tcp {
            let _ = tcp.shutdown(Shutdown::Write);
            let _ = tcp.set_read_timeout(Some(Duration::from_secs(2)));
            let mut piece = [0; 16 * 1024];
            while tcp.read(&mut piece).is_ok_and(|count| count > 0) {}
        }
    }

    fn forget(&self) {
        self.control.open.lock().unwrap().remove(&self.number);
        self.control.closed.notify_all();
    }

    /// Ends the connection with RST.
    pub fn reset(&mut self) {
        self.forget();
        let socket = match &self.stream {
            Stream::Plain(stream) => socket2::SockRef::from(stream),
            Stream::Tls(stream) => socket2::SockRef::from(stream.get_ref()),
            Stream::Gone => return,
        };
        let _ = socket.set_linger(Some(Duration::ZERO));
        // TLS would say goodbye when dropped; a plain close of the socket is what makes the reset.
        let _ = socket.shutdown(Shutdown::Read);
        self.stream = Stream::Gone;
    }
}

/// Moves the test clock that `MAILHAUL_TEST_CLOCK` names, under the same lock as the program does.
pub fn advance_clock(file: &Path, by: Duration) {
    let mut clock = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(file).unwrap();
    rustix::fs::flock(&clock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut text = String::new();
    clock.read_to_string(&mut text).unwrap();
    let moved = text.trim().parse::<u64>().unwrap_or(0) + u64::try_from(by.as_millis()).unwrap();
    io::Seek::rewind(&mut clock).unwrap();
    write!(clock, "{moved}").unwrap();
}

/// Milliseconds by which the test clock runs ahead; 0 without one.
pub fn read_clock(file: Option<&PathBuf>) -> u64 {
    file.and_then(|file| std::fs::read_to_string(file).ok()).and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
