//! The `ringtide` command as a user meets it: what it prints, where, and its exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[test]
fn help_has_examples_and_exit_codes() {
    let output = ringtide(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = stdout(&output);
    let commands = ["run", "tracker", "relay", "load-test", "traffic", "config", "ctl"];
    for part in ["Examples:", "Exit codes:", "RINGTIDE_LOG"].into_iter().chain(commands) {
        assert!(help.contains(part), "{part}: {help}");
    }
}

#[test]
fn version_is_the_package_version() {
    let output = ringtide(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), format!("ringtide {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn no_command_prints_help_and_is_wrong_usage() {
    for arguments in [&[][..], &["config"][..]] {
        let output = ringtide(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("Usage: ringtide"), "{output:?}");
    }
}

#[test]
fn wrong_arguments_are_explained() {
    for (arguments, hint) in [
        (&["tracker", "--lisen", "[::]:1"][..], "--listen"),
        (&["trackr"], "tracker"),
        (&["tracker", "--listen", "localhost:6969"], "host names are not looked up"),
        (&["tracker", "--listen", "[::1]:1", "--listen", "[::1]:1"], "listed twice"),
        (&["tracker", "--workers", "1025"], "0 to 1024"),
        (&["tracker", "--workers", "3", "--cores", "0-1"], "--cores: 3 workers do not fit 2"),
        (&["tracker", "--cores", "0,,1"], "whole number"),
        (&["tracker", "--peer-timeout", "45"], "needs its unit"),
        (&["tracker", "--announce-interval", "9s"], "10s to 2h"),
        (&["tracker", "--report-interval", "1500ms"], "whole seconds"),
        (&["tracker", "--access-mode", "alow"], "did you mean \"allow\"?"),
        (&["tracker", "--access-mode", "allow"], "needs --access-file"),
        (&["tracker", "--access-file", "list"], "needs --access-mode"),
        (&["tracker", "--log-level", "inof"], "did you mean \"info\"?"),
        (&["tracker", "--log-format", "xml"], "text, json"),
        (&["tracker", "--engine", "epol"], "did you mean \"epoll\"?"),
        (&["relay", "--engine", "uring"], "auto, io_uring, epoll"),
        (&["run", "--engine", ""], "auto, io_uring, epoll"),
        (&["config", "check"], "<FILE>"),
    ] {
        assert_wrong(&ringtide(arguments), hint);
    }
}

#[test]
fn completions_and_man_pages_know_every_command() {
    for (shell, sign) in
        [("bash", "complete -F"), ("zsh", "#compdef ringtide"), ("fish", "complete -c")]
    {
        let output = ringtide(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        let script = stdout(&output);
        for part in [sign, "ctl", "log-level", "report-interval"] {
            assert!(script.contains(part), "{shell}: {part}");
        }
    }
    assert_wrong(&ringtide(&["completions", "tcsh"]), "bash");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    assert_eq!(ringtide(&["man", path]).status.code(), Some(0));
    for (page, part) in [
        ("ringtide.1", "Exit codes:"),
        ("ringtide-tracker.1", "peer\\-timeout"),
        ("ringtide-ctl.1", "nothing answers at the control socket"),
        ("ringtide-ctl-rules-add.1", "239.1.1.1:5001@eth0"),
    ] {
        let text = fs::read_to_string(directory.path().join(page)).unwrap();
        assert!(text.contains(part), "{page}: {text}");
    }
    let output = ringtide(&["man", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("remedy"), "{output:?}");
}

#[test]
fn the_relay_explains_itself() {
    let output = ringtide(&["relay", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = stdout(&output);
    for part in ["--input <ENDPOINT>", "--ttl <N|keep>", "--offload <MODE>", "Examples:", "--cores"]
    {
        assert!(help.contains(part), "{part}: {help}");
    }
}

#[test]
fn wrong_relay_arguments_are_explained() {
    const A: &str = "239.1.1.1:1@a";
    const B: &str = "239.2.2.2:2@b";
    const SIX: &str = "[ff15::1]:1@b";
    for (arguments, hint) in [
        (&["--output", B][..], "--input <ENDPOINT>"),
        (&["--input", "239.1.1.1:1"], "the interface is missing"),
        (&["--input", "239.1.1.1@a"], "the port is missing"),
        (&["--input", "ff15::1:1@a"], "in brackets"),
        (&["--input", A, "--output", "a"], "the interface is missing"),
        (&["--input", A, "--source", "10.0.0.1:1"], "without port and interface"),
        (&["--input", A, "--source", "::1"], "--source: rule \"rule-1\": source ::1: it is IPv6"),
        (&["--input", A, "--output", A], "--output: rule \"rule-1\", output 1: 239.1.1.1:1@a is"),
        (&["--input", A, "--input", A], "--input: rule \"rule-2\": rule \"rule-1\" has the same"),
        (&["--output", B, "--input", A, "--input", SIX], "--output: 239.2.2.2:2@b comes before"),
        (&["--source", "::1", "--input", A, "--input", SIX], "--source: ::1 comes before"),
        (&["--input", A, "--output", B, "--output", B], "output 2: 239.2.2.2:2@b is the same"),
        (&["--input", A, "--ttl", "0"], "allowed is 1 to 255"),
        (&["--input", A, "--ttl", "kept"], "\"keep\" is allowed, too"),
        (&["--input", A, "--dscp", "64"], "allowed is 0 to 63"),
        (&["--input", A, "--offload", "on"], "auto, off"),
        (&["--input", A, "--workers", "2", "--cores", "0"], "--cores: 2 workers do not fit 1"),
        (&["--input", A, "--cores", "0,0"], "listed twice"),
    ] {
        assert_wrong(&ringtide(&[&["relay"], arguments].concat()), hint);
    }
    // Of several mistakes all are told, with the help to read.
    let output = ringtide(&["relay", "--input", A, "--output", A, "--input", B, "--source", "::1"]);
    assert_wrong(&output, "2 problems with the flags");
    assert!(stderr(&output).contains("`ringtide relay --help`"), "{output:?}");
}

#[test]
fn check_shows_rules_and_interfaces_that_are_not_there() {
    let file = ConfigFile::new(
        b"[[relay.rule]]\nname = \"feed\"\ninput = \"[ff15::1]:1@nowhere0\"\n\
          outputs = [{ to = \"239.2.2.2:2@lo\", ttl = 8 }]\n",
    );
    let output = file.check();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = stdout(&output);
    for part in [
        "  relay of 1 rule, offload auto\n",
        "  rule feed: [ff15::1]:1@nowhere0 to 239.2.2.2:2@lo (ttl 8)\n",
        "  warning: rule \"feed\": datagrams of 65508 to 65527 bytes",
        "  warning: there is no interface nowhere0 yet",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(!report.contains("tracker") && !report.contains("interface lo"), "{report}");
}

#[test]
fn the_printed_default_is_valid() {
    let printed = ringtide(&["config", "default"]);
    assert_eq!(printed.status.code(), Some(0));
    let file = ConfigFile::new(&printed.stdout);
    let checked = file.check();
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let report = stdout(&checked);
    assert!(report.starts_with(&format!("{} is valid\n", file.path.display())), "{report}");
    assert!(report.contains("tracker on 0.0.0.0:6969, [::]:6969"), "{report}");
    assert!(!report.contains("warning"), "{report}");
}

#[test]
fn check_tells_warnings_and_missing_files() {
    let file = ConfigFile::new(
        b"[tracker]\npeer_timeout = \"1m\"\naccess_mode = \"deny\"\naccess_file = \"none.txt\"\n",
    );
    let output = file.check();
    assert_eq!(output.status.code(), Some(0));
    let report = stdout(&output);
    assert!(report.contains("warning: peer_timeout is below"), "{report}");
    let missing = file.path.with_file_name("none.txt");
    assert!(report.contains(&format!("there is no file {}", missing.display())), "{report}");
}

#[test]
fn a_wrong_file_is_told_where_and_why() {
    for (text, place, hint) in [
        (&b"[tracker]\nlisen = []\n"[..], ":2:1: ", "did you mean \"listen\"?"),
        (b"listen = []\n", ":1:1: ", "belongs in [tracker]"),
        (b"\n[rely]\n", ":2:2: ", "unknown key \"rely\""),
        (b"[[relay.rule]]\nname = \"a\"\n", ":1:1: ", "rule \"a\": input: is missing"),
        (b"[relay]\n[[relay.rul]]\n", ":2:9: ", "did you mean \"rule\"?"),
        (b"[tracker]\npeer_timeout = 45\n", ":2:16: ", "needs its unit"),
        (b"[tracker]\nsend_buffer = \"4MB\"\n", ":2:15: ", "B, KiB, MiB, GiB"),
        (b"[tracker]\n\npeer_timeout = \"4h\"\n", ":3:16: ", "allowed is 1s to 3h, because "),
        (b"workers = \"two\"\n", ":1:11: ", "must be a whole number"),
        (b"[tracker\n", ":1:9: ", "invalid TOML"),
        (b"a = 1\na = 2\n", ":2:1: ", "duplicate key"),
        (b"workers = 1\n# \xff\n", ":2: ", "not UTF-8"),
    ] {
        let file = ConfigFile::new(text);
        let place = format!("{}{place}", file.path.display());
        for output in [file.check(), ringtide(&["run", "-c", file.name()])] {
            assert_wrong(&output, hint);
            assert!(stderr(&output).contains(&place), "{place}: {output:?}");
        }
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let output = ConfigFile::new(b"worker = 1\ncores = 2\n[tracker]\nsteering = 1\n").check();
    assert_wrong(&output, "3 problems in ");
    assert_eq!(stderr(&output).lines().count(), 1 + 3 + 1, "heading, problems, remedy");
}

#[test]
fn what_is_no_readable_file_is_told_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.toml");
    for (path, reason) in [
        (missing.as_path(), "No such file or directory"),
        (directory.path(), "Is a directory"),
        (Path::new("/dev/zero"), "larger than 1 MiB"),
    ] {
        let name = path.to_str().unwrap();
        for arguments in [["config", "check", name], ["run", "--config", name]] {
            assert_wrong(&ringtide(&arguments), reason);
        }
    }
}

#[test]
fn a_wrong_filter_in_the_environment_is_told() {
    let output = command(&["run"]).env("RINGTIDE_LOG", "inof").output().unwrap();
    assert_wrong(&output, "did you mean \"info\"?");
    assert!(stderr(&output).contains("RINGTIDE_LOG"), "{output:?}");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    for arguments in [&["config", "default"][..], &["--help"], &["--version"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        // Nobody can read any more by the time the command writes.
        drop(reader);
        let child = command(arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(stderr(&output), "", "{arguments:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    for arguments in [&["config", "default"][..], &["--help"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("No space left on device"), "{output:?}");
    }
}

#[test]
fn errors_with_nowhere_to_go_keep_their_exit_code() {
    for arguments in [&["--wrong"][..], &["config", "check", "/missing"], &[]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = command(arguments).stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}");
    }
}

/// A configuration file in a directory of its own, removed in the end.
struct ConfigFile {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl ConfigFile {
    fn new(text: &[u8]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("ringtide.toml");
        fs::write(&path, text).expect("a temporary file");
        Self { path, _directory: directory }
    }

    fn name(&self) -> &str {
        self.path.to_str().expect("temporary paths are UTF-8")
    }

    fn check(&self) -> Output {
        ringtide(&["config", "check", self.name()])
    }
}

/// Asserts exit code 2, nothing on standard output, and an error that contains `hint`.
fn assert_wrong(output: &Output, hint: &str) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{hint}: {output:?}");
    assert!(text.starts_with("ringtide: error: "), "{text}");
    assert!(text.contains(hint), "{hint}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!(stdout(output), "", "{hint}");
}

fn ringtide(arguments: &[&str]) -> Output {
    command(arguments).output().expect("ringtide starts")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtide"));
    command.args(arguments).env_remove("RINGTIDE_LOG").stdin(Stdio::null());
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
