//! The dashboard in a real browser.

use std::process::Command;

use crate::asking::Controlled;
use crate::common::{Ask, Client, hash, skip};

/// What the page looks like after some seconds of its own time, and what the browser logged.
fn browse(browser: &str, address: &str, more: &[&str]) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--enable-logging=stderr", "--v=0"])
        .args(["--virtual-time-budget=5000", "--window-size=1200,1400"])
        .args(more)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(address)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_browser_draws_both_jobs_without_complaint() {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    let Some(browser) = browsers.into_iter().find(works) else {
        let reason = "there is no Chromium here";
        assert!(std::env::var_os("RINGTIDE_SKIP_BROWSER").is_some(), "{reason}");
        return skip("a_browser_draws_both_jobs_without_complaint", reason);
    };
    let process = Controlled::start(
        "[relay]\n[[relay.rule]]\nname = \"feed\"\ninput = \"239.9.1.1:1@absent\"\n\
         outputs = [{ to = \"239.9.1.2:1@<i>gone\" }]\n",
    );
    let client = Client::new(process.binary.serving());
    client.announce(&Ask::leecher(hash(7), 1001));
    client.send(b"no request at all");
    let address = format!("http://{}/", process.http());
    let (document, log) = browse(browser, &address, &["--dump-dom"]);
    assert!(!log.contains("CONSOLE"), "{log}");
    assert!(document.matches("<svg").count() >= 6, "{document}");
    // Drawn more than once: there are rates.
    let drawn = document.split("data-drawn=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(drawn.parse::<u32>().unwrap() >= 2, "{drawn}");
    let hash = hash(7).to_string();
    for part in
        [&*hash, "healthy", "239.9.1.1:1@absent", "no such interface", "feed", "io_uring", "alive"]
    {
        let part = if part == "io_uring" { crate::common::engine().name() } else { part };
        assert!(document.contains(part), "{part}: {document}");
    }
    // A name is text, whatever it looks like.
    assert!(document.contains("@&lt;i&gt;gone"), "{document}");
    if let Some(file) = std::env::var_os("RINGTIDE_SCREENSHOT") {
        let shot = format!("--screenshot={}", file.to_str().unwrap());
        browse(browser, &address, &[&shot, "--hide-scrollbars"]);
    }
}
