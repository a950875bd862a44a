//! COMPRESS=DEFLATE against Dovecot's and the server in memory: the same mail over fewer octets, begun only where it pays and never
//! again at a server that failed at it.

use std::path::Path;
use std::time::Duration;

use mailhaul::account::{Config, CredentialSource, Overrides, Place, Server};
use mailhaul::context::Context;
use mailhaul::error::{Error, Kind};
use mailhaul::folder::Folder;
use mailhaul::net::Trace;
use mailhaul::store::origin::Origin;

use crate::support::dovecot::{self, Dovecot};
use crate::support::imapd::{Behaviour, CommandFault, Imapd};
use crate::support::mail;
use crate::support::proxy::{Cut, Direction, Proxy, Weather};
use crate::support::tls;
use crate::support::tool::Tool;

fn server(tool: &Tool, url: &str) -> Server {
    let config = Config::parse("", Path::new("config.toml")).unwrap();
    let overrides = Overrides {
        credential: Some(CredentialSource::File(tool.password_file())),
        ca_file: Some(tls::identity().ca_file().to_owned()),
        ..Overrides::default()
    };
    Place::parse(url, &config, &overrides).unwrap().server().unwrap().clone()
}

/// Reads INBOX whole; the bodies in the order of their UIDs.
fn read(server: &Server, trace: &Trace) -> Result<Vec<Vec<u8>>, Error> {
    let mut origin = Origin::connect(server, &Context::from_environment(), trace)?;
    origin.folders()?;
    let visit = origin.visit(&Folder::inbox(), None, &mut |_| Ok(()))?;
    let mut arrivals = Vec::new();
    origin.arrivals(&visit.there, &mut |arrival| {
        arrivals.push(arrival);
        Ok(())
    })?;
    let mut bodies = vec![None; arrivals.len()];
    origin.read(&arrivals, &mut |index, message| {
        let body = message?.body;
        bodies[index] = Some(body.prefix(usize::MAX)?);
        Ok(())
    })?;
    origin.finish()?;
    Ok(bodies.into_iter().map(Option::unwrap).collect())
}

/// Mail that compresses well.
fn wordy(count: usize, octets: usize) -> Vec<Vec<u8>> {
    let line = "All work and no play makes Jack a dull boy.\r\n";
    (0..count).map(|number| format!("Subject: {number}\r\n\r\n{}", line.repeat(octets / line.len())).into_bytes()).collect()
}

fn compressing() -> Behaviour {
    Behaviour::default().with("COMPRESS=DEFLATE").with("ESEARCH")
}

fn asked(imapd: &Imapd) -> usize {
    imapd.log().iter().filter(|line| line.contains("COMPRESS")).count()
}

#[test]
fn a_slow_link_is_compressed_once_messages_have_shown_that_it_is_slow() {
    let tool = Tool::new();
    let imapd = Imapd::start(compressing());
    imapd.fill("INBOX", &wordy(160, 100_000));
    let proxy = Proxy::start(imapd.port(), Weather { rate: Some(2 * 1024 * 1024), ..Weather::default() });
    let auto = server(&tool, &format!("imap://ann@127.0.0.1:{}?tls=none&connections=1", proxy.port()));
    assert!(read(&auto, &Trace::off()).unwrap() == imapd.bodies("INBOX"));
    assert_eq!(asked(&imapd), 1);
    // Two MiB to learn, what was in flight then, and hardly anything for the other ten.
    let octets = proxy.octets(Direction::ToClient);
    assert!((2_000_000..8_000_000).contains(&octets), "{octets}");
    // COMPRESS went out when nothing else was on its way.
    let log = imapd.log();
    let at = log.iter().position(|line| line.contains("COMPRESS")).unwrap();
    assert!(log[at - 1].contains("UID FETCH") && log[at + 1].ends_with("NOOP") && log[at + 2].contains("UID FETCH"), "{log:#?}");
}

#[test]
fn what_was_asked_for_decides_and_what_is_not_offered_is_not_asked() {
    let tool = Tool::new();
    for (behaviour, option, times) in
        [(compressing(), "yes", 1), (compressing(), "no", 0), (Behaviour::default(), "yes", 0), (Behaviour::default(), "auto", 0)]
    {
        let imapd = Imapd::start(behaviour);
        imapd.fill("INBOX", &wordy(30, 100_000));
        let proxy = Proxy::start(imapd.port(), Weather::default());
        let server = server(&tool, &format!("imap://ann@127.0.0.1:{}?tls=none&compress={option}", proxy.port()));
        assert!(read(&server, &Trace::off()).unwrap() == imapd.bodies("INBOX"));
        assert_eq!(asked(&imapd), times, "{option}");
        assert_eq!(proxy.octets(Direction::ToClient) < 300_000, times == 1, "{option}");
    }
}

#[test]
fn every_kind_of_mail_comes_through_a_compressed_connection_cut_anywhere() {
    let tool = Tool::new();
    let imapd = Imapd::start(compressing());
    let mut bodies: Vec<Vec<u8>> = mail::nasty().into_iter().map(|(_, body)| body).filter(|body| !body.is_empty()).collect();
    bodies.extend(mail::many(50, 5000));
    imapd.fill("INBOX", &bodies);
    for weather in [Weather { one_byte: true, ..Weather::default() }, Weather::default()] {
        let proxy = Proxy::start(imapd.port(), weather);
        let server = server(&tool, &format!("imap://ann@127.0.0.1:{}?tls=none&compress=yes", proxy.port()));
        assert!(read(&server, &Trace::off()).unwrap() == bodies);
    }
    let proxy = Proxy::start(imapd.port(), Weather::default());
    let url = |port: u16| format!("imap://ann@127.0.0.1:{port}?tls=none&compress=yes");
    read(&server(&tool, &url(proxy.port())), &Trace::off()).unwrap();
    let whole = proxy.octets(Direction::ToClient);
    for at in (400..whole - 60).step_by(usize::try_from(whole / 40).unwrap()) {
        let proxy = Proxy::start(imapd.port(), Weather { cut: Some((Direction::ToClient, at, Cut::Fin)), ..Weather::default() });
        let error = read(&server(&tool, &url(proxy.port())), &Trace::off()).unwrap_err();
        assert_eq!(error.kind(), Kind::Network, "cut at {at} of {whole}: {error}");
    }
}

#[test]
fn a_server_that_fails_at_it_is_not_asked_again() {
    let tool = Tool::new();
    let refusing = Imapd::start(compressing().fault("COMPRESS", 1, CommandFault::Refuse("NO not today".to_owned())));
    refusing.fill("INBOX", &mail::many(5, 1000));
    let place = server(&tool, &format!("{}&compress=yes", refusing.url()));
    for _ in 0..2 {
        assert!(read(&place, &Trace::off()).unwrap() == refusing.bodies("INBOX"));
    }
    assert_eq!(asked(&refusing), 1);
    // One that goes on as if nothing had been agreed waits for a line that never ends; one speaks too early.
    for (more, patience, kinds) in [("", 1, [Kind::Timeout, Kind::Network]), ("* OK already here\r\n", 60, [Kind::Protocol, Kind::Network])]
    {
        let imapd = Imapd::start(compressing());
        imapd.fill("INBOX", &mail::many(5, 1000));
        imapd.behave(|behaviour| behaviour.compresses_not = Some(more.to_owned()));
        let mut place = server(&tool, &format!("{}&compress=yes", imapd.url()));
        let patient = place.clone();
        place.endpoint.timeout = Some(Duration::from_secs(patience));
        let error = read(&place, &Trace::off()).unwrap_err();
        assert!(kinds.contains(&error.kind()), "{error}");
        assert!(read(&patient, &Trace::off()).unwrap() == imapd.bodies("INBOX"));
        assert_eq!(asked(&imapd), 1);
    }
    let hanging = Imapd::start(compressing().fault("COMPRESS", 1, CommandFault::HangUpAfter));
    hanging.fill("INBOX", &mail::many(5, 1000));
    let place = server(&tool, &format!("{}&compress=yes", hanging.url()));
    assert_eq!(read(&place, &Trace::off()).unwrap_err().kind(), Kind::Network);
    assert!(read(&place, &Trace::off()).unwrap() == hanging.bodies("INBOX"));
}

#[test]
fn dovecot_and_the_program_understand_each_other_compressed_with_and_without_starttls() {
    let extra = match dovecot::version() {
        Some(version) if version.starts_with("2.3") => {
            "mail_plugins = zlib\nprotocol imap {\n  mail_plugins = zlib imap_zlib\n}\n".to_owned()
        }
        _ => String::new(),
    };
    let Some(dovecot) = Dovecot::start(dovecot::Options { extra, ..dovecot::Options::default() }) else { return };
    let user = dovecot.user("squeeze");
    let mut bodies = wordy(40, 50_000);
    bodies.extend(mail::many(100, 3000));
    user.deliver("INBOX", &bodies);
    let tool = Tool::new();
    let expected = user.bodies("INBOX");
    for (target, scheme) in [(dovecot.ports().imaps, "imaps"), (dovecot.ports().imap, "imap")] {
        let proxy = Proxy::start(target, Weather::default());
        let place = server(&tool, &format!("{scheme}://{}@localhost:{}?compress=yes", user.name(), proxy.port()));
        let path = tool.path(&format!("trace-{scheme}"));
        assert!(read(&place, &Trace::to_file(&path).unwrap()).unwrap() == expected);
        let trace = std::fs::read_to_string(&path).unwrap();
        assert!(trace.contains("COMPRESS DEFLATE") && trace.contains("compressed from here on"), "{}", &trace[..trace.len().min(3000)]);
        // Two megabytes of words and a third of one of noise.
        assert!(proxy.octets(Direction::ToClient) < 700_000, "{}", proxy.octets(Direction::ToClient));
    }
}
