//! `ctl config save`: what was changed at run time outlasts a restart, and comments stay.

use crate::common::asking::Controlled;
use crate::common::hash;

const MORE: &str = "\
access_mode = \"deny\"\naccess_file = \"list\"\n
[log]
level = \"info\"   # for a while
[relay]
# Feeds of the north.
[[relay.rule]] # first
input = \"239.9.1.1:1@absent\"   # as agreed
[[relay.rule]]
name = \"b\"
input = \"239.9.1.2:2@absent\"
";

fn start() -> Controlled {
    let process = Controlled::start("");
    let text = process.read("r.toml");
    std::fs::write(process.path("r.toml"), format!("# ours\n{text}{MORE}")).unwrap();
    std::fs::write(process.path("list"), format!("# bad\n{} # one\n", hash(1))).unwrap();
    let Controlled { mut binary, directory } = process;
    binary.signal(nix::sys::signal::Signal::SIGTERM);
    binary.exit();
    Controlled::start_in(directory)
}

#[test]
fn what_was_changed_is_written_and_the_rest_stays_as_it_was() {
    let process = start();
    let before = process.read("r.toml");
    let nothing = process.ctl_text("config save");
    assert!(nothing.starts_with("nothing to save"), "{nothing}");
    assert!(!process.path("r.toml.bak").exists());
    process.ctl_text("rules add --name c --input 239.9.1.3:3@absent --output 10.0.0.1:1@absent");
    process.ctl_text("rules remove b");
    process.ctl_text("log-level warn,ringtide=info");
    process.ctl_text(&format!("access add {}", hash(2)));
    process.ctl_text(&format!("access remove {}", hash(1)));
    let written = process.ctl_text("config save");
    assert!(written.contains("r.toml") && written.contains("list"), "{written}");
    assert_eq!(process.read("r.toml.bak"), before);
    assert_eq!(process.read("list"), format!("# bad\n{}\n", hash(2)));
    assert_eq!(process.read("list.bak"), format!("# bad\n{} # one\n", hash(1)));
    let text = process.read("r.toml");
    let level = "level = \"warn,ringtide=info\"   # for a while\n";
    for part in
        ["# ours\n", level, "# Feeds of the north.\n", "# first", "# as agreed", "rule-1", "\"c\""]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("239.9.1.2"), "{text}");
    let shown = process.ctl_text("config show");
    assert!(process.ctl_text("config save").starts_with("nothing"), "all is saved");
    // The same is in force after a restart.
    let Controlled { mut binary, directory } = process;
    binary.signal(nix::sys::signal::Signal::SIGTERM);
    binary.exit();
    let again = Controlled::start_in(directory);
    assert_eq!(again.ctl_text("config show"), shown);
    assert_eq!(again.ctl_json("access show")["hashes"], 1);
}

#[test]
fn what_cannot_be_saved_changes_no_file() {
    let process = start();
    process.ctl_text("rules remove b");
    let broken = format!("{}workers = \n", process.read("r.toml"));
    std::fs::write(process.path("r.toml"), &broken).unwrap();
    let error = process.ctl_fails("config save", 1);
    assert!(error.contains("correct the file"), "{error}");
    assert_eq!(process.read("r.toml"), broken);
    std::fs::remove_file(process.path("r.toml")).unwrap();
    assert!(process.ctl_fails("config save", 1).contains("cannot save"));
    assert!(!process.path("r.toml.bak").exists());
}
