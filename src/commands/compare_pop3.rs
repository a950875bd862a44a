//! `mailhaul compare-pop3`: is everything of a maildrop on IMAP, and which of the two protocols is the better one for this account. It
//! is read-only; it chooses the two sides, and `compare` does the rest.

use super::App;
use super::compare::{Looking, Pair};
use crate::account::{Overrides, Place, Protocol};
use crate::cli::{OutputArgs, TwoPlaceCredentials};
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;

const SCHEMA: &str = "mailhaul.compare-pop3/1";

/// The arguments of `compare-pop3`.
#[derive(clap::Args)]
pub struct Args {
    /// An account of the config file that has both sides; with IMAP, the POP3 side alone
    #[arg(value_name = "ACCOUNT|POP3")]
    pub a: String,
    /// The IMAP side, where the first is not an account with both
    #[arg(value_name = "IMAP")]
    pub b: Option<String>,
    /// How it is compared and shown; the patterns mean the folders that mail is looked for in.
    #[command(flatten)]
    pub looking: Looking,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Credentials.
    #[command(flatten)]
    pub credentials: TwoPlaceCredentials,
}

/// Runs `compare-pop3`.
///
/// # Errors
/// Wrong places, or what kept a listing from being complete.
pub fn run(args: &Args, app: &App) -> Result<ExitCode> {
    let sides = args.credentials.sides(&app.global)?;
    let (pop3, imap) = match &args.b {
        Some(b) => (app.place(&args.a, &sides.from)?, app.place(b, &sides.to)?),
        None => (side(app, &args.a, Protocol::Pop3, &sides.from)?, side(app, &args.a, Protocol::Imap, &sides.to)?),
    };
    let is = |place: &Place, protocol| place.server().is_some_and(|server| server.protocol == protocol);
    if is(&pop3, Protocol::Imap) && is(&imap, Protocol::Pop3) {
        return Err(Error::usage("the POP3 side comes first, then the IMAP side").at(&pop3.shown));
    }
    for (place, protocol, name) in [(&pop3, Protocol::Pop3, "POP3"), (&imap, Protocol::Imap, "IMAP")] {
        if !is(place, protocol) {
            let other = format!("this is no {name} account");
            return Err(Error::usage(other).at(&place.shown).hint("mailhaul compare A B compares any two places"));
        }
    }
    let pair = Pair { schema: SCHEMA, app, a: &pop3, b: &imap, looking: &args.looking, maildrop: true };
    let started = app.context.now();
    let compared = pair.compare()?;
    // Where the advice goes that is measured on both.
    let advice = None;
    pair.conclude(compared, advice, started, &args.output)
}

/// One side of the account that was named.
fn side(app: &App, name: &str, protocol: Protocol, overrides: &Overrides) -> Result<Place> {
    if app.config.account(name).is_none() {
        // A name that is none is told as everywhere.
        app.place(name, overrides)?;
        return Err(Error::usage("one place alone must be an account of the config file, by its name")
            .at(name)
            .hint("name both: mailhaul compare-pop3 pop3s://USER@HOST imaps://USER@HOST"));
    }
    let (key, scheme) = match protocol {
        Protocol::Pop3 => ("pop3", "pop3s"),
        Protocol::Imap => ("imap", "imaps"),
    };
    app.place(&format!("{name}:{key}"), overrides).map_err(|error| {
        let missing = error.kind() == Kind::Usage && error.remedy().is_none() && error.message().contains("has no");
        if !missing {
            return error;
        }
        error.hint(format!(
            "add {key} = \"{scheme}://USER@HOST\" below [accounts.{name}] in the config file, or name both places: mailhaul compare-pop3 POP3 IMAP"
        ))
    })
}
