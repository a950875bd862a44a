//! One connection to the server in memory: reads commands and answers them, or fails as it is told to.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;

use super::super::canary;
use super::super::server::{Wire, advance_clock, read_clock};
use super::changed::identity;
use super::grammar::{Token, announced, contains, header, in_set, inbox, matches, quoted, section, tokens};
use super::*;

pub(super) struct Session<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) world: &'a Arc<Mutex<World>>,
    pub(super) logged_in: bool,
    pub(super) selected: Option<String>,
    /// QRESYNC is enabled.
    pub(super) qresync: bool,
    /// Messages fetched and appended.
    pub(super) served: usize,
}

enum Next {
    Go,
    End,
}

impl Session<'_> {
    pub(super) fn run(&mut self) -> io::Result<()> {
        let refusal = self.world.lock().unwrap().behaviour.greeting.clone();
        if let Some(words) = refusal {
            return self.wire.line(&words);
        }
        let greeting = {
            let behaviour = &mut self.world.lock().unwrap().behaviour;
            self.wire.drip = behaviour.drip.then_some(Duration::ZERO);
            self.wire.deaf_after = behaviour.deaf_after.take();
            self.wire.mute_after = behaviour.mute_after.take();
            format!("* OK [CAPABILITY {}] imapd ready", behaviour.capabilities.join(" "))
        };
        self.wire.line(&greeting)?;
        while let Some(mut parts) = self.read_command()? {
            if parts.len() < 2 {
                self.wire.line("* BAD what?")?;
                continue;
            }
            let tag = parts.remove(0).text();
            let mut verb = parts.remove(0).text().to_ascii_uppercase();
            if verb == "UID" && !parts.is_empty() {
                verb = format!("UID {}", parts.remove(0).text().to_ascii_uppercase());
            }
            {
                let mut world = self.world.lock().unwrap();
                let shown: Vec<String> = if verb == "LOGIN" || verb == "AUTHENTICATE" {
                    Vec::new()
                } else {
                    let shown = |part: &Token| if let Token::Literal(bytes) = part { format!("{{{}}}", bytes.len()) } else { part.text() };
                    parts.iter().map(shown).collect()
                };
                let entry = format!("{} {verb} {}", self.wire.number(), shown.join(" "));
                world.log.push(entry.replace("( ", "(").replace(" )", ")").trim_end().to_owned());
                let now = read_clock(world.behaviour.clock.as_ref());
                world.commit_due(now);
                if let Some((_, uid)) = world.behaviour.vanish.take_if(|(name, _)| *name == verb)
                    && let Some(mailbox) = self.selected.as_ref().and_then(|name| world.mailboxes.get_mut(name))
                {
                    mailbox.messages.retain(|message| message.uid != uid);
                }
            }
            let fault = self.fault(&verb);
            match &fault {
                Some(CommandFault::HangUpBefore) => return Ok(()),
                Some(CommandFault::Refuse(words)) => {
                    self.wire.line(&format!("{tag} {words}"))?;
                    continue;
                }
                Some(CommandFault::HangUpAfter) => self.wire.silent = true,
                None => {}
            }
            if matches!(self.command(&tag, &verb, &parts)?, Next::End) || fault.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What is to go wrong at this command.
    fn fault(&self, verb: &str) -> Option<CommandFault> {
        let mut world = self.world.lock().unwrap();
        let count = world.commands.entry(verb.to_owned()).or_default();
        *count += 1;
        let number = *count;
        world.behaviour.faults.iter().find(|(name, at, _)| name == verb && *at == number).map(|(.., fault)| fault.clone())
    }

    /// One whole command with its literals; `None` at the end of the connection.
    fn read_command(&mut self) -> io::Result<Option<Vec<Token>>> {
        let mut parts = Vec::new();
        loop {
            let Some(line) = self.wire.read_line()? else { return Ok(None) };
            let Some((count, synchronising, open)) = announced(&line) else {
                tokens(&line, &mut parts);
                return Ok(Some(parts));
            };
            tokens(&line[..open], &mut parts);
            let behaviour = self.world.lock().unwrap().behaviour.clone();
            let tag = parts.first().map(Token::text).unwrap_or_default();
            if synchronising {
                if behaviour.max_literal.is_some_and(|bound| count > bound) {
                    self.world.lock().unwrap().log.push(format!("{} refused literal {count}", self.wire.number()));
                    self.wire.line(&format!("{tag} NO [TOOBIG] too big"))?;
                    parts.clear();
                    continue;
                }
                self.wire.line("+ go ahead")?;
            } else if !(behaviour.has("LITERAL+") || behaviour.has("LITERAL-") && count <= 4096) {
                self.wire.line(&format!("{tag} BAD this literal was not offered"))?;
                return Ok(None);
            }
            parts.push(Token::Literal(self.wire.read_exact(count)?));
        }
    }

    fn capability(&self) -> String {
        format!("CAPABILITY {}", self.world.lock().unwrap().behaviour.capabilities.join(" "))
    }

    fn command(&mut self, tag: &str, verb: &str, parts: &[Token]) -> io::Result<Next> {
        let text = |index: usize| parts.get(index).map(Token::text).unwrap_or_default();
        let folder = inbox(text(0));
        match verb {
            "CAPABILITY" => {
                let line = self.capability();
                self.wire.line(&format!("* {line}"))?;
            }
            "NOOP" | "CHECK" => {}
            "ENABLE" => {
                let offered = self.world.lock().unwrap().behaviour.has("QRESYNC");
                if offered && parts.iter().any(|part| part.text() == "QRESYNC") {
                    self.qresync = true;
                    self.wire.line("* ENABLED QRESYNC")?;
                }
            }
            "ID" => self.wire.line("* ID (\"name\" \"imapd\")")?,
            "LOGOUT" => {
                self.wire.write(format!("* BYE bye\r\n{tag} OK bye\r\n").as_bytes())?;
                return Ok(Next::End);
            }
            "LOGIN" | "AUTHENTICATE" => return self.login(tag, verb, parts),
            _ if !self.logged_in => {
                self.wire.line(&format!("{tag} BAD log in first"))?;
                return Ok(Next::Go);
            }
            "COMPRESS" => {
                let behaviour = self.world.lock().unwrap().behaviour.clone();
                if !behaviour.has("COMPRESS=DEFLATE") {
                    self.wire.line(&format!("{tag} BAD unknown command"))?;
                    return Ok(Next::Go);
                }
                assert_eq!(self.wire.buffered(), 0, "nothing may follow COMPRESS before its answer");
                match behaviour.compresses_not {
                    Some(more) => self.wire.write(format!("{tag} OK now\r\n{more}").as_bytes())?,
                    None => {
                        self.wire.line(&format!("{tag} OK now"))?;
                        self.wire.start_deflate();
                    }
                }
                return Ok(Next::Go);
            }
            "NAMESPACE" => {
                let Behaviour { prefix, delimiter, .. } = self.world.lock().unwrap().behaviour.clone();
                self.wire.line(&format!("* NAMESPACE ((\"{prefix}\" \"{delimiter}\")) NIL NIL"))?;
            }
            "GETQUOTAROOT" => {
                let quota = self.world.lock().unwrap().behaviour.quota.clone();
                let told: Vec<String> = quota.iter().map(|(name, used, limit)| format!("{name} {used} {limit}")).collect();
                self.wire.line("* QUOTAROOT INBOX \"all mail\"")?;
                self.wire.line(&format!("* QUOTA \"all mail\" ({})", told.join(" ")))?;
            }
            "CREATE" => {
                let behaviour = self.world.lock().unwrap().behaviour.clone();
                if !folder.starts_with(&behaviour.prefix) {
                    self.wire.line(&format!("{tag} NO [CANNOT] names begin with {}", behaviour.prefix))?;
                    return Ok(Next::Go);
                }
                let is_it = |name: &String| *name == folder || behaviour.case_blind && name.eq_ignore_ascii_case(&folder);
                let known = self.world.lock().unwrap().mailboxes.keys().any(is_it);
                if known {
                    self.wire.line(&format!("{tag} NO [ALREADYEXISTS] is there"))?;
                    return Ok(Next::Go);
                }
                self.world.lock().unwrap().create(folder.trim_end_matches(behaviour.delimiter));
            }
            "DELETE" => {
                if self.world.lock().unwrap().mailboxes.remove(&folder).is_none() {
                    self.wire.line(&format!("{tag} NO [NONEXISTENT] no such mailbox"))?;
                    return Ok(Next::Go);
                }
            }
            "RENAME" => {
                let new = text(1);
                let mut world = self.world.lock().unwrap();
                let below = format!("{folder}/");
                let names: Vec<String> =
                    world.mailboxes.keys().filter(|name| **name == folder || name.starts_with(&below)).cloned().collect();
                let known = world.mailboxes.contains_key(&new);
                if !known {
                    for name in &names {
                        let mailbox = world.mailboxes.remove(name).unwrap();
                        world.mailboxes.insert(name.replacen(&folder, &new, 1), mailbox);
                    }
                }
                drop(world);
                if known || names.is_empty() {
                    self.wire.line(&format!("{tag} NO cannot rename"))?;
                    return Ok(Next::Go);
                }
            }
            "SUBSCRIBE" => {
                self.world.lock().unwrap().subscribed.insert(folder);
            }
            "UNSUBSCRIBE" => {
                self.world.lock().unwrap().subscribed.remove(&folder);
            }
            "LIST" | "LSUB" => self.list(verb, parts)?,
            "STATUS" => {
                let refusal = self.world.lock().unwrap().behaviour.no_status.get(&folder).cloned();
                if let Some(words) = refusal {
                    self.wire.line(&format!("{tag} {words}"))?;
                    return Ok(Next::Go);
                }
                let asked: Vec<String> = parts[1..].iter().map(Token::text).collect();
                if let Some(unknown) = self.world.lock().unwrap().behaviour.unknown_item(&asked) {
                    self.wire.line(&format!("{tag} BAD {unknown}?"))?;
                    return Ok(Next::Go);
                }
                let Some(mailbox) = self.world.lock().unwrap().mailboxes.get(&folder).cloned() else {
                    self.wire.line(&format!("{tag} NO [NONEXISTENT] no such mailbox"))?;
                    return Ok(Next::Go);
                };
                let limit = self.world.lock().unwrap().behaviour.append_limits.get(&folder).copied();
                let told = mailbox.status(&folder, &asked);
                match limit.filter(|_| asked.iter().any(|item| item == "APPENDLIMIT")) {
                    Some(limit) => self.wire.line(&format!("{} APPENDLIMIT {limit})", told.trim_end_matches(')')))?,
                    None => self.wire.line(&told)?,
                }
            }
            "SELECT" | "EXAMINE" => {
                let Some(mailbox) = self.world.lock().unwrap().mailboxes.get(&folder).cloned() else {
                    self.selected = None;
                    self.wire.line(&format!("{tag} NO [NONEXISTENT] no such mailbox"))?;
                    return Ok(Next::Go);
                };
                let behaviour = self.world.lock().unwrap().behaviour.clone();
                if let Some(words) = behaviour.closed.get(&folder) {
                    self.selected = None;
                    self.wire.line(&format!("{tag} NO {words}"))?;
                    return Ok(Next::Go);
                }
                let words: Vec<String> = parts[1..].iter().map(Token::text).collect();
                let asks = |name: &str| words.iter().any(|word| word == name);
                let since = if asks("QRESYNC") {
                    if !self.qresync {
                        self.wire.line(&format!("{tag} BAD enable it first"))?;
                        return Ok(Next::Go);
                    }
                    Some((
                        words[3].parse::<u32>().unwrap(),
                        words[4].parse::<u64>().unwrap(),
                        words.get(5).filter(|set| *set != ")").cloned(),
                    ))
                } else {
                    None
                };
                if asks("CONDSTORE") && !behaviour.keeps_mod_seqs() {
                    self.wire.line(&format!("{tag} BAD what?"))?;
                    return Ok(Next::Go);
                }
                self.selected = Some(folder);
                let mode = if verb == "SELECT" && !behaviour.read_only { "READ-WRITE" } else { "READ-ONLY" };
                let all = "\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*".to_owned();
                if behaviour.keeps_mod_seqs() && mailbox.no_mod_seqs {
                    self.wire.line("* OK [NOMODSEQ] none here")?;
                } else if behaviour.keeps_mod_seqs() && !behaviour.hides_mod_seq {
                    self.wire.line(&format!("* OK [HIGHESTMODSEQ {}] ok", mailbox.mod_seq))?;
                }
                if behaviour.has("OBJECTID") {
                    self.wire.line(&format!("* OK [MAILBOXID ({})] ok", mailbox.id))?;
                }
                let changes = since.map_or_else(String::new, |(uid_validity, since, known)| {
                    if uid_validity != mailbox.uid_validity || mailbox.no_mod_seqs {
                        return String::new();
                    }
                    mailbox.changes(since, known.as_deref(), &behaviour)
                });
                let answer = format!(
                    "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n\
                     * OK [PERMANENTFLAGS ({})] ok\r\n* {} EXISTS\r\n* 0 RECENT\r\n\
                     * OK [UIDVALIDITY {}] ok\r\n* OK [UIDNEXT {}] ok\r\n{changes}{tag} OK [{mode}] done\r\n",
                    behaviour.permanent_flags.unwrap_or(all),
                    mailbox.messages.len(),
                    mailbox.uid_validity,
                    mailbox.uid_next
                );
                self.wire.write(answer.as_bytes())?;
                return Ok(Next::Go);
            }
            "CLOSE" | "UNSELECT" => self.selected = None,
            "APPEND" => return self.append(tag, &folder, &parts[1..]),
            "UID FETCH" | "FETCH" => {
                if let Next::End = self.fetch(parts, verb == "FETCH")? {
                    return Ok(Next::End);
                }
            }
            "UID SEARCH" => self.search(tag, parts)?,
            "UID STORE" => {
                let code = self.store_flags(parts)?;
                self.wire.line(&format!("{tag} OK {code}done"))?;
                return Ok(Next::Go);
            }
            "UID COPY" | "UID MOVE" => {
                let answer = self.copy(verb == "UID MOVE", &text(0), &inbox(text(1)));
                self.wire.write(answer.replace("TAG", tag).as_bytes())?;
                return Ok(Next::Go);
            }
            "UID EXPUNGE" | "EXPUNGE" => self.expunge(&if verb == "EXPUNGE" { "1:*".to_owned() } else { text(0) })?,
            _ => {
                self.wire.line(&format!("{tag} BAD unknown command"))?;
                return Ok(Next::Go);
            }
        }
        self.wire.line(&format!("{tag} OK done"))?;
        Ok(Next::Go)
    }

    fn login(&mut self, tag: &str, verb: &str, parts: &[Token]) -> io::Result<Next> {
        let password = if verb == "LOGIN" {
            parts.get(1).map(Token::text).unwrap_or_default()
        } else {
            let response = match parts.get(1) {
                Some(initial) => initial.text(),
                None => {
                    self.wire.line("+ ")?;
                    String::from_utf8_lossy(&self.wire.read_line()?.unwrap_or_default()).into_owned()
                }
            };
            let frame = base64::engine::general_purpose::STANDARD.decode(response).unwrap_or_default();
            let frame = String::from_utf8_lossy(&frame).into_owned();
            match frame.split_once("auth=Bearer ") {
                Some((_, token)) => token.trim_end_matches('\u{1}').to_owned(),
                None => frame.split('\0').nth(2).unwrap_or_default().to_owned(),
            }
        };
        let mut world = self.world.lock().unwrap();
        let right = match &world.behaviour.secrets {
            Some(secrets) => secrets.contains(&password),
            None => password == canary(),
        };
        let full = world.behaviour.max_connections.clone().filter(|(most, _)| world.logged_in >= *most).map(|(_, words)| words);
        let refusal = world.behaviour.login.clone().or(full);
        if right && refusal.is_none() {
            world.logged_in += 1;
            world.most_at_once = world.most_at_once.max(world.logged_in);
        }
        drop(world);
        let answer = match refusal {
            _ if !right => "NO [AUTHENTICATIONFAILED] wrong password".to_owned(),
            Some(refusal) => refusal,
            None => {
                self.logged_in = true;
                format!("OK [{}] logged in", self.capability())
            }
        };
        self.wire.line(&format!("{tag} {answer}"))?;
        Ok(Next::Go)
    }

    fn list(&mut self, verb: &str, parts: &[Token]) -> io::Result<()> {
        // Selection options come first, in parentheses; none is offered, so they are skipped.
        let skipped = if parts.first() == Some(&Token::Open) {
            parts.iter().position(|part| *part == Token::Close).map_or(0, |at| at + 1)
        } else {
            0
        };
        let pattern: String = parts[skipped..].iter().take(2).map(Token::text).collect();
        let extended = self.world.lock().unwrap().behaviour.has("LIST-EXTENDED");
        let returned = parts.iter().map(Token::text).skip_while(|word| word != "RETURN" || !extended).collect::<Vec<_>>();
        let mut answer = String::new();
        if pattern.is_empty() {
            let delimiter = self.world.lock().unwrap().behaviour.delimiter;
            answer.push_str(&format!("* LIST (\\Noselect) \"{delimiter}\" \"\"\r\n"));
        } else {
            let world = self.world.lock().unwrap();
            let names: Vec<&String> = if verb == "LSUB" { world.subscribed.iter().collect() } else { world.mailboxes.keys().collect() };
            for name in names.into_iter().filter(|name| matches(pattern.as_bytes(), name.as_bytes())) {
                let special = world.behaviour.special_use.get(name).map_or("", String::as_str);
                let told =
                    if returned.iter().any(|word| word == "SUBSCRIBED") && world.subscribed.contains(name) { " \\Subscribed" } else { "" };
                let delimiter = world.behaviour.delimiter;
                let attributes = format!("{special}{told}");
                answer.push_str(&format!("* {verb} ({}) \"{delimiter}\" {}\r\n", attributes.trim_start(), quoted(name)));
                if let Some(at) = returned.iter().position(|word| word == "STATUS")
                    && !world.behaviour.no_status.contains_key(name)
                {
                    answer.push_str(&world.mailboxes[name].status(name, &returned[at..]));
                    answer.push_str("\r\n");
                }
            }
        }
        self.wire.write(answer.as_bytes())
    }

    fn append(&mut self, tag: &str, folder: &str, parts: &[Token]) -> io::Result<Next> {
        let mut messages = Vec::new();
        let mut message = Stored::new(Vec::new());
        for part in parts {
            match part {
                Token::Open | Token::Close => {}
                Token::Atom(flag) => message.flags.push(flag.clone()),
                Token::Text(date) => message.internal_date = String::from_utf8_lossy(date).into_owned(),
                Token::Literal(body) => {
                    message.body.clone_from(body);
                    messages.push(std::mem::replace(&mut message, Stored::new(Vec::new())));
                }
            }
        }
        let holds = |needle: &[u8]| messages.iter().any(|message| contains(&message.body, needle));
        if self.says_bye(messages.len())? {
            return Ok(Next::End);
        }
        let mut world = self.world.lock().unwrap();
        world.appends += 1;
        let number = world.appends;
        let fault = world.behaviour.appends.get(&number).cloned();
        let refusal = world.behaviour.refuse.iter().find(|(needle, _)| holds(needle)).map(|(_, words)| words.clone());
        let hangs_up = world.behaviour.hang_up_on.iter().any(|needle| holds(needle));
        let malformed = messages.is_empty() || messages.len() > 1 && !world.behaviour.has("MULTIAPPEND");
        let uidplus = world.behaviour.has("UIDPLUS");
        let refusal = match &fault {
            _ if malformed => Some("BAD one message is wanted".to_owned()),
            Some(AppendFault::No(words)) => Some(format!("NO {words}")),
            _ if !world.mailboxes.contains_key(folder) => Some("NO [TRYCREATE] no such mailbox".to_owned()),
            _ => refusal.map(|words| format!("NO {words}")),
        };
        if hangs_up || fault == Some(AppendFault::HangUpBeforeStoring) {
            return Ok(Next::End);
        }
        if let Some(refusal) = refusal {
            drop(world);
            self.wire.line(&format!("{tag} {refusal}"))?;
            return Ok(Next::Go);
        }
        if let Some(AppendFault::StoreLate(after)) = fault {
            let now = read_clock(world.behaviour.clock.as_ref());
            world.late.push(Late { due: after.map(|after| now + after), folder: folder.to_owned(), messages });
            return Ok(Next::End);
        }
        let (mut uid_validity, mut uids) = world.store(folder, messages).unwrap();
        if fault == Some(AppendFault::Renumber)
            && let Some(mailbox) = world.mailboxes.get_mut(folder)
        {
            mailbox.renumber();
            uid_validity = mailbox.uid_validity;
            uids = mailbox.messages.iter().rev().take(uids.len()).map(|message| message.uid).rev().collect();
        }
        let clock = world.behaviour.clock.clone();
        drop(world);
        match &fault {
            Some(AppendFault::NoAfterStoring(words)) => {
                self.wire.line(&format!("{tag} NO {words}"))?;
                return Ok(Next::Go);
            }
            Some(AppendFault::AnswerAfterMinutes(minutes)) => {
                for _ in 0..*minutes {
                    advance_clock(clock.as_ref().unwrap(), Duration::from_secs(60));
                    // The pace of the clock, so that the client sees it move.
                    std::thread::sleep(Duration::from_millis(15));
                }
            }
            Some(AppendFault::SwallowReply) => return Ok(Next::Go),
            Some(AppendFault::HangUpAfterStoring) => return Ok(Next::End),
            Some(AppendFault::Stall) => {
                self.wire.stall();
                return Ok(Next::End);
            }
            _ => {}
        }
        let code = match (uidplus, uids.as_slice()) {
            (true, [uid]) => format!("[APPENDUID {uid_validity} {uid}] "),
            (true, [first, .., last]) => format!("[APPENDUID {uid_validity} {first}:{last}] "),
            _ => String::new(),
        };
        self.wire.line(&format!("{tag} OK {code}stored"))?;
        if let Some(AppendFault::AnswerAfterMinutes(_)) = fault {
            return Ok(Next::End);
        }
        Ok(Next::Go)
    }

    /// Serves so many messages more, or says farewell in place of that.
    fn says_bye(&mut self, messages: usize) -> io::Result<bool> {
        let Some((most, words)) = self.world.lock().unwrap().behaviour.bye_after.clone() else { return Ok(false) };
        if self.served + messages <= most {
            self.served += messages;
            return Ok(false);
        }
        {
            let behaviour = &mut self.world.lock().unwrap().behaviour;
            if let Some(secrets) = behaviour.secrets_after_bye.take() {
                behaviour.secrets = Some(secrets);
            }
        }
        self.wire.line(&format!("* {words}"))?;
        Ok(true)
    }

    /// The selected mailbox as it is now, or an empty one.
    fn current(&self) -> Mailbox {
        let world = self.world.lock().unwrap();
        self.selected.as_ref().and_then(|name| world.mailboxes.get(name)).cloned().unwrap_or_default()
    }

    fn fetch(&mut self, parts: &[Token], by_number: bool) -> io::Result<Next> {
        let mailbox = self.current();
        let number = |index: usize| u32::try_from(index).unwrap() + 1;
        let highest = mailbox.messages.last().map_or(0, |message| message.uid);
        let last = if by_number { number(mailbox.messages.len()) - 1 } else { highest };
        let set = parts.first().map(Token::text).unwrap_or_default();
        let (fatal, mut unlisted) = {
            let world = self.world.lock().unwrap();
            (world.behaviour.hang_up_at_uid, world.behaviour.unlisted.clone())
        };
        let mut items: Vec<String> = parts[1..].iter().filter(|part| matches!(part, Token::Atom(_))).map(Token::text).collect();
        let behaviour = self.world.lock().unwrap().behaviour.clone();
        let mut since = None;
        if let Some(at) = items.iter().position(|item| item == "CHANGEDSINCE") {
            since = items[at + 1].parse::<u64>().ok().filter(|_| !behaviour.tells_everything);
            items.truncate(at);
            items.push("MODSEQ".to_owned());
        }
        let folder = self.selected.clone().unwrap_or_default();
        unlisted.retain(|_| !items.iter().any(|item| item.to_ascii_uppercase().starts_with("BODY")));
        unlisted.extend(behaviour.withheld);
        let asked = |index: usize, uid: u32| in_set(&set, if by_number { number(index) } else { uid }, last);
        let there = mailbox.messages.iter().enumerate();
        for (index, message) in there.filter(|(index, message)| asked(*index, message.uid) && !unlisted.contains(&message.uid)) {
            if since.is_some_and(|since| message.mod_seq <= since) {
                continue;
            }
            let mut answer = format!("* {} FETCH (UID {}", index + 1, message.uid).into_bytes();
            let mut has_body = false;
            for item in &items {
                let name = item.to_ascii_uppercase();
                let part = match name.as_str() {
                    "FLAGS" => format!(" FLAGS ({})", message.flags.join(" ")).into_bytes(),
                    "INTERNALDATE" => format!(" INTERNALDATE \"{}\"", message.internal_date).into_bytes(),
                    "MODSEQ" => format!(" MODSEQ ({})", message.mod_seq).into_bytes(),
                    "EMAILID" if behaviour.same_email_ids => b" EMAILID (M0)".to_vec(),
                    "EMAILID" => format!(" EMAILID (M{:016x})", identity(&message.body)).into_bytes(),
                    "X-GM-MSGID" => format!(" X-GM-MSGID {}", identity(&message.body)).into_bytes(),
                    "X-GM-LABELS" => format!(" X-GM-LABELS ({})", self.world.lock().unwrap().labels(&folder, &message.body)).into_bytes(),
                    "RFC822.SIZE" => format!(" RFC822.SIZE {}", message.body.len()).into_bytes(),
                    _ => match section(&name, &message.body) {
                        Some((label, bytes)) => {
                            has_body = true;
                            let mut part = format!(" {label} {{{}}}\r\n", bytes.len()).into_bytes();
                            part.extend(bytes);
                            part
                        }
                        None => continue,
                    },
                };
                answer.extend(part);
            }
            answer.extend(b")\r\n");
            if has_body && self.says_bye(1)? {
                return Ok(Next::End);
            }
            if has_body && fatal == Some(message.uid) {
                self.wire.write(&answer[..answer.len() / 2])?;
                return Ok(Next::End);
            }
            self.wire.write(&answer)?;
            self.world.lock().unwrap().fetched += u64::from(has_body);
        }
        Ok(Next::Go)
    }

    fn search(&mut self, tag: &str, parts: &[Token]) -> io::Result<()> {
        let mailbox = self.current();
        let last = mailbox.messages.last().map_or(0, |message| message.uid);
        let words: Vec<String> = parts.iter().map(Token::text).collect();
        let found = mailbox.messages.iter().filter(|message| {
            let flagged = |name: &str| message.flags.iter().any(|flag| flag.eq_ignore_ascii_case(name));
            let mut words = words.iter();
            while let Some(word) = words.next() {
                let holds = match word.to_ascii_uppercase().as_str() {
                    "UID" => words.next().is_some_and(|set| in_set(set, message.uid, last)),
                    "SEEN" => flagged("\\Seen"),
                    "UNSEEN" => !flagged("\\Seen"),
                    "DELETED" => flagged("\\Deleted"),
                    "UNDELETED" => !flagged("\\Deleted"),
                    "HEADER" => {
                        let (name, value) = (words.next().cloned().unwrap_or_default(), words.next().cloned().unwrap_or_default());
                        let header = String::from_utf8_lossy(&header(&message.body)).to_ascii_lowercase();
                        let name = format!("{}:", name.to_ascii_lowercase());
                        header.lines().any(|line| line.starts_with(&name) && line.contains(&value.to_ascii_lowercase()))
                    }
                    _ => true,
                };
                if !holds {
                    return false;
                }
            }
            true
        });
        if words.first().is_some_and(|word| word == "RETURN") && self.world.lock().unwrap().behaviour.has("ESEARCH") {
            let uids: Vec<String> = found.map(|message| message.uid.to_string()).collect();
            let all = if uids.is_empty() { String::new() } else { format!(" ALL {}", uids.join(",")) };
            return self.wire.line(&format!("* ESEARCH (TAG \"{tag}\") UID{all}"));
        }
        let uids: String = found.map(|message| format!(" {}", message.uid)).collect();
        self.wire.line(&format!("* SEARCH{uids}"))
    }

    /// Does a STORE; gives the response code of its end.
    fn store_flags(&mut self, parts: &[Token]) -> io::Result<String> {
        let mut answer = String::new();
        let mut modified = Vec::new();
        {
            let mut world = self.world.lock().unwrap();
            let meddling = (!world.behaviour.meddling.is_empty()).then(|| world.behaviour.meddling.remove(0));
            let condstore = world.behaviour.has("CONDSTORE");
            let Some(mailbox) = self.selected.as_ref().and_then(|name| world.mailboxes.get_mut(name)) else { return Ok(String::new()) };
            if let Some((uid, how)) = meddling {
                mailbox.reflag(uid, &how);
            }
            let last = mailbox.messages.last().map_or(0, |message| message.uid);
            let set = parts.first().map(Token::text).unwrap_or_default();
            let words: Vec<String> = parts[1..].iter().map(Token::text).collect();
            // `(UNCHANGEDSINCE n) +FLAGS (…)`
            let since = (words.get(1).is_some_and(|word| word == "UNCHANGEDSINCE") && condstore).then(|| words[2].parse::<u64>().unwrap());
            let words = if since.is_some() { &words[4..] } else { &words[..] };
            let how = words.first().map(|word| word.to_ascii_uppercase()).unwrap_or_default();
            let flags: Vec<String> = words.iter().skip(1).filter(|word| *word != "(" && *word != ")").cloned().collect();
            mailbox.mod_seq += 1;
            let mod_seq = mailbox.mod_seq;
            for (index, message) in mailbox.messages.iter_mut().enumerate().filter(|(_, message)| in_set(&set, message.uid, last)) {
                if since.is_some_and(|since| message.mod_seq > since) {
                    modified.push(message.uid.to_string());
                    continue;
                }
                if !how.starts_with('+') {
                    message.flags.retain(|flag| how.starts_with('-') && !flags.iter().any(|gone| gone.eq_ignore_ascii_case(flag)));
                }
                if !how.starts_with('-') {
                    for flag in &flags {
                        if !message.flags.iter().any(|there| there.eq_ignore_ascii_case(flag)) {
                            message.flags.push(flag.clone());
                        }
                    }
                }
                message.mod_seq = mod_seq;
                if !how.ends_with(".SILENT") {
                    answer.push_str(&format!("* {} FETCH (UID {} FLAGS ({}))\r\n", index + 1, message.uid, message.flags.join(" ")));
                } else if since.is_some() {
                    answer.push_str(&format!("* {} FETCH (UID {} MODSEQ ({mod_seq}))\r\n", index + 1, message.uid));
                }
            }
        }
        self.wire.write(answer.as_bytes())?;
        Ok(if modified.is_empty() { String::new() } else { format!("[MODIFIED {}] ", modified.join(",")) })
    }

    /// Copies or moves; gives the answer, with `TAG` where the tag belongs.
    fn copy(&mut self, moves: bool, set: &str, to: &str) -> String {
        let mut world = self.world.lock().unwrap();
        if moves && !world.behaviour.has("MOVE") {
            return "TAG BAD unknown command\r\n".to_owned();
        }
        let uidplus = world.behaviour.has("UIDPLUS");
        let Some(from) = self.selected.clone() else { return "TAG BAD select first\r\n".to_owned() };
        if !world.mailboxes.contains_key(to) {
            return "TAG NO [TRYCREATE] no such mailbox\r\n".to_owned();
        }
        let Some(mailbox) = world.mailboxes.get_mut(&from) else { return "TAG NO gone\r\n".to_owned() };
        let last = mailbox.messages.last().map_or(0, |message| message.uid);
        let chosen: Vec<Stored> = mailbox.messages.iter().filter(|message| in_set(set, message.uid, last)).cloned().collect();
        let mut expunged = String::new();
        if moves {
            let mut index = 0;
            mailbox.mod_seq += 1;
            mailbox.expunged.extend(chosen.iter().map(|message| (mailbox.mod_seq, message.uid)));
            mailbox.messages.retain(|message| {
                let goes = in_set(set, message.uid, last);
                if goes {
                    expunged.push_str(&format!("* {} EXPUNGE\r\n", index + 1));
                } else {
                    index += 1;
                }
                !goes
            });
        }
        let list = |uids: &[u32]| uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let source: Vec<u32> = chosen.iter().map(|message| message.uid).collect();
        let (uid_validity, uids) = world.store(to, chosen).unwrap();
        let code = if let Some(lie) = &world.behaviour.copy_uid {
            if lie.is_empty() { String::new() } else { format!("[{lie}] ") }
        } else if uidplus && !uids.is_empty() {
            format!("[COPYUID {uid_validity} {} {}] ", list(&source), list(&uids))
        } else {
            String::new()
        };
        if moves { format!("* OK {code}moved\r\n{expunged}TAG OK done\r\n") } else { format!("TAG OK {code}copied\r\n") }
    }

    fn expunge(&mut self, set: &str) -> io::Result<()> {
        let mut answer = String::new();
        {
            let mut world = self.world.lock().unwrap();
            let Some(mailbox) = self.selected.as_ref().and_then(|name| world.mailboxes.get_mut(name)) else { return Ok(()) };
            let last = mailbox.messages.last().map_or(0, |message| message.uid);
            let mut index = 0;
            mailbox.mod_seq += 1;
            let (mod_seq, mut gone) = (mailbox.mod_seq, Vec::new());
            mailbox.messages.retain(|message| {
                let goes = in_set(set, message.uid, last) && message.flags.iter().any(|flag| flag.eq_ignore_ascii_case("\\Deleted"));
                if goes {
                    gone.push((mod_seq, message.uid));
                    if self.qresync {
                        answer.push_str(&format!("* VANISHED {}\r\n", message.uid));
                    } else {
                        answer.push_str(&format!("* {} EXPUNGE\r\n", index + 1));
                    }
                } else {
                    index += 1;
                }
                !goes
            });
            mailbox.expunged.extend(gone);
        }
        self.wire.write(answer.as_bytes())
    }
}
