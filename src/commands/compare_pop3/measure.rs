//! What each protocol offers, measured in a session of its own after the comparison. Both sessions are read-only, and what a server
//! will not tell is told as unknown. It gives no advice.

use std::collections::{HashMap, HashSet};

use crate::account::{Place, Server};
use crate::commands::App;
use crate::commands::reading::farewell;
use crate::context::Moment;
use crate::error::{Error, Kind, Result, Scope};
use crate::folder::Folder;
use crate::imap::session::{Access, Session};
use crate::net::Security;
use crate::pop3::{Capabilities, Sizes, UniqueIds};
use crate::report::advice::{Effort, Offer, Partial, Reading, Secured};
use crate::report::compared::Compared;
use crate::store::SpecialUse;
use crate::store::imap::special_use;
use crate::store::pop3::Pop3Source;

/// Sizes are summed up message by message in so many messages and folders at most, where the server does not sum them up itself.
const SUMMED: (u64, usize) = (50_000, 100);

/// Extensions of IMAP that make a difference to somebody.
const EXTENSIONS: &[&str] = &[
    "IMAP4REV2",
    "IDLE",
    "NOTIFY",
    "CONDSTORE",
    "QRESYNC",
    "UIDPLUS",
    "MOVE",
    "COMPRESS=DEFLATE",
    "ESEARCH",
    "SORT",
    "THREAD=REFERENCES",
    "SPECIAL-USE",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "STATUS=SIZE",
    "MULTIAPPEND",
    "LITERAL+",
    "LITERAL-",
    "APPENDLIMIT",
    "QUOTA",
    "ACL",
    "METADATA",
    "OBJECTID",
    "BINARY",
    "UTF8=ACCEPT",
    "X-GM-EXT-1",
];

/// What was seen of the POP3 side.
pub(super) struct Maildrop {
    /// What it offers.
    pub(super) offer: Offer,
    /// The greeting and the implementation, as the server names itself.
    pub(super) names: String,
    /// EXPIRE, as announced.
    pub(super) expire: Option<String>,
    /// LOGIN-DELAY in seconds.
    pub(super) login_delay: Option<u64>,
    /// Listings; `None` where the session did not come about.
    pub(super) listings: Option<(Sizes, Option<UniqueIds>)>,
    /// The session, for whoever wants to look at messages.
    pub(super) source: Option<Pop3Source>,
}

/// What was seen of the IMAP side.
pub(super) struct Account {
    /// What it offers.
    pub(super) offer: Offer,
    /// Folders that show what others hold.
    pub(super) views: Vec<Folder>,
}

/// Time and round trips since something began.
struct Since<'a> {
    app: &'a App,
    at: Moment,
    round_trips: u64,
}

impl<'a> Since<'a> {
    fn now(app: &'a App, round_trips: u64) -> Self {
        Self { app, at: app.context.now(), round_trips }
    }

    fn effort(&self, round_trips: u64) -> Effort {
        Effort { round_trips: round_trips.saturating_sub(self.round_trips), seconds: self.app.context.now().since(self.at).as_secs_f64() }
    }
}

/// What is known of a side before it is asked.
fn offer(place: &Place, server: &Server) -> Offer {
    let security = match server.endpoint.security {
        Security::Implicit => Secured::ImplicitTls,
        Security::StartTls => Secured::StartTls,
        Security::None => Secured::None,
    };
    Offer {
        place: place.shown.clone(),
        host: server.endpoint.host.clone(),
        port: server.endpoint.port,
        security,
        // The library does not tell which of them it was; older ones are refused.
        tls: (security != Secured::None).then_some("1.2 or newer"),
        ..Offer::default()
    }
}

/// Turns what kept a session from measuring into words; a signal stays an error.
pub(super) fn reason(error: Error) -> Result<String> {
    if matches!(error.kind(), Kind::Interrupted(_)) {
        return Err(error);
    }
    Ok(match error.server_said() {
        Some(said) => format!("{}; the server said: {said}", error.message()),
        None => error.message().to_owned(),
    })
}

/// Measures the POP3 side.
///
/// # Errors
/// A signal.
pub(super) fn pop3(app: &App, place: &Place, server: &Server) -> Result<Maildrop> {
    let mut maildrop = Maildrop {
        offer: Offer { folders: Some(1), keeps_flags: Some(false), keeps_keywords: Some(false), push: Some(false), ..offer(place, server) },
        names: String::new(),
        expire: None,
        login_delay: None,
        listings: None,
        source: None,
    };
    if let Err(error) = ask_pop3(app, server, &mut maildrop) {
        maildrop.offer.unmeasured = Some(reason(error)?);
    }
    Ok(maildrop)
}

fn ask_pop3(app: &App, server: &Server, maildrop: &mut Maildrop) -> Result<()> {
    let since = Since::now(app, 0);
    let mut source = Pop3Source::connect(server, &app.context, &app.trace)?;
    source.leave_no_trace();
    let session = source.session();
    let offer = &mut maildrop.offer;
    offer.login = Some(since.effort(session.round_trips()));
    let (before, after) = (session.offered(), session.capabilities());
    let user = if before.known && before.user { Some("USER") } else { None };
    // RFC 1939 section 7: a greeting with a time stamp offers APOP.
    let apop =
        session.greeting().split_once('<').is_some_and(|(_, rest)| rest.split_once('>').is_some_and(|(stamp, _)| stamp.contains('@')));
    offer.authentication = before.sasl.iter().map(String::as_str).chain(user).chain(apop.then_some("APOP")).map(str::to_owned).collect();
    offer.tls_offered = before.stls;
    if after.known {
        offer.partial_fetch = Some(if after.top { Partial::FirstLines } else { Partial::Whole });
        offer.pipelining = Some(after.pipelining);
        offer.extensions = extensions(after);
    }
    maildrop.names = format!("{} {}", session.greeting(), after.implementation.as_deref().unwrap_or_default());
    maildrop.expire.clone_from(&after.expire);
    maildrop.login_delay = after.login_delay.or(before.login_delay);
    let stat = session.stat()?;
    offer.messages = Some(u64::from(stat.messages));
    offer.octets = Some(stat.octets);
    let since = Since::now(app, session.round_trips());
    let listings = session.listings()?;
    offer.listing = Some(since.effort(session.round_trips()));
    let (list, uidl) = &listings;
    offer.listed = Some(list.len().max(uidl.as_ref().map_or(0, Vec::len)) as u64);
    maildrop.listings = Some(listings);
    maildrop.source = Some(source);
    Ok(())
}

fn extensions(capabilities: &Capabilities) -> Vec<String> {
    let plain = [
        (capabilities.top, "TOP"),
        (capabilities.uidl, "UIDL"),
        (capabilities.pipelining, "PIPELINING"),
        (capabilities.resp_codes, "RESP-CODES"),
        (capabilities.auth_resp_code, "AUTH-RESP-CODE"),
        (capabilities.utf8, "UTF8"),
    ];
    let mut names: Vec<String> = plain.into_iter().filter(|(there, _)| *there).map(|(_, name)| name.to_owned()).collect();
    names.extend(capabilities.expire.iter().map(|expire| format!("EXPIRE {expire}").trim_end().to_owned()));
    names.extend(capabilities.login_delay.iter().map(|seconds| format!("LOGIN-DELAY {seconds}")));
    names
}

/// Measures the IMAP side; the listing is that of the folder `place` names, or INBOX. Folders are opened to sum up their sizes only
/// where `open` allows that.
///
/// # Errors
/// A signal.
pub(super) fn imap(app: &App, place: &Place, server: &Server, open: bool) -> Result<Account> {
    let offer = Offer {
        search: true,
        partial_fetch: Some(Partial::Any),
        pipelining: Some(true),
        reading: Reading::NoTrace,
        ..offer(place, server)
    };
    let mut account = Account { offer, views: Vec::new() };
    if let Err(error) = ask_imap(app, place, server, open, &mut account) {
        account.offer.unmeasured = Some(reason(error)?);
    }
    Ok(account)
}

fn ask_imap(app: &App, place: &Place, server: &Server, open: bool, account: &mut Account) -> Result<()> {
    let since = Since::now(app, 0);
    let mut session = Session::connect(server, Access::ReadOnly, &app.context, &app.trace)?;
    let offer = &mut account.offer;
    offer.login = Some(since.effort(session.round_trips()));
    let before = session.offered();
    let sasl = before.names().filter_map(|name| name.strip_prefix("AUTH="));
    let login = !before.has("LOGINDISABLED") && !before.is_empty();
    offer.authentication = sasl.map(str::to_owned).collect();
    // There is a mechanism of the same name.
    if login && !offer.authentication.iter().any(|name| name == "LOGIN") {
        offer.authentication.push("LOGIN".to_owned());
    }
    offer.tls_offered = before.has("STARTTLS");
    let capabilities = session.capabilities();
    offer.push = Some(capabilities.has("IDLE") || capabilities.has("IMAP4REV2"));
    offer.extensions = EXTENSIONS.iter().filter(|name| capabilities.has(name)).map(|name| (*name).to_owned()).collect();

    let folder = place.folder.clone().unwrap_or_else(Folder::inbox);
    let wire_name = session.wire_name(&folder)?;
    let since = Since::now(app, session.round_trips());
    let (state, listed) = {
        let mut selected = session.examine(&wire_name)?;
        let listed = selected.list_from(1)?.count() as u64;
        (selected.state().clone(), listed)
    };
    offer.listing = Some(since.effort(session.round_trips()));
    offer.listed = Some(listed);
    let permanent = state.permanent_flags;
    offer.keeps_flags = Some(permanent.as_ref().is_none_or(|flags| flags.iter().any(|flag| flag.wire().eq_ignore_ascii_case("\\Seen"))));
    offer.keeps_keywords = Some(permanent.as_ref().is_none_or(|flags| flags.iter().any(|flag| flag.wire() == "\\*")));

    let mut folders: Vec<(Vec<u8>, Option<u64>)> = Vec::new();
    let mut messages = Some(0_u64);
    for (mailbox, figures) in session.overview()? {
        let Some(figures) = figures.filter(|_| mailbox.selectable) else { continue };
        if matches!(special_use(&mailbox), Some(SpecialUse::All | SpecialUse::Flagged)) {
            account.views.push(mailbox.folder.clone());
        }
        match figures {
            Ok(figures) => {
                messages = messages.zip(figures.messages).map(|(sum, more)| sum.saturating_add(more));
                folders.push((mailbox.wire_name, figures.size));
            }
            // What one folder will not tell nobody can sum up.
            Err(_) => {
                messages = None;
                folders.push((mailbox.wire_name, None));
            }
        }
    }
    account.offer.folders = Some(folders.len() as u64);
    account.offer.messages = messages;
    account.offer.octets = octets(&mut session, &folders, messages.filter(|_| open))?;
    farewell(session.logout())
}

/// The sum of all sizes; `None` where it would take too long, or cannot be told.
fn octets(session: &mut Session, folders: &[(Vec<u8>, Option<u64>)], messages: Option<u64>) -> Result<Option<u64>> {
    let told = |count: u64| count <= SUMMED.0 && folders.len() <= SUMMED.1;
    let mut sum = 0_u64;
    for (wire_name, size) in folders {
        let size = match size {
            Some(size) => *size,
            None if messages.is_some_and(told) => match session.sum_of_sizes(wire_name) {
                Ok(size) => size,
                Err(error) if error.scope() <= Scope::Mailbox => return Ok(None),
                Err(error) => return Err(error),
            },
            None => return Ok(None),
        };
        sum = sum.saturating_add(size);
    }
    Ok(Some(sum))
}

/// The unique-ids of the comparison's session, and how many of them this later one has too.
pub(super) fn unique_ids(compared: &Compared, maildrop: &Maildrop) -> crate::report::advice::UniqueIds {
    // Of those that are given again, which nearly all are, no second copy is made.
    let mut second: Option<HashMap<&str, bool>> =
        maildrop.listings.as_ref().map(|(_, uidl)| uidl.iter().flatten().filter_map(|(_, id)| Some((id.as_deref()?, false))).collect());
    let mut others: HashSet<String> = HashSet::new();
    for id in compared.rows.iter().filter_map(|row| row.a?.uidl) {
        match second.as_mut().and_then(|second| second.get_mut(id.as_str())) {
            Some(met) => *met = true,
            None => drop(others.insert(id)),
        }
    }
    let again = second.map(|second| second.into_values().filter(|met| *met).count() as u64);
    let count = again.unwrap_or_default() + others.len() as u64;
    crate::report::advice::UniqueIds {
        first: count,
        again,
        stable: again.filter(|_| count > 0).map(|again| again == count),
        formula: compared.formula.clone(),
    }
}
