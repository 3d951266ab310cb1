//! The HTML report in a real browser.

use std::process::Command;

use super::Run;
use crate::common::{Binary, skip};

/// Opens the page headless and returns the document as it stands, and what the browser logged.
fn browse(browser: &str, page: &std::path::Path) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--enable-logging=stderr", "--v=0", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_browser_shows_the_page_without_complaint() {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    let Some(browser) = browsers.into_iter().find(works) else {
        let reason = "there is no Chromium here";
        assert!(std::env::var_os("RINGTIDE_SKIP_BROWSER").is_some(), "{reason}");
        return skip("a_browser_shows_the_page_without_complaint", reason);
    };
    let tracker = Binary::tracker(&["--workers", "1"]);
    let run = Run::new(tracker.serving(), "--duration 500ms --concurrency 5");
    let (document, log) = browse(browser, &run.directory.path().join("run.html"));
    assert!(!log.contains("CONSOLE"), "{log}");
    assert_eq!(document.matches("<svg").count(), 3, "{document}");
    assert!(document.contains("Distribution of latency") && document.contains("verdict"));

    // The same log does show what a page complains of.
    let complaint = run.directory.path().join("complaint.html");
    std::fs::write(&complaint, "<script>console.error('as this test wants')</script>").unwrap();
    let (_, log) = browse(browser, &complaint);
    assert!(log.contains("CONSOLE") && log.contains("as this test wants"), "{log}");
}
