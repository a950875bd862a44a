//! Gmail's labels, as Takeout writes them into `X-Gmail-Labels` in the language of the account, and as IMAP tells them
//! (X-GM-LABELS): what they say of a message's folder, flags and keywords. It sees text alone.

use crate::folder::Folder;
use crate::imap::utf7;
use crate::message::Flag;
use crate::store::SpecialUse;
use crate::summary::field_texts;

/// The field, which stands in every message of a Takeout.
const FIELD: &str = "X-Gmail-Labels";

/// What becomes of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Labels {
    /// Each message once, in the folder that its labels say; further labels become keywords
    Keywords,
    /// Each message in the folder of every label it has, as often as it has some
    Folders,
    /// None: all messages in one folder, as in any mbox; of an account, every folder as it is shown, All Mail too
    Ignore,
}

/// What a label of Gmail's own says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Inbox,
    Sent,
    Drafts,
    Spam,
    Trash,
    Archived,
    Unread,
    Opened,
    Starred,
    Important,
}

/// In the order of the columns of [`LANGUAGES`].
const MEANINGS: [Meaning; 10] = [
    Meaning::Inbox,
    Meaning::Sent,
    Meaning::Drafts,
    Meaning::Spam,
    Meaning::Trash,
    Meaning::Archived,
    Meaning::Unread,
    Meaning::Opened,
    Meaning::Starred,
    Meaning::Important,
];

/// What Gmail calls its own labels; several words for one are separated by `|`. English is the first.
const LANGUAGES: [[&str; 10]; 11] = [
    ["Inbox", "Sent|Sent Mail", "Drafts|Draft", "Spam", "Trash|Bin", "Archived", "Unread", "Opened", "Starred", "Important"],
    ["Posteingang", "Gesendet", "Entwürfe|Entwurf", "Spam", "Papierkorb", "Archiviert", "Ungelesen", "Geöffnet", "Markiert", "Wichtig"],
    [
        "Boîte de réception",
        "Messages envoyés|Envoyés|Envoyé",
        "Brouillons|Brouillon",
        "Spam",
        "Corbeille",
        "Archivés|Archivé",
        "Non lus|Non lu",
        "Ouvert|Ouverts",
        "Messages suivis|Suivis|Favoris",
        "Important|Importants",
    ],
    [
        "Recibidos|Bandeja de entrada",
        "Enviados|Enviado",
        "Borradores|Borrador",
        "Spam",
        "Papelera",
        "Archivado|Archivados",
        "No leídos|No leído|Sin leer",
        "Abierto|Abiertos",
        "Destacados|Destacado",
        "Importantes|Importante",
    ],
    [
        "Posta in arrivo",
        "Posta inviata|Inviati|Inviata",
        "Bozze|Bozza",
        "Spam",
        "Cestino",
        "Archiviati|Archiviato",
        "Da leggere|Non letti|Non letto",
        "Aperti|Aperto",
        "Speciali|Speciale",
        "Importanti|Importante",
    ],
    [
        "Caixa de entrada|Entrada",
        "E-mails enviados|Enviados|Enviado|Correio enviado",
        "Rascunhos|Rascunho",
        "Spam",
        "Lixeira|Lixo",
        "Arquivado|Arquivados",
        "Não lidas|Não lidos|Não lida|Não lido",
        "Aberto|Abertos|Aberta",
        "Com estrela",
        "Importante|Importantes",
    ],
    [
        "Inbox|Postvak IN",
        "Verzonden",
        "Concepten|Concept",
        "Spam",
        "Prullenbak",
        "Gearchiveerd",
        "Ongelezen",
        "Geopend",
        "Met ster",
        "Belangrijk",
    ],
    [
        "Inkorgen|Inkorg",
        "Skickat|Skickade",
        "Utkast",
        "Skräppost",
        "Papperskorgen",
        "Arkiverade|Arkiverat",
        "Olästa|Oläst",
        "Öppnade|Öppnat",
        "Stjärnmärkta|Stjärnmärkt",
        "Viktigt|Viktiga",
    ],
    [
        "Odebrane",
        "Wysłane",
        "Wersje robocze|Wersja robocza",
        "Spam",
        "Kosz",
        "Zarchiwizowane",
        "Nieprzeczytane",
        "Otwarte",
        "Oznaczone gwiazdką",
        "Ważne",
    ],
    [
        "Входящие",
        "Отправленные",
        "Черновики",
        "Спам",
        "Корзина",
        "Архив|Архивные|Архивировано",
        "Непрочитанные",
        "Открытые|Открытое|Открыто",
        "Помеченные|Помеченное",
        "Важное|Важные",
    ],
    ["受信トレイ", "送信済み|送信済みメール", "下書き", "迷惑メール", "ゴミ箱", "アーカイブ済み", "未読", "開封済み", "スター付き", "重要"],
];

/// Labels that say nothing of where a message belongs.
const SILENT: [&str; 6] = ["Muted", "Snoozed", "Scheduled", "Chat", "Chats", "All mail"];
/// How the names of the tabs of the inbox begin.
const TAB: &str = "Category ";
/// How keywords are called that IMAP clients gave.
const KEYWORD: &str = "IMAP_";

/// The labels of the message that begins so; `None` where it tells none.
pub(super) fn of(head: &[u8]) -> Option<Vec<String>> {
    field_texts(head, FIELD).first().map(|value| split(value))
}

/// Labels as IMAP tells them, as people read them: Gmail's own (`\Inbox`) as they are, others out of modified UTF-7.
pub(super) fn read(wire: &[Vec<u8>]) -> Vec<String> {
    let mut labels: Vec<String> =
        wire.iter().map(|label| utf7::decode(label).unwrap_or_else(|| String::from_utf8_lossy(label).into_owned())).collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// The labels of a list: separated by commas, those that hold one in double quotes.
fn split(list: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut label = String::new();
    let mut quoted = false;
    let mut chars = list.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => label.extend(chars.next()),
            '\\' if quoted && matches!(chars.peek(), Some('"' | '\\')) => label.extend(chars.next()),
            '"' if quoted || label.trim().is_empty() => quoted = !quoted,
            ',' if !quoted => labels.push(std::mem::take(&mut label)),
            _ => label.push(char),
        }
    }
    labels.push(label);
    // In an encoded word a line may have been broken anywhere.
    let clean = |label: String| label.split_whitespace().collect::<Vec<_>>().join(" ");
    labels.into_iter().map(clean).filter(|label| !label.is_empty()).collect()
}

/// The language of an account, as its labels betray it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Language(usize);

impl Language {
    /// The one that knows the most of `labels` (each with how often it stands there); English where none does.
    pub(super) fn of<'a>(labels: impl Iterator<Item = (&'a str, u64)>) -> Self {
        let mut known = [0_u64; LANGUAGES.len()];
        for (label, count) in labels {
            for (known, language) in known.iter_mut().zip(&LANGUAGES) {
                if meaning_in(language, label).is_some() {
                    *known = known.saturating_add(count);
                }
            }
        }
        // Of equal ones the first.
        Self(known.iter().enumerate().max_by_key(|(index, known)| (**known, usize::MAX - index)).map_or(0, |(index, _)| index))
    }

    fn meaning(self, label: &str) -> Sense {
        let known = LANGUAGES.get(self.0).and_then(|language| meaning_in(language, label));
        match known {
            Some(meaning) => Sense::System(meaning),
            None if label.starts_with(TAB) || SILENT.contains(&label) => Sense::Nothing,
            None => {
                label.strip_prefix(KEYWORD).filter(|keyword| is_atom(keyword)).map_or(Sense::Own, |word| Sense::Keyword(Flag::new(word)))
            }
        }
    }
}

/// What one label is.
enum Sense {
    System(Meaning),
    /// Of an IMAP client.
    Keyword(Flag),
    /// The user's.
    Own,
    Nothing,
}

fn meaning_in(language: &[&str; 10], label: &str) -> Option<Meaning> {
    let is_called = |names: &str| names.split('|').any(|name| name == label);
    MEANINGS.iter().zip(language).find(|(_, names)| is_called(names)).map(|(meaning, _)| *meaning)
}

/// What the labels of a message come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Placed {
    /// Where it belongs, the first before all.
    pub(super) folders: Vec<(Folder, Option<SpecialUse>)>,
    /// Flags, and keywords that IMAP clients gave.
    pub(super) flags: Vec<Flag>,
    /// The user's own labels but for the one that is the first folder, as keywords.
    pub(super) keywords: Vec<Flag>,
}

/// Where the system's labels lead, the strongest first: a message in the trash is there and nowhere else.
const PLACES: [(Meaning, &str, SpecialUse); 5] = [
    (Meaning::Trash, "Trash", SpecialUse::Trash),
    (Meaning::Spam, "Junk", SpecialUse::Junk),
    (Meaning::Drafts, "Drafts", SpecialUse::Drafts),
    (Meaning::Inbox, "INBOX", SpecialUse::All),
    (Meaning::Sent, "Sent", SpecialUse::Sent),
];

/// Reads the labels of one message of a Takeout.
pub(super) fn place<'a>(labels: impl Iterator<Item = &'a str>, language: Language) -> Placed {
    let (mut placed, meanings) = sorted(labels, |label| language.meaning(label));
    if !meanings.contains(&Meaning::Unread) {
        placed.flags.push(Flag::seen());
    }
    for (meaning, flag) in [(Meaning::Starred, "\\Flagged"), (Meaning::Drafts, "\\Draft"), (Meaning::Important, "$Important")] {
        if meanings.contains(&meaning) {
            placed.flags.push(Flag::new(flag));
        }
    }
    placed
}

/// Reads the labels of one message as IMAP tells them, out of modified UTF-7: Gmail's own begin with a backslash. Its flags are told
/// apart from them.
pub(super) fn place_told<'a>(labels: impl Iterator<Item = &'a str>) -> Placed {
    let (mut placed, meanings) = sorted(labels, |label| match label.strip_prefix('\\') {
        Some(system) => TOLD.iter().find(|(name, _)| name.eq_ignore_ascii_case(system)).map_or(Sense::Nothing, |(_, m)| Sense::System(*m)),
        None => Sense::Own,
    });
    if meanings.contains(&Meaning::Important) {
        placed.flags.push(Flag::new("$Important"));
    }
    placed
}

/// Gmail's own labels as IMAP tells them.
const TOLD: [(&str, Meaning); 8] = [
    ("Inbox", Meaning::Inbox),
    ("Sent", Meaning::Sent),
    ("Draft", Meaning::Drafts),
    ("Drafts", Meaning::Drafts),
    ("Junk", Meaning::Spam),
    ("Spam", Meaning::Spam),
    ("Trash", Meaning::Trash),
    ("Important", Meaning::Important),
];

/// Folders and keywords of a message, and what Gmail's own labels say of it.
fn sorted<'a>(labels: impl Iterator<Item = &'a str>, sense: impl Fn(&str) -> Sense) -> (Placed, Vec<Meaning>) {
    let mut placed = Placed::default();
    let mut meanings = Vec::new();
    let mut own: Vec<&str> = Vec::new();
    for label in labels {
        match sense(label) {
            Sense::System(meaning) => meanings.push(meaning),
            Sense::Keyword(keyword) => placed.flags.push(keyword),
            Sense::Own => own.push(label),
            Sense::Nothing => {}
        }
    }
    let system = PLACES.iter().find(|(meaning, _, _)| meanings.contains(meaning));
    let mut home = system.and_then(|(meaning, name, special)| {
        let special = (*meaning != Meaning::Inbox).then_some(*special);
        Folder::from_levels([*name]).map(|folder| (folder, special))
    });
    for label in own {
        // A label of nothing but slashes is none that a folder can have.
        let folder = Folder::from_levels(label.split('/').map(str::trim).filter(|level| !level.is_empty()));
        match folder {
            Some(folder) if home.is_none() => home = Some((folder, None)),
            folder => {
                placed.keywords.push(keyword(label));
                placed.folders.extend(folder.map(|folder| (folder, None)));
            }
        }
    }
    let home = home.or_else(archive);
    placed.folders.splice(0..0, home);
    (placed, meanings)
}

/// Where messages belong that no label leads anywhere.
pub(super) fn archive() -> Option<(Folder, Option<SpecialUse>)> {
    Folder::from_levels(["Archive"]).map(|folder| (folder, Some(SpecialUse::Archive)))
}

/// Adds flags that are not there yet.
pub(super) fn add(flags: &mut Vec<Flag>, more: Vec<Flag>) {
    for flag in more {
        if !flags.contains(&flag) {
            flags.push(flag);
        }
    }
}

fn is_atom(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(&byte))
}

/// A label as a keyword may be called: modified UTF-7, as mail programs name keywords of theirs, and `_` for what may not stand
/// there.
fn keyword(label: &str) -> Flag {
    let plain = |byte: u8| if is_atom(char::from(byte).encode_utf8(&mut [0; 4])) { char::from(byte) } else { '_' };
    Flag::new(utf7::encode(label).into_iter().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(labels: &str) -> (String, Vec<String>, Vec<String>) {
        let labels = split(labels);
        let language = Language::of(labels.iter().map(|label| (label.as_str(), 1)));
        let placed = place(labels.iter().map(String::as_str), language);
        let words = |flags: &[Flag]| flags.iter().map(|flag| flag.wire().to_owned()).collect::<Vec<_>>();
        (placed.folders[0].0.to_string(), words(&placed.flags), words(&placed.keywords))
    }

    #[test]
    fn a_list_is_read_with_quotes_folds_and_encoded_words() {
        let read = |value: &str| of(format!("X-GM-THRID: 1\r\nX-Gmail-Labels: {value}\r\nSubject: x\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(read("Inbox,Work/Old,Category Updates"), ["Inbox", "Work/Old", "Category Updates"]);
        assert_eq!(read("\"a, b\",\"say \"\"no\"\"\", c"), ["a, b", "say \"no\"", "c"]);
        assert_eq!(read("Inbox,\r\n Two words,\r\n\tOpened"), ["Inbox", "Two words", "Opened"]);
        assert_eq!(
            read("=?UTF-8?Q?Bo=C3=AEte_de_r=C3=A9ception,Caf=C3=A9?=\r\n =?UTF-8?Q?_noir,Ouvert?="),
            ["Boîte de réception", "Café noir", "Ouvert"]
        );
        assert_eq!(read("=?UTF-8?B?5Y+X5L+h44OI44Os44Kk?="), ["受信トレイ"]);
        assert_eq!(read(""), Vec::<String>::new());
        assert!(of(b"Subject: x\r\n\r\nX-Gmail-Labels: Inbox\r\n").is_none());
    }

    #[test]
    fn a_message_lies_in_one_folder_and_its_flags_are_what_the_labels_say() {
        let words = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>();
        assert_eq!(placed("Inbox,Unread"), ("INBOX".to_owned(), vec![], vec![]));
        assert_eq!(
            placed("Work,Starred,Inbox,Important,Opened"),
            ("INBOX".to_owned(), words(&["\\Seen", "\\Flagged", "$Important"]), words(&["Work"]))
        );
        assert_eq!(placed("Archived,Work/Old,Zwei Wörter"), ("Work/Old".to_owned(), words(&["\\Seen"]), words(&["Zwei_W&APY-rter"])));
        assert_eq!(placed("Archived,Opened,Category Promotions"), ("Archive".to_owned(), words(&["\\Seen"]), vec![]));
        assert_eq!(placed("Inbox,Trash,a"), ("Trash".to_owned(), words(&["\\Seen"]), words(&["a"])));
        assert_eq!(placed("Spam,Unread"), ("Junk".to_owned(), vec![], vec![]));
        assert_eq!(placed("Drafts"), ("Drafts".to_owned(), words(&["\\Seen", "\\Draft"]), vec![]));
        assert_eq!(placed("Sent,IMAP_$Forwarded,IMAP_a b"), ("Sent".to_owned(), words(&["$Forwarded", "\\Seen"]), words(&["IMAP_a_b"])));
        assert_eq!(placed(""), ("Archive".to_owned(), words(&["\\Seen"]), vec![]));
        assert_eq!(placed("/,//"), ("Archive".to_owned(), words(&["\\Seen"]), words(&["/", "//"])));
    }

    #[test]
    fn labels_in_another_language_are_known_and_a_users_own_word_is_his_own() {
        assert_eq!(placed("Posteingang,Ungelesen,Markiert").0, "INBOX");
        assert_eq!(placed("Boîte de réception,Non lus").1, Vec::<String>::new());
        assert_eq!(placed("Archivado,Abierto,Facturas").0, "Facturas");
        assert_eq!(placed("受信トレイ,開封済み").0, "INBOX");
        // In an English account `Wichtig` is nothing of Gmail's.
        assert_eq!(placed("Archived,Opened,Wichtig").0, "Wichtig");
    }
}
