use super::*;
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

fn endpoint(port: u16, timeout_ms: u64) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".to_owned(),
        port,
        security: Security::None,
        tls: crate::net::TlsOptions::default(),
        timeout: Some(Duration::from_millis(timeout_ms)),
        allow_plaintext: false,
    }
}

fn peer<T: Send + 'static>(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> (u16, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, thread::spawn(move || serve(listener.accept().unwrap().0)))
}

fn dial(port: u16, timeout_ms: u64) -> Conn {
    Conn::dial(&endpoint(port, timeout_ms), &Context::from_environment(), &Trace::off()).unwrap()
}

#[test]
fn lines_come_without_their_ends_however_they_are_cut() {
    let (port, server) = peer(|mut tcp| {
        for byte in b"one\r\ntwo\n\r\nlast" {
            tcp.write_all(&[*byte]).unwrap();
        }
    });
    let mut conn = dial(port, 5000);
    let mut line = Vec::new();
    for expected in ["one", "two", ""] {
        conn.read_line(100, &mut line).unwrap();
        assert_eq!(line, expected.as_bytes());
    }
    let error = conn.read_line(100, &mut line).unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Network, "the server closed the connection"));
    server.join().unwrap();
}

#[test]
fn a_line_over_the_limit_is_a_protocol_error_and_poisons() {
    let (port, server) = peer(|mut tcp| {
        let _ = tcp.write_all(&vec![b'x'; 5000]);
    });
    let mut conn = dial(port, 5000);
    let mut line = Vec::new();
    assert_eq!(conn.read_line(1000, &mut line).unwrap_err().kind(), Kind::Protocol);
    assert!(conn.read_line(1000, &mut line).is_err());
    server.join().unwrap();
}

#[test]
fn a_full_window_drains_answers_while_it_writes() {
    // The peer answers every octet with a kilobyte-sized promise and never reads ahead of what it answers.
    const ROUNDS: usize = 120_000;
    let (port, server) = peer(|mut tcp| {
        let _ = socket2::SockRef::from(&tcp).set_recv_buffer_size(4096);
        let _ = socket2::SockRef::from(&tcp).set_send_buffer_size(4096);
        let mut byte = [0; 64];
        let mut seen = 0;
        while seen < ROUNDS {
            let count = tcp.read(&mut byte).unwrap();
            seen += count;
            tcp.write_all(&vec![b'y'; count]).unwrap();
        }
    });
    let mut conn = dial(port, 20_000);
    conn.write(&vec![b'x'; ROUNDS]).unwrap();
    conn.flush().unwrap();
    conn.deadline(Phase::Body);
    let mut got = 0;
    conn.read_exact_into(ROUNDS as u64, &mut |bytes| {
        got += bytes.len();
        Ok(())
    })
    .unwrap();
    assert_eq!(got, ROUNDS);
    server.join().unwrap();
}

#[test]
fn a_drip_does_not_outlive_the_deadline() {
    let (port, server) = peer(|mut tcp| {
        // Ends as soon as the client hangs up.
        while tcp.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let mut conn = dial(port, 300);
    conn.deadline(Phase::Body);
    assert_eq!(conn.read_line(1_000_000, &mut Vec::new()).unwrap_err().kind(), Kind::Timeout);
    drop(conn);
    server.join().unwrap();
}

#[test]
fn a_server_that_stops_reading_is_given_up() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let (port, server) = peer(move |tcp| {
        let _ = wait.recv();
        drop(tcp);
    });
    let mut conn = dial(port, 300);
    let error = conn.write(&vec![b'x'; 32 * 1024 * 1024]).and_then(|()| conn.flush()).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    drop(done);
    server.join().unwrap();
}

#[test]
fn an_octet_behind_the_agreement_to_start_tls_is_fatal() {
    let (port, server) = peer(|mut tcp| {
        tcp.write_all(b"+OK go\r\n* evil\r\n").unwrap();
        let _ = tcp.read(&mut [0; 16]);
    });
    let mut conn = Conn::dial(&endpoint(port, 5000), &Context::from_environment(), &Trace::off()).unwrap();
    let mut line = Vec::new();
    conn.read_line(100, &mut line).unwrap();
    assert_eq!(conn.start_tls().unwrap_err().kind(), Kind::Protocol);
    drop(conn);
    server.join().unwrap();
}

#[test]
fn nothing_secret_goes_out_before_tls_stands() {
    let (port, server) = peer(|mut tcp| {
        let mut all = Vec::new();
        let _ = tcp.read_to_end(&mut all);
        all
    });
    let mut plain = endpoint(port, 5000);
    plain.security = Security::StartTls;
    let mut conn = Conn::dial(&plain, &Context::from_environment(), &Trace::off()).unwrap();
    assert!(conn.write_secret(b"PASS hunter2\r\n", "PASS ***").is_err());
    assert!(conn.flush().is_ok());
    drop(conn);
    assert_eq!(server.join().unwrap(), b"");
}

#[test]
fn a_refused_connection_says_so_in_one_sentence() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = Conn::dial(&endpoint(port, 5000), &Context::from_environment(), &Trace::off()).err().unwrap();
    assert_eq!(error.kind(), Kind::Network);
    assert!(error.message().contains("connection refused"), "{error}");
}
