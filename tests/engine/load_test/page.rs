//! The HTML report in a real browser.

use std::path::Path;

use super::Run;
use crate::common::{Binary, browse, browser};

/// The document as it stands once it is open, and what the browser logged.
fn dump(browser: &str, page: &Path) -> (String, String) {
    browse(browser, &format!("file://{}", page.display()), &["--dump-dom"])
}

#[test]
fn a_browser_shows_the_page_without_complaint() {
    let Some(browser) = browser("a_browser_shows_the_page_without_complaint") else { return };
    let tracker = Binary::tracker(&["--workers", "1"]);
    let run = Run::new(tracker.serving(), "--duration 500ms --concurrency 5");
    let (document, log) = dump(browser, &run.directory.path().join("run.html"));
    assert!(!log.contains("CONSOLE"), "{log}");
    assert_eq!(document.matches("<svg").count(), 3, "{document}");
    assert!(document.contains("Distribution of latency") && document.contains("verdict"));

    // The same log does show what a page complains of.
    let complaint = run.directory.path().join("complaint.html");
    std::fs::write(&complaint, "<script>console.error('as this test wants')</script>").unwrap();
    let (_, log) = dump(browser, &complaint);
    assert!(log.contains("CONSOLE") && log.contains("as this test wants"), "{log}");
}
