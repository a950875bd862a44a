//! `mailhaul compare-pop3`: is everything of a maildrop on IMAP, and which of the two protocols is the better one for this account. It
//! is read-only; it chooses the two sides, and `compare` does the rest.

mod forecast;
mod judge;
mod measure;

use super::App;
use super::compare::{Looking, Pair};
use crate::account::{Overrides, Place, Protocol, redact};
use crate::cli::{OutputArgs, TwoPlaceCredentials};
use crate::error::{Error, Kind, Result};
use crate::exit::ExitCode;
use crate::report::advice::Advice;
use crate::report::compared::Compared;
use crate::store::Source as _;

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
    /// Foretell what POP3 programs will download again when they change to this POP3 side; without it that of the account which
    /// IMAP names, where it is another
    #[arg(long, value_name = "POP3")]
    pub forecast: Option<String>,
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
    let moving = args.b.as_deref().is_some_and(|_| !one_account(app, &args.a, args.b.as_deref(), &pop3, &imap));
    let later = later(app, args, &pop3, &sides.to)?;
    let pair = Pair { schema: SCHEMA, app, a: &pop3, b: &imap, looking: &args.looking, maildrop: true };
    let started = app.context.now();
    let compared = pair.compare()?;
    // Nobody would see it.
    let unseen = app.global.quiet && !super::format(&args.output).is_json();
    let typed = match &args.b {
        Some(b) => (redact(&args.a).into_owned(), redact(b).into_owned()),
        None => (pop3.shown.clone(), imap.shown.clone()),
    };
    let beside = account(app, &args.a).filter(|name| app.config.account(name).is_some_and(|account| account.has(Protocol::Imap)));
    let beside = beside.map(|name| format!("{name}:imap"));
    let names = judge::Names { pop3: &typed.0, imap: &typed.1, moving, beside: beside.as_deref() };
    let advice = if unseen { None } else { Some(advise(app, &pair, &compared, later.as_ref(), &names)?) };
    pair.conclude(compared, advice, started, &args.output)
}

/// Measures both sides and says which to use.
fn advise(app: &App, pair: &Pair<'_>, compared: &Compared, later: Option<&Place>, names: &judge::Names<'_>) -> Result<Advice> {
    let (Some(pop3), Some(imap)) = (pair.a.server(), pair.b.server()) else {
        return Err(Error::usage("both sides are servers"));
    };
    let mut maildrop = measure::pop3(app, pair.a, pop3)?;
    let forecast = match later.and_then(|later| Some((later, later.server()?))) {
        Some((later, server)) => Some(forecast::forecast(app, &later.shown, server, &mut maildrop)?),
        None => None,
    };
    if let Some(mut source) = maildrop.source.take() {
        super::reading::farewell(source.finish())?;
    }
    // Folders that are left out stay closed.
    let open = pair.looking.include.is_empty() && pair.looking.exclude.is_empty();
    let account = measure::imap(app, pair.b, imap, open)?;
    let unique_ids = measure::unique_ids(compared, &maildrop);
    let notes = judge::notes(&mut maildrop, &account);
    let (verdict, reason, next) = judge::verdict(&compared.sums, &maildrop, &account, names);
    let (pop3, imap) = (maildrop.offer, account.offer);
    Ok(Advice { verdict, reason, next, moving: names.moving, pop3, imap, unique_ids, notes, forecast })
}

/// Whether both places are sides of one account.
fn one_account(app: &App, a: &str, b: Option<&str>, pop3: &Place, imap: &Place) -> bool {
    if let (Some(one), Some(other)) = (account(app, a), b.and_then(|b| account(app, b))) {
        return one == other;
    }
    let who = |place: &Place| place.server().map(|server| (server.user.clone(), server.endpoint.host.to_ascii_lowercase()));
    who(pop3) == who(imap)
}

/// The account of the config file that a place names.
pub(super) fn account<'a>(app: &App, text: &'a str) -> Option<&'a str> {
    let name = text.split([':', '/', '?']).next()?;
    (!text.contains("://") && app.config.account(name).is_some()).then_some(name)
}

/// The POP3 side that programs change to: the one that is named, or that of the account whose IMAP side is.
fn later(app: &App, args: &Args, pop3: &Place, overrides: &Overrides) -> Result<Option<Place>> {
    let place = match (&args.forecast, args.b.as_deref().and_then(|b| account(app, b))) {
        (Some(text), _) => {
            // An account that has both sides means the one that this is about.
            let both = app.config.account(text).is_some_and(|account| account.has(Protocol::Pop3));
            app.place(&if both { format!("{text}:pop3") } else { text.clone() }, overrides)?
        }
        (None, Some(name)) if app.config.account(name).is_some_and(|account| account.has(Protocol::Pop3)) => {
            app.place(&format!("{name}:pop3"), overrides)?
        }
        _ => return Ok(None),
    };
    let Some(server) = place.server().filter(|server| server.protocol == Protocol::Pop3) else {
        return Err(Error::usage("--forecast takes the POP3 side of an account").at(&place.shown).hint("name it: --forecast NEW:pop3"));
    };
    let same = pop3.server().is_some_and(|old| old.identity() == server.identity());
    match (same, &args.forecast) {
        (true, Some(_)) => {
            Err(Error::usage("--forecast names the maildrop that is compared: it takes the one programs change to").at(&place.shown))
        }
        (true, None) => Ok(None),
        (false, asked) => {
            // Asked for before the clock runs; what nobody asked for does not fail the comparison.
            match server.login(&app.context) {
                Err(error) if asked.is_some() => Err(error),
                _ => Ok(Some(place)),
            }
        }
    }
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
