//! A real browser, for pages.

use std::process::Command;

use super::skip;

/// The browser that is installed. `None`, with a word about it, where there is none and
/// `RINGTIDE_SKIP_BROWSER` says that this is as it should be.
#[track_caller]
pub fn browser(test: &str) -> Option<&'static str> {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    let found = browsers.into_iter().find(works);
    if found.is_none() {
        let reason = "there is no Chromium here";
        assert!(std::env::var_os("RINGTIDE_SKIP_BROWSER").is_some(), "{reason}");
        skip(test, reason);
    }
    found
}

/// Opens a page headless, with `more` flags that say what to do with it. Returns what the browser
/// printed, and what it logged.
pub fn browse(browser: &str, address: &str, more: &[&str]) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--enable-logging=stderr", "--v=0"])
        .args(more)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(address)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
