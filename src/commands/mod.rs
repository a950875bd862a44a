//! The verbs: one file each with its `Args`, its rows and its `run()`. This file names them, reads what they share
//! (config, trace) once, and dispatches.

mod across;
pub mod backup;
mod changing;
mod choice;
pub mod compare;
pub mod compare_pop3;
pub mod complete;
pub mod copy;
pub mod copying;
pub mod delete;
mod deliver;
mod dry_run;
pub mod fetch;
pub mod flag;
pub mod folders;
pub mod hooks;
mod ledger;
pub mod limits;
pub mod list;
pub mod migrate;
pub mod r#move;
mod picked;
pub mod problems;
pub mod prune;
mod reading;
pub mod rebuild;
mod relocate;
pub mod restore;
pub mod schema;
mod sorting;
pub mod status;
mod subject;
mod transport;
mod unfinished;
pub mod upload;
mod vacate;
pub mod verify;
mod would_back_up;

use std::io::{IsTerminal, Write};

use clap::{Parser, Subcommand};

use crate::account::{Config, Overrides, Place};
use crate::cli::Global;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::net::Trace;
use crate::output::{Format, Progress, ProgressMode, Verbosity, sanitize};

/// Moves, backs up and scripts mail over IMAP and POP3: nothing lost, nothing twice, nothing altered
#[derive(Parser)]
#[command(name = "mailhaul", version, propagate_version = true, disable_help_subcommand = true, after_long_help = PLACES_AND_EXIT)]
pub struct Cli {
    /// What every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Subcommand)]
pub enum Command {
    /// List messages, one row each
    #[command(after_long_help = examples(LIST_EXAMPLES))]
    List(Box<list::Args>),
    /// Get messages themselves, byte for byte
    #[command(
        after_long_help = examples(FETCH_EXAMPLES),
        mut_arg("output", |arg| arg.help("Take the messages apart (json, jsonl), or how to write what --to and --attachments did"))
    )]
    Fetch(Box<fetch::Args>),
    /// Add, remove or set flags and keywords
    #[command(after_long_help = examples(FLAG_EXAMPLES))]
    Flag(Box<flag::Args>),
    /// Move messages to another folder, server or store
    ///
    /// Within an account the server moves them (MOVE; where it has none, they are copied, and just they are removed; a run that
    /// died half way is finished by the next). To another place they are copied as by copy, read back, and only those whose
    /// copies are the same are removed; --max-delete counts there, as for delete.
    #[command(after_long_help = examples(MOVE_EXAMPLES))]
    Move(Box<r#move::Args>),
    /// Copy messages to another folder, server or store
    ///
    /// Within an account the server copies them, each time anew. To another account each message goes once, whatever happens on
    /// the way; one that was deleted there is copied again when it is asked for again. Into local files it goes unless it is there.
    #[command(after_long_help = examples(COPY_EXAMPLES))]
    Copy(Box<copy::Args>),
    /// Move messages to the Trash, or remove them for ever
    #[command(after_long_help = examples(DELETE_EXAMPLES))]
    Delete(Box<delete::Args>),
    /// Put files (.eml, mbox, Maildir or standard input) into a folder
    #[command(after_long_help = examples(UPLOAD_EXAMPLES))]
    Upload(Box<upload::Args>),
    /// List, create, rename, delete, subscribe or unsubscribe folders
    #[command(after_long_help = examples(FOLDERS_EXAMPLES))]
    Folders(Box<folders::Args>),
    /// Copy a whole account or store to another; run again at any time to go on
    #[command(after_long_help = examples(MIGRATE_EXAMPLES))]
    Migrate(Box<migrate::Args>),
    /// Compare two places message by message; nothing is changed anywhere
    ///
    /// Any two of accounts, folders, stores and files. Ends with 0 when both hold the same mail in the same folders; with 1 when a
    /// message is missing on either side, different, in another folder or doubled; with 3 when nothing else is wrong but that some
    /// could not be read. A table shows what is not the same (--all shows everything); json, jsonl and tsv hold a row for each
    /// message. In tables = is the same, * different, + only in A, - only in B, ~ in another folder, 2 doubled, ! unreadable.
    #[command(after_long_help = examples(COMPARE_EXAMPLES))]
    Compare(Box<compare::Args>),
    /// Compare the POP3 side of an account with its IMAP side, and tell which of them to use; nothing is changed anywhere
    ///
    /// Every message of the maildrop is looked for in INBOX and then in every other folder. Ends with 0 when all of them are on IMAP,
    /// in whatever folder; mail that is on IMAP alone is no fault: that of INBOX is listed, and of other folders only what is of the
    /// maildrop. Ends with 1 when a message of the maildrop is missing on IMAP, different there or doubled; with 3 when nothing else is
    /// wrong but that some could not be read. Header fields changed on IMAP are found for certain with --all, bodies with --full.
    /// No message is marked as read or fetched: they are read by TOP and PEEK; where a server has no TOP, the session ends without
    /// QUIT. In tables = is the same, * different, + missing on IMAP, - on IMAP alone, ~ in another folder, 2 doubled, ! unreadable.
    #[command(name = "compare-pop3", after_long_help = examples(COMPARE_POP3_EXAMPLES))]
    ComparePop3(Box<compare_pop3::Args>),
    /// Copy accounts into a store of backups, incrementally; run it again from cron
    ///
    /// The store is a directory with one directory an account, which any mail program reads: a Maildir tree, or mbox or eml files.
    /// Each run fetches what is missing, brings flags up to date, and keeps what is gone from the server unless --mirror is given.
    /// The server is never changed. Accounts follow one another; one that fails does not stop the others, each error is named with
    /// its account, and the exit code is that of the worst: a signal, then 9, 7, 10, 4, 2, 6, 5, 3, 8. --max-duration,
    /// --max-transfer and --max-messages count for all of them together. A limit that is reached ends the run there.
    #[command(
        override_usage = "mailhaul backup [OPTIONS] <PLACE>... <STORE>",
        after_long_help = examples(BACKUP_EXAMPLES)
    )]
    Backup(Box<backup::Args>),
    /// Put messages of a store of backups back into an account or store
    ///
    /// With their flags, keywords and dates, under the names of their folders. Run it again at any time: what is at the destination
    /// already, brought by an earlier run or by anybody else, is not copied again, and what was deleted there since comes back.
    /// What was on the server at the last backup is meant, unless --gone, --only-gone, --as-of or --generation say otherwise.
    /// A file that is not what was recorded is named and not restored. The store is only read, also while a backup runs.
    #[command(after_long_help = examples(RESTORE_EXAMPLES))]
    Restore(Box<restore::Args>),
    /// Prove that a store of backups is whole and, with a place, that nothing on the server is missing from it
    #[command(after_long_help = examples(VERIFY_EXAMPLES))]
    Verify(Box<verify::Args>),
    /// Make a lost or damaged journal of a store anew, from the files and the server
    #[command(after_long_help = examples(REBUILD_EXAMPLES))]
    Rebuild(Box<rebuild::Args>),
    /// Tell when each account and folder was last backed up, and what a run is doing
    ///
    /// No lock is taken, so that it may be asked during a run. With --max-age the exit code is 1 when the last complete run over an
    /// account is older, or there was none; a store that is damaged or not there ends it with 7.
    #[command(after_long_help = examples(STATUS_EXAMPLES))]
    Status(Box<status::Args>),
    /// List messages that were put aside, and decide about them
    ///
    /// A message that cannot be fetched does not stop a run: it is put aside, and the run ends with 3.
    #[command(after_long_help = examples(PROBLEMS_EXAMPLES))]
    Problems(Box<problems::Args>),
    /// Remove from a store what is gone from the server for long
    ///
    /// Without --yes nothing is removed: what would go is listed, by message and (in JSON) by folder.
    #[command(after_long_help = examples(PRUNE_EXAMPLES))]
    Prune(Box<prune::Args>),
    /// Print the JSON Schema of a command's JSON output
    #[command(after_long_help = examples(SCHEMA_EXAMPLES))]
    Schema(schema::Args),
    /// Print a completion script for a shell
    #[command(after_long_help = EXIT_STATUS)]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Answer a completion script
    #[command(name = "__complete", hide = true, after_long_help = EXIT_STATUS)]
    Complete(complete::Args),
}

/// What a verb is given beside its own arguments.
pub struct App {
    /// Time and signals.
    pub context: Context,
    /// The protocol trace of `--trace`, or none.
    pub trace: Trace,
    /// The config file.
    pub config: Config,
    /// The options of every verb.
    pub global: Global,
}

impl App {
    /// Reads a place and says on standard error what must be said about it.
    ///
    /// # Errors
    /// As [`Place::parse`].
    pub fn place(&self, text: &str, overrides: &Overrides) -> Result<Place> {
        let place = Place::parse(text, &self.config, overrides)?;
        for warning in place.server().map(crate::account::Server::warnings).unwrap_or_default() {
            warn(&warning);
        }
        Ok(place)
    }

    /// The account that `default` in the config file names, for a command line without a place.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] where there is none.
    pub fn default_place(&self) -> Result<&str> {
        self.config.default_account().ok_or_else(|| {
            Error::usage("no place is named, and the config file has no `default`")
                .hint("name an account, a URL or a local place, as in imaps://USER@HOST; see --help")
        })
    }

    /// Says something on standard error, unless `-q` asked for silence.
    pub fn note(&self, text: &str) {
        if !self.global.quiet {
            warn(text);
        }
    }
}

/// Says something on standard error in any case; a closed one is no reason to fail.
pub fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "mailhaul: {}", sanitize::line(text));
}

/// Runs what the command line asks for.
///
/// # Errors
/// What ended the verb; `main` prints it.
pub fn run(cli: Cli, context: &Context) -> Result<ExitCode> {
    // Before the config file is read: neither is to fail over a mistake in it.
    match &cli.command {
        Command::Completions { shell } => return completions(*shell),
        Command::Complete(args) => return complete::run(args, context),
        Command::Schema(args) => return schema::run(args),
        _ => {}
    }
    let trace = cli.global.trace.as_deref().map_or_else(|| Ok(Trace::off()), Trace::to_file)?;
    let config = Config::load(cli.global.config.as_deref())?;
    let app = App { context: context.clone(), trace, config, global: cli.global };
    match &cli.command {
        Command::List(args) => list::run(args, &app),
        Command::Fetch(args) => fetch::run(args, &app),
        Command::Flag(args) => flag::run(args, &app),
        Command::Move(args) => r#move::run(args, &app),
        Command::Copy(args) => copy::run(args, &app),
        Command::Delete(args) => delete::run(args, &app),
        Command::Upload(args) => upload::run(args, &app),
        Command::Folders(args) => folders::run(args, &app),
        Command::Migrate(args) => migrate::run(args, &app),
        Command::Compare(args) => compare::run(args, &app),
        Command::ComparePop3(args) => compare_pop3::run(args, &app),
        Command::Backup(args) => backup::run(args, &app),
        Command::Restore(args) => restore::run(args, &app),
        Command::Verify(args) => verify::run(args, &app),
        Command::Rebuild(args) => rebuild::run(args, &app),
        Command::Status(args) => status::run(args, &app),
        Command::Problems(args) => problems::run(args, &app),
        Command::Prune(args) => prune::run(args, &app),
        Command::Schema(args) => schema::run(args),
        Command::Completions { shell } => completions(*shell),
        Command::Complete(args) => complete::run(args, &app.context),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<ExitCode> {
    let script = complete::script(shell);
    let mut output = std::io::stdout().lock();
    output.write_all(&script).and_then(|()| output.flush()).map_err(|error| Error::io("standard output", error))?;
    Ok(ExitCode::Success)
}

const LIST_EXAMPLES: &str = "\
EXAMPLES
    # the messages of the default account's INBOX
    mailhaul list
    # the newest 20 of a folder
    mailhaul list work/Archive --limit 20
    # unread in two accounts, as JSON
    mailhaul list work home --unseen --json
    # the largest first
    mailhaul list work --all-folders --larger 10M --sort size --reverse
    # UIDs, for a script
    mailhaul list work --from ann --not --flagged --fields uid";

const FETCH_EXAMPLES: &str = "\
EXAMPLES
    # one message, as it is
    mailhaul fetch work 17 > 17.eml
    # a file each, below saved/
    mailhaul fetch work --newer-than 7d --to saved
    # its PDF files
    mailhaul fetch work/Invoices --all --attachments pdf --name '*.pdf'
    # what a person reads of it
    mailhaul fetch work 17 --text
    # taken apart, a line each
    mailhaul fetch work 17 20:40 -o jsonl";

const FLAG_EXAMPLES: &str = "\
EXAMPLES
    # mark as read
    mailhaul flag work 17 20:40 --add seen
    # all old mail
    mailhaul flag work --older-than 365d --unseen --add seen
    # try it first
    mailhaul flag work --from ann --add flagged,Todo --dry-run";

const MOVE_EXAMPLES: &str = "\
EXAMPLES
    # a year
    mailhaul move work work/Archive/2024 --since 2024-01-01 --before 2025-01-01 --create
    # to another account
    mailhaul move work/Lists home/Lists --older-than 30d --create
    # from POP3
    mailhaul move old:pop3 new/Inbox2 --all --create";

const COPY_EXAMPLES: &str = "\
EXAMPLES
    # within an account
    mailhaul copy work work/Todo 17 20:40
    # to another account
    mailhaul copy work home/Saved --flagged --create
    # into local files
    mailhaul copy work/Invoices maildir:Mail//Invoices --all --create";

const DELETE_EXAMPLES: &str = "\
EXAMPLES
    # to the Trash
    mailhaul delete work 17 20:40
    # for ever
    mailhaul delete work/Trash --older-than 30d --permanently
    # at most a fifth
    mailhaul delete work --from news@example.org --max-delete 20%
    # one message of a POP3 server
    mailhaul delete work:pop3 --uidl 0012ab";

const UPLOAD_EXAMPLES: &str = "\
EXAMPLES
    # one message
    mailhaul upload letter.eml work/Sent --flag seen --date header
    # an mbox; run again at will
    mailhaul upload old.mbox work/Old --create --once
    # from a script
    printf 'Subject: done\\n\\nok\\n' | mailhaul upload - work";

const FOLDERS_EXAMPLES: &str = "\
EXAMPLES
    # all folders, with their messages
    mailhaul folders work
    # those below one, as JSON
    mailhaul folders work/Lists --json
    # make one
    mailhaul folders create work/Archive/2024
    # and so on: see the commands above
    mailhaul folders rename work/Old work/Older";

const MIGRATE_EXAMPLES: &str = "\
EXAMPLES
    # what would be copied
    mailhaul migrate old new --dry-run
    # a POP3 account into an IMAP account
    mailhaul migrate old:pop3 new
    # files into a folder
    mailhaul migrate maildir:Mail new/Old
    # was every copy stored as it was sent?
    mailhaul migrate old new --verify
    # from cron, every few minutes: new mail comes over, and leaves the maildrop after a month
    mailhaul migrate -q old:pop3 new --delete-source --older-than 30d";

const BACKUP_EXAMPLES: &str = "\
EXAMPLES
    # an account into a Maildir tree, every night the same command
    mailhaul backup work ~/mail-backup
    # several, silent unless something is wrong, as from cron
    mailhaul backup -q --no-input work home old:pop3 ~/mail-backup
    # what would be done
    mailhaul backup work ~/mail-backup --dry-run
    # without some folders
    mailhaul backup work ~/mail-backup --exclude Trash --exclude 'Lists/*'
    # exactly what is on the server; stop where more than a tenth would go
    mailhaul backup work ~/mail-mirror --mirror --max-delete 10%
    # at most two hours and 1 MB a second
    mailhaul backup work ~/mail-backup --max-duration 2h --bwlimit 1M
    # tell somebody
    mailhaul backup work ~/mail-backup --on-failure 'mail -s \"backup: exit $MAILHAUL_EXIT\" ann'";

const RESTORE_EXAMPLES: &str = "\
EXAMPLES
    # everything that was on the server at the last backup, into another account
    mailhaul restore ~/backup new
    # what would be copied
    mailhaul restore ~/backup//work new --dry-run
    # one folder and what lies below it, into a folder of its own
    mailhaul restore ~/backup new/Restored --folder Archive --folder 'Archive/*'
    # what was deleted there and arrived in the last month
    mailhaul restore ~/backup work --only-gone --newer-than 30d
    # as it was in spring
    mailhaul restore ~/backup maildir:spring --as-of 2024-04-30";

const VERIFY_EXAMPLES: &str = "\
EXAMPLES
    # every file against its digest
    mailhaul verify ~/backup
    # and is everything on the server in it
    mailhaul verify ~/backup work
    # every message read again and compared
    mailhaul verify ~/backup work --full
    # a part, each night another
    mailhaul verify ~/backup --sample 5%
    # put right what can be
    mailhaul verify ~/backup work --repair";

const COMPARE_EXAMPLES: &str = "\
EXAMPLES
    # did everything arrive?
    mailhaul compare old new
    # a folder with a Maildir, contents too
    mailhaul compare work/Archive maildir:Archive --full";

const COMPARE_POP3_EXAMPLES: &str = "\
EXAMPLES
    # IMAP or POP3 for this account?
    mailhaul compare-pop3 work
    # two places
    mailhaul compare-pop3 pop3s://ann@pop.example.org imaps://ann@imap.example.org --json
    # after a move: what POP3 programs will download again from the new account
    mailhaul compare-pop3 old:pop3 new --forecast new:pop3";

const REBUILD_EXAMPLES: &str = "\
EXAMPLES
    # from the files; the next backup proves which messages they are
    mailhaul rebuild ~/backup
    # and confirmed by the server at once
    mailhaul rebuild ~/backup work";

const STATUS_EXAMPLES: &str = "\
EXAMPLES
    # every store that was used from here
    mailhaul status
    # for a monitor: exit 1 unless each account was backed up since yesterday
    mailhaul status ~/mail-backup --max-age 26h --quiet
    # how far a migration into this account is
    mailhaul status new";

const PROBLEMS_EXAMPLES: &str = "\
EXAMPLES
    # what could not be fetched, and why
    mailhaul problems ~/mail-backup
    # the next run shall try all of them again
    mailhaul problems ~/mail-backup --retry
    # this one is known to be broken; no run ends with 3 for it any more
    mailhaul problems ~/mail-backup 3f9a1c0b2d --ignore
    # what the server gives for them, and a text about each
    mailhaul problems ~/mail-backup --export broken --source work";

const PRUNE_EXAMPLES: &str = "\
EXAMPLES
    # what would go
    mailhaul prune ~/mail-backup --gone-for 90d
    # remove it, but never more than 200 messages at once
    mailhaul prune ~/mail-backup --gone-for 90d --max-delete 200 --yes";

const SCHEMA_EXAMPLES: &str = "\
EXAMPLES
    # what list --json writes
    mailhaul schema list
    # what an error looks like there
    mailhaul schema error";

/// The end of the long help of a verb that is best shown in use.
fn examples(examples: &str) -> String {
    format!("{examples}\n\n{EXIT_STATUS}")
}

/// The end of every verb's long help.
const EXIT_STATUS: &str = "\
EXIT STATUS
    0    done, all of it
    1    the answer is no: verify or compare found differences, status an old
         backup
    2    usage, config file or place is wrong
    3    done in part: some failed; each is named on standard error
    4    authentication refused, or a login that needs a person
    5    no connection, time-out or mailbox in use: worth trying later
    6    the server refused or broke the protocol
    7    local trouble: disk full, permission, damaged store
    8    a limit that was asked for was reached; run again to go on
    9    another run holds the lock
    10   safety stop
    11   the destination is over quota
    129, 130, 143   stopped by a signal; the state is consistent";

const PLACES_AND_EXIT: &str = "\
PLACES
    work                         the account `work` of the config file
    work/Archive/2024            a folder of it; / in a name is %2F, % is %25,
                                 ? is %3F
    work:imap  work:pop3         one side of the account
    imaps://ann@example.org/F    IMAP with TLS (993); imap:// requires STARTTLS
    pop3s://ann@example.org      POP3 with TLS (995); pop3:// requires STLS
    maildir:PATH  maildir:PATH//F   a Maildir or a tree of them
    mbox:PATH  mbox:PATH//F      an mbox file or a folder of them
    eml:PATH  eml:PATH//F        a folder of .eml files, or one file
    -                            standard input: one message or an mbox
    An @ in a user name is %40. Options: ?tls=implicit|starttls|none &auth=…
    &timeout=30s &connections=4

PASSWORDS
    never in a URL: --password-command, --password-file, --password-env, the
    config file, ~/.netrc or a prompt

FILES
    $XDG_CONFIG_HOME/mailhaul/config.toml, else ~/.config/mailhaul/config.toml

EXIT STATUS
    0 done; 1 the answer is no; 2 usage; 3 done in part; 4 login; 5 no connection; 6 server;
    7 local; 8 limit; 9 locked; 10 safety stop; 11 over quota;
    129, 130, 143 stopped by a signal";

/// Progress as the options of every verb ask for it.
fn progress(app: &App) -> Progress {
    progress_beside(app, false)
}

/// The same for verbs whose rows or messages would fight with a bar for one terminal: there it comes on demand only.
fn progress_beside(app: &App, shares_terminal: bool) -> Progress {
    let mode = match app.global.progress {
        ProgressMode::Auto if shares_terminal => ProgressMode::Never,
        mode => mode,
    };
    let verbosity = match (app.global.quiet, app.global.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, 0) => Verbosity::Normal,
        (false, _) => Verbosity::Verbose,
    };
    let stderr = std::io::stderr();
    let is_terminal = stderr.is_terminal();
    Progress::new(app.context.clone(), mode, verbosity, Box::new(stderr), is_terminal)
}

/// The format that was asked for, else the one that suits standard output.
fn format(args: &crate::cli::OutputArgs) -> Format {
    Format::choose(args.format(), std::io::stdout().is_terminal())
}
