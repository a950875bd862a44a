//! Where passwords come from and what certificates are trusted, for verbs with one place and with two.

use std::path::PathBuf;

use clap::Args;

use super::Global;
use crate::account::{self, CredentialSource, Overrides, Sides};
use crate::error::Result;

/// Credentials and TLS for a command with one place.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Login and TLS")]
pub struct Credentials {
    /// Take the password from the first line this program prints. One string, split at blanks; '…' and "…" group. No shell
    #[arg(long, value_name = "COMMAND", group = "credential")]
    pub password_command: Option<String>,
    /// Take the password from the first line of FILE, which only its owner may be able to read
    #[arg(long, value_name = "FILE", group = "credential", value_hint = clap::ValueHint::FilePath)]
    pub password_file: Option<PathBuf>,
    /// Take the password from the environment variable VAR; programs started from here do not inherit it
    #[arg(long, value_name = "VAR", group = "credential")]
    pub password_env: Option<String>,
    /// Take an OAuth 2.0 access token from the first line this program prints (split like --password-command)
    #[arg(long, value_name = "COMMAND", group = "credential")]
    pub token_command: Option<String>,
    /// Take the password from ~/.netrc (or $NETRC), and fail if it has none
    #[arg(long, group = "credential")]
    pub netrc: bool,
    /// Trust the certificate authorities in this PEM file too
    #[arg(long, value_name = "PEM", value_hint = clap::ValueHint::FilePath)]
    pub ca_file: Option<PathBuf>,
    /// Accept only the certificate with this SHA-256, and that one without further checks
    #[arg(long, value_name = "sha256:HEX", value_parser = pin)]
    pub tls_pin: Option<[u8; 32]>,
    /// Do not check the server's certificate at all; warned about at every run
    #[arg(long)]
    pub insecure: bool,
    /// Let ?tls=none go to a host that is not this machine
    #[arg(long)]
    pub allow_plaintext: bool,
    /// Accept a server that says over TLS that it knows us already (PREAUTH)
    #[arg(long)]
    pub allow_preauth: bool,
}

impl Credentials {
    /// What these arguments say about the place.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when a command cannot be split.
    pub fn overrides(&self, global: &Global) -> Result<Overrides> {
        let credential = source(
            self.password_command.as_deref(),
            self.password_file.as_ref(),
            self.password_env.as_ref(),
            self.token_command.as_deref(),
            self.netrc,
        )?;
        Ok(Overrides {
            credential,
            ca_file: self.ca_file.clone(),
            pin: self.tls_pin,
            insecure: self.insecure,
            allow_plaintext: self.allow_plaintext,
            allow_preauth: self.allow_preauth,
            no_input: global.no_input,
            hidden_env: self.password_env.iter().cloned().collect(),
        })
    }
}

/// Credentials and TLS for a command with two places.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Login and TLS (--from-… for the source, --to-… for the destination)")]
pub struct TwoPlaceCredentials {
    /// Take the source's password from the first line this program prints. One string, split at blanks; '…' and "…" group. No shell
    #[arg(long, value_name = "COMMAND", group = "from_credential")]
    pub from_password_command: Option<String>,
    /// Take the source's password from the first line of FILE, which only its owner may be able to read
    #[arg(long, value_name = "FILE", group = "from_credential", value_hint = clap::ValueHint::FilePath)]
    pub from_password_file: Option<PathBuf>,
    /// Take the source's password from the environment variable VAR; programs started from here do not inherit it
    #[arg(long, value_name = "VAR", group = "from_credential")]
    pub from_password_env: Option<String>,
    /// Take the source's OAuth 2.0 access token from the first line this program prints
    #[arg(long, value_name = "COMMAND", group = "from_credential")]
    pub from_token_command: Option<String>,
    /// Take the source's password from ~/.netrc (or $NETRC), and fail if it has none
    #[arg(long, group = "from_credential")]
    pub from_netrc: bool,
    /// Trust the certificate authorities in this PEM file too, for the source
    #[arg(long, value_name = "PEM", value_hint = clap::ValueHint::FilePath)]
    pub from_ca_file: Option<PathBuf>,
    /// Accept only the certificate with this SHA-256 at the source, and that one without further checks
    #[arg(long, value_name = "sha256:HEX", value_parser = pin)]
    pub from_tls_pin: Option<[u8; 32]>,
    /// Do not check the source's certificate at all; warned about at every run
    #[arg(long)]
    pub from_insecure: bool,
    /// Take the destination's password from the first line this program prints (split like --from-password-command)
    #[arg(long, value_name = "COMMAND", group = "to_credential")]
    pub to_password_command: Option<String>,
    /// Take the destination's password from the first line of FILE, which only its owner may be able to read
    #[arg(long, value_name = "FILE", group = "to_credential", value_hint = clap::ValueHint::FilePath)]
    pub to_password_file: Option<PathBuf>,
    /// Take the destination's password from the environment variable VAR; programs started from here do not inherit it
    #[arg(long, value_name = "VAR", group = "to_credential")]
    pub to_password_env: Option<String>,
    /// Take the destination's OAuth 2.0 access token from the first line this program prints
    #[arg(long, value_name = "COMMAND", group = "to_credential")]
    pub to_token_command: Option<String>,
    /// Take the destination's password from ~/.netrc (or $NETRC), and fail if it has none
    #[arg(long, group = "to_credential")]
    pub to_netrc: bool,
    /// Trust the certificate authorities in this PEM file too, for the destination
    #[arg(long, value_name = "PEM", value_hint = clap::ValueHint::FilePath)]
    pub to_ca_file: Option<PathBuf>,
    /// Accept only the certificate with this SHA-256 at the destination, and that one without further checks
    #[arg(long, value_name = "sha256:HEX", value_parser = pin)]
    pub to_tls_pin: Option<[u8; 32]>,
    /// Do not check the destination's certificate at all; warned about at every run
    #[arg(long)]
    pub to_insecure: bool,
    /// Trust the certificate authorities in this PEM file too, for both places
    #[arg(long, value_name = "PEM", value_hint = clap::ValueHint::FilePath)]
    pub ca_file: Option<PathBuf>,
    /// Let ?tls=none go to a host that is not this machine
    #[arg(long)]
    pub allow_plaintext: bool,
    /// Accept a server that says over TLS that it knows us already (PREAUTH)
    #[arg(long)]
    pub allow_preauth: bool,
}

impl TwoPlaceCredentials {
    /// What these arguments say about the two places.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when a command cannot be split.
    pub fn sides(&self, global: &Global) -> Result<Sides> {
        let from = source(
            self.from_password_command.as_deref(),
            self.from_password_file.as_ref(),
            self.from_password_env.as_ref(),
            self.from_token_command.as_deref(),
            self.from_netrc,
        )?;
        let to = source(
            self.to_password_command.as_deref(),
            self.to_password_file.as_ref(),
            self.to_password_env.as_ref(),
            self.to_token_command.as_deref(),
            self.to_netrc,
        )?;
        // A command for one side must not see the other side's variable either.
        let hidden_env: Vec<String> = self.from_password_env.iter().chain(&self.to_password_env).cloned().collect();
        let side = |credential, ca_file: &Option<PathBuf>, pin, insecure| Overrides {
            credential,
            ca_file: ca_file.clone().or_else(|| self.ca_file.clone()),
            pin,
            insecure,
            allow_plaintext: self.allow_plaintext,
            allow_preauth: self.allow_preauth,
            no_input: global.no_input,
            hidden_env: hidden_env.clone(),
        };
        Ok(Sides {
            from: side(from, &self.from_ca_file, self.from_tls_pin, self.from_insecure),
            to: side(to, &self.to_ca_file, self.to_tls_pin, self.to_insecure),
        })
    }
}

fn source(
    command: Option<&str>,
    file: Option<&PathBuf>,
    variable: Option<&String>,
    token_command: Option<&str>,
    netrc: bool,
) -> Result<Option<CredentialSource>> {
    let command = command.map(account::split_words).transpose()?.map(CredentialSource::Command);
    let token = token_command.map(account::split_words).transpose()?.map(CredentialSource::TokenCommand);
    Ok(command
        .or(token)
        .or_else(|| file.cloned().map(CredentialSource::File))
        .or_else(|| variable.cloned().map(CredentialSource::Env))
        .or_else(|| netrc.then_some(CredentialSource::Netrc)))
}

fn pin(text: &str) -> Result<[u8; 32]> {
    account::parse_pin(text)
}
