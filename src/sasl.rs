//! SASL mechanisms as pure steps (rsasl behind it): octets in, octets out. Base64 and command framing belong to the
//! protocols.

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

/// One authentication exchange.
pub struct Exchange {}

#[allow(unused_variables)]
impl Exchange {
    /// Begins; the second value is the initial response, for mechanisms where the client speaks first.
    pub fn start(mechanism: Mechanism, user: &str, secret: &Secret, host: &str, port: u16) -> Result<(Self, Option<Vec<u8>>)> {
        Err(Error::auth("not written"))
    }
    /// Answers a challenge (decoded octets). An error challenge of XOAUTH2 or OAUTHBEARER is answered as the mechanism demands.
    pub fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>> {
        Err(Error::auth("not written"))
    }
}
