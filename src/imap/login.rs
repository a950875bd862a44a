//! From a socket to an authenticated session: greeting, STARTTLS where it was asked for, login. Policy comes from the
//! account, never from what a server announces; nothing learned before TLS survives it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::compress::Pace;
use super::encode::Command;
use super::opening::{Ahead, Opening};
use super::session::{Access, Capabilities, Session};
use super::types::{Code, Response, Status, StatusLine, Untagged};
use super::wire::Wire;
use crate::account::{Authentication, Login, Server};
use crate::backoff::{self, Cause};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::net::{Conn, Phase, Security, Trace};
use crate::sasl::{Exchange, Mechanism};
use crate::secret::Secret;

/// Challenges one exchange may take.
const MAX_CHALLENGES: usize = 10;

impl Session {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`Kind::Network`] and [`Kind::Timeout`] for the connection and TLS, [`Kind::Auth`] for a refused login (one try
    /// only: more would lock the account), [`Kind::Busy`] where the server says to come back, [`Kind::Protocol`] for a
    /// greeting that is none.
    pub fn connect(server: &Server, access: Access, context: &Context, trace: &Trace) -> Result<Self> {
        connect(server, access, context, trace, Ahead::Nothing).map_err(|error| error.at(&server.place))
    }

    /// As [`Session::connect`] for a caller who knows what it will ask for first: that goes out behind the login, together
    /// with what every session asks. The caller then asks as if nothing had been sent, and finds the answer there.
    ///
    /// # Errors
    /// As [`Session::connect`]; what `opening` asks for is refused only when it is asked for.
    pub fn connect_at(server: &Server, access: Access, context: &Context, trace: &Trace, opening: &Opening<'_>) -> Result<Self> {
        connect(server, access, context, trace, Ahead::Folder(opening)).map_err(|error| error.at(&server.place))
    }

    /// As [`Session::connect_at`] for a caller who will ask for [`Session::standings`] first.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn connect_listing(server: &Server, access: Access, context: &Context, trace: &Trace) -> Result<Self> {
        connect(server, access, context, trace, Ahead::Mailboxes).map_err(|error| error.at(&server.place))
    }
}

fn connect(server: &Server, access: Access, context: &Context, trace: &Trace, ahead: Ahead<'_>) -> Result<Session> {
    // Asked for first: a prompt must not run into the server's patience.
    let login = server.login(context)?;
    let session = match connect_with(server, &login, access, context, trace, ahead) {
        // A token lives an hour, and passwords change.
        Err(error) if error.kind() == Kind::Auth => match server.login_anew(&login, context)? {
            Some(login) => connect_with(server, &login, access, context, trace, ahead),
            None => Err(error),
        },
        other => other,
    };
    session.inspect(|_| server.accepted())
}

fn connect_with(server: &Server, login: &Login, access: Access, context: &Context, trace: &Trace, ahead: Ahead<'_>) -> Result<Session> {
    let dial = if access == Access::ReadOnly { Conn::dial_to_read } else { Conn::dial };
    let conn = dial(&server.endpoint, context, trace)?;
    let mut wire = Wire::new(conn, access);
    // Servers quote what they got, in refusals above all.
    let (Login::Password(secret) | Login::Token(secret)) = login;
    wire.conn.hide(secret.clone());
    wire.conn.deadline(Phase::Greeting);
    let greeting = greeting(&mut wire)?;
    if server.endpoint.security == Security::StartTls {
        if greeting.status == Status::Preauth {
            return Err(Error::network(
                "the server greets as already logged in, which leaves no way to start TLS (somebody may be tampering with the connection)",
            ));
        }
        start_tls(&mut wire)?;
        // Tags go on, all else begins anew: what was said before TLS may have been said by anybody.
        wire = Wire::new(wire.conn, access);
    }
    let mut known = match greeting.code {
        Some(Code::Capability(names)) if server.endpoint.security != Security::StartTls => Capabilities::new(&names),
        _ => Capabilities::default(),
    };
    let mut offered = known.clone();
    if greeting.status == Status::Preauth {
        if !server.allow_preauth {
            return Err(Error::network("the server greets as already logged in, so nobody knows whose mail this is")
                .hint("if that is meant so, add --allow-preauth"));
        }
    } else {
        wire.conn.deadline(Phase::Login);
        if known.is_empty() {
            known = capability(&mut wire)?;
            offered.clone_from(&known);
        }
        if let Some(names) = authenticate(&mut wire, server, login, &known)? {
            known = names;
        }
    }
    let mut session = Session::begin(wire, server.place.clone(), known, Pace::new(&server.compression), ahead)?;
    session.offered = offered;
    Ok(session)
}

fn greeting(wire: &mut Wire) -> Result<StatusLine> {
    match wire.receive()?.response {
        Response::Untagged(Untagged::Status(status)) => match status.status {
            Status::Ok | Status::Preauth => Ok(status),
            Status::Bye => Err(Error::new(Kind::Busy, "the server turned the connection away").said(status.words())),
            Status::No | Status::Bad if backoff::read(&status.words()).is_some() => {
                Err(Error::new(Kind::Busy, "the server turned the connection away").said(status.words()))
            }
            Status::No | Status::Bad => Err(Error::protocol("the server's greeting is a refusal").said(status.words())),
        },
        other => Err(Error::protocol("the server's greeting is not IMAP's").said(shown(&other)).hint("check the port")),
    }
}

fn shown(response: &Response) -> String {
    let text = match response {
        Response::Untagged(Untagged::Other(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Response::Continuation(bytes) => format!("+{}", String::from_utf8_lossy(bytes)),
        Response::Tagged { tag, status } => format!("{tag} {}", status.words()),
        Response::Untagged(_) => "an untagged response".to_owned(),
    };
    text.chars().take(200).collect()
}

fn start_tls(wire: &mut Wire) -> Result<()> {
    let tag = wire.send(&Command::new("STARTTLS"))?;
    wire.conn.deadline(Phase::Tls);
    let status = wire.finish_any(&tag, &mut |_| Ok(()))?;
    if !status.is_ok() {
        wire.conn.poison();
        return Err(Error::network("TLS was asked for and the server refuses to start it")
            .said(status.words())
            .hint("use imaps:// if the server has it"));
    }
    wire.conn.start_tls()
}

fn capability(wire: &mut Wire) -> Result<Capabilities> {
    let tag = wire.send(&Command::new("CAPABILITY"))?;
    let mut names = Vec::new();
    wire.finish(&tag, "CAPABILITY was refused", &mut |received| {
        if let Response::Untagged(Untagged::Capability(found)) = received.response {
            names = found;
        }
        Ok(())
    })?;
    Ok(Capabilities::new(&names))
}

/// Logs in; returns the capabilities that came with the agreement, if any did.
fn authenticate(wire: &mut Wire, server: &Server, login: &Login, known: &Capabilities) -> Result<Option<Capabilities>> {
    let (secret, mechanism) = match (login, server.auth) {
        (Login::Password(secret) | Login::Token(secret), Some(Authentication::Sasl(mechanism))) => (secret, Some(mechanism)),
        (Login::Password(secret), Some(Authentication::Command)) => (secret, None),
        (Login::Token(_), Some(Authentication::Command)) => {
            return Err(Error::usage("auth=login takes a password, and this account has a token"));
        }
        (Login::Token(secret), None) => {
            let bearer = known.has("AUTH=OAUTHBEARER") && !known.has("AUTH=XOAUTH2");
            (secret, Some(if bearer { Mechanism::OAuthBearer } else { Mechanism::XOAuth2 }))
        }
        (Login::Password(secret), None) => (secret, known.has("AUTH=PLAIN").then_some(Mechanism::Plain)),
    };
    // Gmail tells its capabilities in a response of its own.
    let mut told = None;
    let status = match mechanism {
        Some(mechanism) => sasl(wire, server, secret, mechanism, known.has("SASL-IR"), &mut told)?,
        None if known.has("LOGINDISABLED") => {
            return Err(Error::auth(
                "the server takes no password on this connection (LOGINDISABLED) and offers no mechanism that we speak",
            )
            .hint("use TLS: imaps://, or imap:// without tls=none"));
        }
        None => {
            let command = Command::new("LOGIN").sp().string(server.user.as_bytes())?.sp().secret_string(secret.expose().as_bytes())?;
            let tag = wire.send(&command)?;
            wire.finish_any(&tag, &mut |received| {
                if let Response::Untagged(Untagged::Capability(names)) = received.response {
                    told = Some(names);
                }
                Ok(())
            })?
        }
    };
    if !status.is_ok() {
        return Err(login_refused(server, &status));
    }
    if let Some(Code::Capability(names)) = status.code {
        told = Some(names);
    }
    Ok(told.map(|names| Capabilities::new(&names)))
}

fn sasl(
    wire: &mut Wire,
    server: &Server,
    secret: &Secret,
    mechanism: Mechanism,
    initial_response: bool,
    told: &mut Option<Vec<String>>,
) -> Result<StatusLine> {
    let (mut exchange, mut first) = Exchange::start(mechanism, &server.user, secret, &server.endpoint.host, server.endpoint.port)?;
    let mut command = Command::new("AUTHENTICATE").sp().atom(mechanism.name())?;
    if initial_response && let Some(first) = first.take() {
        command = command.sp().secret_base64(&if first.is_empty() { "=".to_owned() } else { BASE64.encode(first) })?;
    }
    let tag = wire.send(&command)?;
    for _ in 0..MAX_CHALLENGES {
        let received = wire.receive()?;
        match received.response {
            Response::Continuation(text) => {
                let answer = match first.take() {
                    Some(first) => first,
                    None => {
                        // Some servers send words where base64 belongs; no mechanism here needs what they say.
                        let text = text.trim_ascii();
                        exchange.step(&BASE64.decode(text).unwrap_or_else(|_| text.to_vec()))?
                    }
                };
                wire.conn.write_secret(format!("{}\r\n", BASE64.encode(answer)).as_bytes(), "***")?;
            }
            Response::Tagged { tag: ended, status } => {
                wire.end(ended, status)?;
                if let Some(status) = wire.take_end(&tag) {
                    return Ok(status);
                }
            }
            Response::Untagged(Untagged::Capability(names)) => *told = Some(names),
            Response::Untagged(_) => {}
        }
    }
    wire.conn.poison();
    Err(Error::protocol("the server's login dialogue does not end"))
}

fn login_refused(server: &Server, status: &StatusLine) -> Error {
    let words = status.words();
    let ask = backoff::read(&words);
    let lower = words.to_ascii_lowercase();
    let about_secret = matches!(status.code, Some(Code::AuthenticationFailed | Code::AuthorizationFailed | Code::Expired))
        || ["password", "credential", "authentication failed", "invalid"].iter().any(|word| lower.contains(word));
    match (&status.code, ask.map(|ask| ask.cause)) {
        (_, Some(Cause::Connections)) => Error::new(Kind::Busy, "the server takes no more connections now")
            .said(words)
            .hint("try again later, or use fewer with ?connections=1"),
        (Some(Code::Unavailable | Code::InUse | Code::Limit), _) | (_, Some(Cause::Throttled | Cause::InUse)) => {
            Error::new(Kind::Busy, "the server takes no login now").said(words).hint("try again later")
        }
        // Servers that lock accounts say so to those who give a wrong password, too.
        (_, Some(Cause::Later)) if !about_secret => {
            Error::new(Kind::Busy, "the server takes no login now").said(words).hint("try again later")
        }
        (Some(Code::ContactAdmin | Code::Alert) | None, _) if lower.contains("too many") => {
            Error::new(Kind::Busy, "the server takes no login now").said(words).hint("try again later")
        }
        _ => Error::auth(format!("login as {} was refused", server.user)).said(words).hint("check the user name and the password or token"),
    }
}
