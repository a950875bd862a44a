//! Completion on TAB: in a real bash with a terminal where there is one, and the answers themselves for all shells. Names
//! that a server chose must never run anything.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::imapd::{Behaviour, Imapd};
use crate::support::tool::Tool;
use crate::support::{modified_utf7, wait_for};

/// The candidates for a bash line with the cursor at its end, as bash gets them.
fn bash(tool: &Tool, line: &str) -> (String, Vec<String>) {
    // bash cuts its own word at these.
    let piece = line.rsplit([' ', ':', '=', '@', '\'', '"']).next().unwrap().to_owned();
    answer(tool, &["bash", line, &piece])
}

fn answer(tool: &Tool, args: &[&str]) -> (String, Vec<String>) {
    let mut all = vec!["__complete"];
    all.extend(args);
    let output = tool.run(&all).expect_code(0);
    assert_eq!(output.stderr, "", "{output}");
    let mut lines: Vec<String> = output.text().lines().map(str::to_owned).collect();
    assert!(!lines.is_empty(), "{output}");
    (lines.remove(0), lines)
}

fn server() -> Imapd {
    let server = Imapd::start(Behaviour::default());
    for name in ["Archive", "Archive/2024", "My Mail", &modified_utf7("Entwürfe"), "what?"] {
        server.fill(name, &[]);
    }
    server
}

fn tool_of(server: &Imapd) -> Tool {
    let tool = Tool::new();
    tool.server("work", Some(&server.url()), Some("pop3s://ann@127.0.0.1:9"));
    tool.server("home", None, Some("pop3s://ann@127.0.0.1:9"));
    tool
}

#[test]
fn accounts_are_candidates_without_a_look_at_any_server() {
    let server = server();
    let tool = tool_of(&server);
    assert_eq!(
        bash(&tool, "mailhaul list "),
        ("words".to_owned(), ["home", "work", "work/", "work:imap", "work:pop3"].map(str::to_owned).to_vec())
    );
    assert_eq!(bash(&tool, "mailhaul list wo").1, ["work", "work/", "work:imap", "work:pop3"]);
    assert_eq!(bash(&tool, "mailhaul list work:p").1, ["pop3"]);
    assert_eq!(answer(&tool, &["zsh", "mailhaul", "list", "work:p"]).1, ["work:pop3"]);
    assert_eq!(bash(&tool, "mailhaul list -o js").1, ["json", "jsonl"]);
    assert_eq!(bash(&tool, "mailhaul fold").1, ["folders"]);
    assert_eq!(bash(&tool, "mailhaul list --trace x").0, "files");
    assert_eq!(server.connections(), 0);
}

#[test]
fn folders_are_asked_for_once_and_remembered_for_an_hour() {
    let server = server();
    let mut tool = tool_of(&server);
    let clock = tool.use_clock();
    assert_eq!(bash(&tool, "mailhaul list work/Ar").1, ["work/Archive", "work/Archive/2024"]);
    assert_eq!(bash(&tool, "mailhaul list 'work/My").1, ["work/My Mail"]);
    assert_eq!(bash(&tool, "mailhaul list work/M").1, ["work/My\\ Mail"]);
    assert_eq!(answer(&tool, &["fish", "mailhaul", "list", "work/My\\ M"]).1, ["work/My Mail"]);
    assert_eq!(bash(&tool, "mailhaul list work/what").1, ["work/what%3F"]);
    assert_eq!(bash(&tool, "mailhaul folders rename work/Archive Ent").1, ["Entwürfe"]);
    assert_eq!(bash(&tool, "mailhaul list work:imap/Archive/").1, ["imap/Archive/2024"]);
    assert_eq!(server.connections(), 1);
    server.fill("Ark", &[]);
    assert_eq!(bash(&tool, "mailhaul list work/Ar").1.len(), 2);
    fs::write(&clock, "3600000").unwrap();
    assert_eq!(bash(&tool, "mailhaul list work/Ar").1, ["work/Archive", "work/Archive/2024", "work/Ark"]);
    assert_eq!(server.connections(), 2);
    for entry in fs::read_dir(tool.state_dir().with_file_name("cache").join("mailhaul/folders")).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_listing_of_folders_fills_the_memory_and_a_change_empties_it() {
    let server = server();
    let tool = tool_of(&server);
    tool.run(&["folders", "work"]).expect_code(0);
    let connections = server.connections();
    assert_eq!(bash(&tool, "mailhaul list work/Ar").1.len(), 2);
    assert_eq!(server.connections(), connections);
    tool.run(&["folders", "create", "work/Arbeit"]).expect_code(0);
    assert_eq!(bash(&tool, "mailhaul list work/Arb").1, ["work/Arbeit"]);
}

#[test]
fn no_program_is_run_and_nobody_is_called_for_what_is_half_typed() {
    let server = server();
    let tool = Tool::new();
    let marker = tool.path("ran");
    tool.config(&format!("[accounts.work]\nimap = \"{}\"\npassword-command = [\"touch\", \"{}\"]\n", server.url(), marker.display()));
    assert!(bash(&tool, "mailhaul list work/Ar").1.is_empty());
    assert!(bash(&tool, &format!("mailhaul list imap://ann@127.0.0.1:{}/Ar", server.port())).1.is_empty());
    assert!(!marker.exists());
    assert_eq!(server.connections(), 0);
    // A config file with a mistake in it is for the run itself to complain about.
    tool.config("nonsense");
    assert!(bash(&tool, "mailhaul list wo").1.is_empty());
    assert_eq!(bash(&tool, "mailhaul li").1, ["list"]);
}

#[test]
fn a_silent_or_dead_server_is_given_up_and_left_alone_for_a_while() {
    let silent = crate::support::script::Script::every("!stall");
    let mut tool = Tool::new();
    tool.use_clock();
    tool.server("work", Some(&silent.imap()), None);
    assert!(bash(&tool, "mailhaul list work/Ar").1.is_empty());
    assert!(bash(&tool, "mailhaul list work/Ar").1.is_empty());
    assert_eq!(silent.connections(), 1);
}

#[test]
fn names_with_control_characters_are_no_candidates() {
    let server = Imapd::start(Behaviour::default());
    for name in ["Good", "Gone\r\nrm -rf", "G\u{1b}[2J", "G\ty"] {
        server.fill(name, &[]);
    }
    let tool = tool_of(&server);
    let (_, words) = bash(&tool, "mailhaul list work/G");
    assert!(
        words.contains(&"work/Good".to_owned()) && words.iter().all(|word| word.starts_with("work/G") && !word.contains(char::is_control)),
        "{words:?}"
    );
}

#[test]
fn a_variable_that_other_programs_complete_by_changes_nothing() {
    let mut tool = Tool::new();
    tool.set_env("COMPLETE", "bash").set_env("_CLAP_COMPLETE_INDEX", "1");
    let output = tool.run(&["completions", "bash"]).expect_code(0);
    assert!(output.text().contains("complete -o default -F _mailhaul mailhaul"), "{output}");
    tool.run(&["list", "nowhere"]).expect_code(2);
}

/// A directory with a `mailhaul` that notes its arguments, one a line, but for those of a completion.
fn noting(tool: &Tool) -> std::path::PathBuf {
    let bin = tool.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let program = bin.join("mailhaul");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = __complete ]; then exec '{}' \"$@\"; fi\nprintf '%s\\n' \"$@\" >> '{}'\n",
        env!("CARGO_BIN_EXE_mailhaul"),
        tool.text("noted")
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    bin
}

/// Types lines into an interactive bash with a terminal of its own.
fn type_into_bash(tool: &Tool, lines: &str) -> String {
    fs::write(tool.path("completion.bash"), tool.run(&["completions", "bash"]).expect_code(0).stdout).unwrap();
    let bin = noting(tool);
    fs::write(tool.path("rc"), "PS1='> '\nHISTFILE=\nbind 'set bell-style none'\nsource ./completion.bash\n").unwrap();
    // A bash that waits for the end of a quote would wait for ever.
    let mut command: Command = tool.command("timeout");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut child = command
        .args(["-k", "1", "30", "script", "-qec", "bash --noprofile --rcfile ./rc -i", "/dev/null"])
        .env("PATH", path)
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{lines}exit\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

const EVIL: [(&str, &str); 9] = [
    ("A", "A $(touch pwned)"),
    ("B", "B`touch pwned`"),
    ("C", "C';touch pwned;'"),
    ("D", "D\"; touch pwned; \""),
    ("E", "E & touch pwned &"),
    ("F", "F|touch pwned"),
    ("G", "G ${PATH} *"),
    ("H", "H\\ $(touch pwned)"),
    ("J", "J > pwned"),
];

#[test]
fn in_a_real_bash_no_name_is_ever_run() {
    if !["timeout", "script", "bash"].into_iter().all(has) {
        eprintln!("no script, timeout or bash on this machine: skipped");
        return;
    }
    let server = Imapd::start(Behaviour::default());
    for (_, name) in EVIL {
        server.fill(&modified_utf7(name), &[]);
    }
    let tool = tool_of(&server);
    tool.run(&["folders", "work"]).expect_code(0);
    let mut lines = String::new();
    for (letter, _) in EVIL {
        lines.push_str(&format!("mailhaul list work/{letter}\t\n"));
    }
    // And begun within quotes, and a choice among several that is only shown.
    lines.push_str("mailhaul list 'work/A\t\nmailhaul list \"work/B\t\nmailhaul list work/\t\t\nmailhaul list home:\t\n");
    let shown = type_into_bash(&tool, &lines);
    assert!(!tool.path("pwned").exists(), "{shown}");
    let noted = fs::read_to_string(tool.path("noted")).unwrap_or_default();
    for (_, name) in EVIL {
        assert!(noted.lines().any(|line| line == format!("work/{name}")), "{name:?} is not among\n{noted}\n{shown}");
    }
    wait_for("a second completion of the same name", || noted.lines().filter(|line| *line == "work/A $(touch pwned)").count() == 2);
}

#[test]
fn bash_completes_behind_a_colon_and_opens_a_level() {
    if !["timeout", "script", "bash"].into_iter().all(has) {
        eprintln!("no script, timeout or bash on this machine: skipped");
        return;
    }
    let server = server();
    let tool = tool_of(&server);
    tool.run(&["folders", "work"]).expect_code(0);
    let shown = type_into_bash(&tool, "mailhaul list work:p\t\nmailhaul fol\twork/My\t\nmailhaul list --outp\tjsonl\t ho\t\n");
    let noted = fs::read_to_string(tool.path("noted")).unwrap_or_default();
    assert_eq!(
        noted.lines().collect::<Vec<_>>(),
        ["list", "work:pop3", "folders", "work/My Mail", "list", "--output", "jsonl", "home"],
        "{shown}"
    );
}
