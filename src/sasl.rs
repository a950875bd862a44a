//! SASL mechanisms as pure steps (rsasl behind it): octets in, octets out. Base64 and command framing belong to the
//! protocols, and this room must never see a connection.
//!
//! rsasl builds every message that carries a credential. Its answer to an *error challenge* is not used: for XOAUTH2 it
//! insists on UTF-8, for OAUTHBEARER on JSON, and it then sends an empty answer where RFC 7628 section 3.2.3 demands
//! 0x01. Those answers are constants, so they stand here. Passwords go out as they are: no SASLprep, because servers
//! compare octets and people's passwords hold control and 8-bit characters.

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::config::SASLConfig;
use rsasl::mechname::Mechname;
use rsasl::prelude::{SASLClient, Session, SessionError};
use rsasl::property::{AuthId, AuthzId, OAuthBearerKV, OAuthBearerToken, Password};

use crate::error::{Error, Result};
use crate::secret::Secret;

/// A mechanism this program speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The obsolete LOGIN mechanism, still what some servers offer.
    Login,
    /// Google's and Microsoft's XOAUTH2.
    XOAuth2,
    /// RFC 7628.
    OAuthBearer,
}

impl Mechanism {
    /// Its registered name, as AUTH and AUTHENTICATE take it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::XOAuth2 => "XOAUTH2",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }

    /// Whether its credential is an OAuth 2.0 token and not a password.
    pub fn takes_token(self) -> bool {
        matches!(self, Self::XOAuth2 | Self::OAuthBearer)
    }
}

/// One authentication exchange.
pub struct Exchange {
    mechanism: Mechanism,
    session: Session,
    /// Answers to challenges given so far.
    answered: u32,
}

impl Exchange {
    /// Begins; the second value is the initial response, for mechanisms where the client speaks first.
    ///
    /// # Errors
    /// [`crate::error::Kind::Auth`] for a user name or secret that the mechanism cannot carry (NUL; for tokens any control
    /// character; an empty one).
    pub fn start(mechanism: Mechanism, user: &str, secret: &Secret, host: &str, port: u16) -> Result<(Self, Option<Vec<u8>>)> {
        check(mechanism, user, secret)?;
        let callback = Answers {
            // The authorization name of OAUTHBEARER stands in a GS2 header, where "," and "=" are escaped (RFC 5801 section 4).
            gs2_user: (mechanism == Mechanism::OAuthBearer && !user.is_empty()).then(|| user.replace('=', "=3D").replace(',', "=2C")),
            user: user.to_owned(),
            secret: secret.clone(),
            host: host.to_owned(),
            port: port.to_string(),
        };
        let config = SASLConfig::builder()
            .with_default_mechanisms()
            .with_callback(callback)
            .map_err(|error| Error::auth(format!("{} cannot be used", mechanism.name())).because(error))?;
        let name = Mechname::parse(mechanism.name().as_bytes())
            .map_err(|error| Error::auth(format!("{} cannot be used", mechanism.name())).because(error))?;
        let session = SASLClient::new(config)
            .start_suggested([&name])
            .map_err(|error| Error::auth(format!("{} cannot be used", mechanism.name())).because(error))?;
        let mut exchange = Self { mechanism, session, answered: 0 };
        let initial = if mechanism == Mechanism::Login { None } else { Some(exchange.credential()?) };
        Ok((exchange, initial))
    }

    /// Answers a challenge (decoded octets). An error challenge of XOAUTH2 or OAUTHBEARER is answered as the mechanism
    /// demands, so that the server's final refusal can be read.
    ///
    /// # Errors
    /// [`crate::error::Kind::Protocol`] when the server asks for more than the mechanism has.
    pub fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>> {
        let _ = challenge;
        let number = self.answered;
        self.answered += 1;
        match (self.mechanism, number) {
            (Mechanism::Login, 0 | 1) => self.credential(),
            (Mechanism::XOAuth2, 0) => Ok(Vec::new()),
            (Mechanism::OAuthBearer, 0) => Ok(vec![1]),
            _ => Err(Error::protocol(format!("the server goes on asking after all that {} has to say", self.mechanism.name()))),
        }
    }

    fn credential(&mut self) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        // The error may not be kept as a cause: what it holds is rsasl's affair.
        match self.session.step(None, &mut message) {
            Ok(_) => Ok(message),
            Err(_) => Err(Error::auth(format!("{} cannot carry this user name and secret", self.mechanism.name()))),
        }
    }
}

fn check(mechanism: Mechanism, user: &str, secret: &Secret) -> Result<()> {
    let secret = secret.expose();
    if secret.is_empty() {
        return Err(Error::auth("the password or token is empty"));
    }
    if mechanism.takes_token() {
        // 0x01 separates the fields of both mechanisms; a line end is what a token file ends with by mistake.
        if secret.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(Error::auth("the token holds a control character, which no token may"));
        }
        if user.bytes().any(|byte| byte == 1) {
            return Err(Error::auth("the user name holds a control character"));
        }
    }
    if secret.contains('\0') {
        return Err(Error::auth("the password holds a NUL, which no login can carry"));
    }
    if user.contains('\0') {
        return Err(Error::auth("the user name holds a NUL, which no login can carry"));
    }
    Ok(())
}

/// What rsasl asks for.
struct Answers {
    user: String,
    gs2_user: Option<String>,
    secret: Secret,
    host: String,
    port: String,
}

impl SessionCallback for Answers {
    fn callback(&self, _: &SessionData, _: &Context, request: &mut Request) -> std::result::Result<(), SessionError> {
        if let Some(user) = &self.gs2_user {
            request.satisfy::<AuthzId>(user)?;
        }
        request
            .satisfy::<AuthId>(&self.user)?
            .satisfy::<Password>(self.secret.expose().as_bytes())?
            .satisfy::<OAuthBearerToken>(self.secret.expose())?
            .satisfy::<OAuthBearerKV>(&[("host", self.host.as_str()), ("port", self.port.as_str())])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn start(mechanism: Mechanism, user: &str, secret: &str) -> Result<(Exchange, Option<Vec<u8>>)> {
        Exchange::start(mechanism, user, &Secret::new(secret), "mail.example.org", 995)
    }

    #[test]
    fn plain_carries_any_password_as_it_is() {
        for password in ["secret", "a\"b\\c", "pässwörd\u{1}\u{7f}ﬀ\u{ad}", " lead and trail ", &"x".repeat(300)] {
            let (mut exchange, initial) = start(Mechanism::Plain, "ann", password).unwrap();
            assert_eq!(initial.unwrap(), format!("\0ann\0{password}").into_bytes());
            assert_eq!(exchange.step(b"").err().unwrap().kind(), Kind::Protocol);
        }
    }

    #[test]
    fn login_answers_two_prompts_and_no_third() {
        let (mut exchange, initial) = start(Mechanism::Login, "ann", "pä\"ss").unwrap();
        assert!(initial.is_none());
        assert_eq!(exchange.step(b"Username:").unwrap(), b"ann");
        assert_eq!(exchange.step(b"\xff junk").unwrap(), "pä\"ss".as_bytes());
        assert_eq!(exchange.step(b"").err().unwrap().kind(), Kind::Protocol);
    }

    #[test]
    fn xoauth2_answers_an_error_challenge_of_any_octets_with_nothing() {
        let (mut exchange, initial) = start(Mechanism::XOAuth2, "ann@example.org", "ya29.tok").unwrap();
        assert_eq!(initial.unwrap(), b"user=ann@example.org\x01auth=Bearer ya29.tok\x01\x01");
        assert_eq!(exchange.step(b"\xff{not json").unwrap(), b"");
        assert_eq!(exchange.step(b"").err().unwrap().kind(), Kind::Protocol);
    }

    #[test]
    fn oauthbearer_names_host_and_port_and_answers_an_error_challenge_with_0x01() {
        let (mut exchange, initial) = start(Mechanism::OAuthBearer, "a=b,c@example.org", "tok").unwrap();
        assert_eq!(initial.unwrap(), b"n,a=a=3Db=2Cc@example.org,\x01host=mail.example.org\x01port=995\x01auth=Bearer tok\x01\x01");
        assert_eq!(exchange.step(b"not json").unwrap(), b"\x01");
        assert!(exchange.step(b"").is_err());
    }

    #[test]
    fn what_a_mechanism_cannot_carry_is_refused_before_anything_is_sent() {
        for (mechanism, user, secret) in [
            (Mechanism::Plain, "ann", "a\0b"),
            (Mechanism::Plain, "a\0nn", "x"),
            (Mechanism::Plain, "ann", ""),
            (Mechanism::Plain, "", "x"),
            (Mechanism::Login, "ann", "a\0b"),
            (Mechanism::XOAuth2, "ann", "tok\n"),
            (Mechanism::XOAuth2, "a\u{1}b", "tok"),
            (Mechanism::OAuthBearer, "ann", "t\u{1}k"),
        ] {
            let error = start(mechanism, user, secret).err().unwrap();
            assert_eq!(error.kind(), Kind::Auth);
            assert_eq!(error.server_said(), None);
        }
    }
}
