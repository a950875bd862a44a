//! The support itself works: a test that stands on a broken fixture proves nothing.

use crate::support::dovecot::{Dovecot, Options, Plant};
use crate::support::tool::{Tool, holds_canary};
use crate::support::{canary, modified_utf7};
use crate::{dovecot_user, support};

#[test]
fn dovecot_takes_planted_mail_and_gives_it_back() {
    let user = dovecot_user!("support-plant");
    user.plant(
        "INBOX",
        &[Plant::new("Subject: one\n\nbody\n").flag("\\Seen").date(1_234_567_890), Plant::new("Subject: two\r\n\r\n.\r\n")],
    );
    user.deliver("Höhe/Tief", &[b"Subject: three\n\n\xff\n".to_vec()]);
    let inbox = user.messages("INBOX");
    assert_eq!(inbox.len(), 2);
    assert_eq!((inbox[0].body.as_slice(), inbox[0].internal_date), (&b"Subject: one\r\n\r\nbody\r\n"[..], 1_234_567_890));
    assert_eq!(inbox[0].flags, ["\\Seen"]);
    assert_eq!(inbox[1].body, b"Subject: two\r\n\r\n.\r\n");
    assert_eq!(user.bodies("Höhe/Tief"), [b"Subject: three\r\n\r\n\xff\r\n"]);
    assert_eq!(user.folders(), ["H&APY-he", "H&APY-he/Tief", "INBOX"]);
}

#[test]
fn dovecot_takes_appended_mail_with_keywords() {
    let user = dovecot_user!("support-append");
    user.create("Work");
    user.append("Work", b"Subject: a\r\n\r\nb\r\n", &["\\Flagged", "Later"]);
    let work = user.messages("Work");
    assert_eq!(work.len(), 1);
    assert_eq!(work[0].flags, ["Later", "\\Flagged"]);
}

#[test]
fn a_capability_can_be_hidden_and_special_folders_shown() {
    let options = Options {
        imap_capability: Some("IMAP4rev1 LITERAL+ SPECIAL-USE".to_owned()),
        special_use: true,
        sdbox: true,
        ..Options::default()
    };
    let Some(dovecot) = Dovecot::start(options) else { return };
    let user = dovecot.user("ann");
    assert!(!user.client().capabilities().unwrap().has_str("UIDPLUS"));
    assert_eq!(user.folders(), ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]);
    user.append("INBOX", b"a: b\r\n\r\n", &[]);
    assert_eq!(user.bodies("INBOX"), [b"a: b\r\n\r\n"]);
}

#[test]
fn modified_utf7_is_what_the_rfc_shows() {
    assert_eq!(modified_utf7("~peter/mail/台北/日本語"), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
    assert_eq!(modified_utf7("a&b"), "a&-b");
    assert_eq!(canary(), support::canary());
}

#[test]
fn the_search_for_the_password_finds_it_in_every_sasl_frame() {
    use base64::Engine as _;
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text).into_bytes();
    let password = canary();
    for leak in [
        password.as_bytes().to_vec(),
        encode(password.to_owned()),
        encode(format!("\0ann\0{password}")),
        encode(format!("\0anna\0{password}")),
        encode(format!("user=ann\u{1}auth=Bearer {password}\u{1}\u{1}")),
    ] {
        assert!(holds_canary(&leak));
    }
    assert!(!holds_canary(b"nothing of that kind"));
}

#[test]
fn the_tool_runs_in_an_empty_home() {
    let tool = Tool::new();
    let output = tool.run::<&str>(&[]);
    assert!(output.code >= 0, "{output}");
}
