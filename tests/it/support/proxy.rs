//! A bad network between the program and a server: delay without a limit on throughput, cuts, freezes, lone octets.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Which way octets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the program.
    ToServer,
    /// To the program.
    ToClient,
}

/// What the end of a connection looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Both sides see an end of file.
    Fin,
    /// Both sides see a reset.
    Reset,
    /// Both sides see nothing any more, for ever.
    Freeze,
}

/// How the network behaves.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// Added each way.
    pub delay: Duration,
    /// Ends a connection once so many octets went one way; those are still delivered.
    pub cut: Option<(Direction, u64, Cut)>,
    /// On how many connections the cut happens; the later ones are well. 0 stands for all.
    pub cuts: u64,
    /// Every octet travels alone.
    pub one_byte: bool,
    /// At most so many octets a second each way.
    pub rate: Option<u64>,
}

/// A proxy on a loopback port.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    weather: Mutex<Weather>,
    stopped: Mutex<bool>,
    changed: Condvar,
    connections: AtomicU64,
    octets: [AtomicU64; 2],
    turns: AtomicU64,
    /// Whether the program spoke last.
    spoke: Mutex<HashMap<u64, bool>>,
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
    frozen: Mutex<HashSet<u64>>,
}

impl Proxy {
    /// Listens, and forwards to 127.0.0.1:`target`.
    pub fn start(target: u16, weather: Weather) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            weather: Mutex::new(weather),
            stopped: Mutex::new(false),
            changed: Condvar::new(),
            connections: AtomicU64::new(0),
            octets: [AtomicU64::new(0), AtomicU64::new(0)],
            turns: AtomicU64::new(0),
            spoke: Mutex::new(HashMap::new()),
            open: Mutex::new(HashMap::new()),
            frozen: Mutex::new(HashSet::new()),
        });
        let control = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if *control.stopped.lock().unwrap() {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, connect(target)) else { continue };
                let number = control.connections.fetch_add(1, Ordering::SeqCst) + 1;
                let mut weather = control.weather.lock().unwrap().clone();
                if weather.cuts != 0 && number > weather.cuts {
                    weather.cut = None;
                }
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let ends = [client.try_clone().unwrap(), server.try_clone().unwrap()];
                control.open.lock().unwrap().insert(number, ends);
                let copies = (client.try_clone().unwrap(), server.try_clone().unwrap());
                forward(&control, number, Direction::ToServer, client, server, &weather);
                forward(&control, number, Direction::ToClient, copies.1, copies.0, &weather);
            }
        });
        Self { port, shared }
    }

    /// The port, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather for connections made from now on.
    pub fn set(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap() = weather;
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How often the program spoke after it had heard something (or first of all), over all connections: each time costs a
    /// round trip. Wants a delay, so that what is sent at once stays together.
    pub fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::SeqCst)
    }

    /// Octets delivered so far, over all connections.
    pub fn octets(&self, direction: Direction) -> u64 {
        self.shared.octets[direction as usize].load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        *self.shared.stopped.lock().unwrap() = true;
        self.shared.changed.notify_all();
        let numbers: Vec<u64> = self.shared.open.lock().unwrap().keys().copied().collect();
        for number in numbers {
            self.shared.end(number, Cut::Fin);
        }
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    /// Ends both sides of a connection.
    fn end(&self, number: u64, cut: Cut) {
        if cut == Cut::Freeze {
            self.wait_for_the_end();
        }
        let Some(ends) = self.open.lock().unwrap().remove(&number) else { return };
        for end in &ends {
            if cut == Cut::Reset {
                let _ = socket2::SockRef::from(end).set_linger(Some(Duration::ZERO));
                // The other threads hold copies; shutting down for reading makes them let go, and the last close resets.
                let _ = end.shutdown(Shutdown::Read);
            } else {
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }

    fn wait_for_the_end(&self) {
        let mut stopped = self.stopped.lock().unwrap();
        while !*stopped {
            stopped = self.changed.wait(stopped).unwrap();
        }
    }

    fn talk(&self, number: u64, direction: Direction) {
        let speaks = direction == Direction::ToServer;
        let before = self.spoke.lock().unwrap().insert(number, speaks);
        if speaks && before != Some(true) {
            self.turns.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn is_frozen(&self, number: u64) -> bool {
        self.frozen.lock().unwrap().contains(&number)
    }

    fn is_open(&self, number: u64) -> bool {
        self.open.lock().unwrap().contains_key(&number)
    }
}

fn forward(shared: &Arc<Shared>, number: u64, direction: Direction, mut from: TcpStream, mut to: TcpStream, weather: &Weather) {
    // Deep enough for the delay times any speed loopback reaches, and bounded all the same.
    let (sender, receiver) = sync_channel::<(Instant, Vec<u8>)>(1024);
    let (delay, heard) = (weather.delay, Arc::clone(shared));
    std::thread::spawn(move || {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            if direction == Direction::ToServer {
                heard.talk(number, direction);
            }
            if sender.send((Instant::now() + delay, piece[..count].to_vec())).is_err() {
                return;
            }
        }
    });
    let (shared, weather) = (Arc::clone(shared), weather.clone());
    std::thread::spawn(move || {
        let cut = weather.cut.and_then(|(way, after, cut)| (way == direction).then_some((after, cut)));
        let mut delivered = 0;
        for (due, bytes) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if shared.is_frozen(number) {
                shared.wait_for_the_end();
                return;
            }
            let left = cut.map_or(u64::MAX, |(after, _)| after - delivered);
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            if let Some((after, Cut::Freeze)) = cut
                && delivered + count as u64 >= after
            {
                // Before the last octets go out: what the peer answers to them must not pass.
                shared.frozen.lock().unwrap().insert(number);
            }
            if direction == Direction::ToClient {
                shared.talk(number, direction);
            }
            let step = if weather.one_byte { 1 } else { count.max(1) };
            for chunk in bytes[..count].chunks(step) {
                if !shared.is_open(number) || to.write_all(chunk).is_err() {
                    return;
                }
            }
            delivered += count as u64;
            if let Some(rate) = weather.rate {
                std::thread::sleep(Duration::from_micros(count as u64 * 1_000_000 / rate));
            }
            shared.octets[direction as usize].fetch_add(count as u64, Ordering::SeqCst);
            if let Some((after, how)) = cut
                && delivered >= after
            {
                shared.end(number, how);
                return;
            }
        }
        // The sender closed its side; the other way may still have something to say. After a reset a FIN would be a lie.
        if shared.is_open(number) && !shared.is_frozen(number) {
            let _ = to.shutdown(Shutdown::Write);
        }
    });
}

/// Small segments, as the program uses them on loopback: a stalled window there is no weather of ours.
fn connect(port: u16) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_tcp_mss(4096)?;
    socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    Ok(socket.into())
}
