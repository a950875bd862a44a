//! A secret that cannot be printed: no `Debug`, no `Display`, no `Serialize`, so that no error, log or trace can hold it
//! by accident. The tests search every output for canaries all the same.

/// A password or token. It is exposed only where it is framed for the wire.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes hold of a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself; call this only where the bytes go to the server.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
