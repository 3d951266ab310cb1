//! The dashboard in a real browser.

use crate::common::asking::Controlled;
use crate::common::{Ask, Client, browse, browser, hash};

#[test]
fn a_browser_draws_both_jobs_without_complaint() {
    let Some(browser) = browser("a_browser_draws_both_jobs_without_complaint") else { return };
    let process = Controlled::start(
        "[relay]\n[[relay.rule]]\nname = \"feed\"\ninput = \"239.9.1.1:1@absent\"\n\
         outputs = [{ to = \"239.9.1.2:1@<i>gone\" }]\n",
    );
    let client = Client::new(process.binary.serving());
    client.announce(&Ask::leecher(hash(7), 1001));
    client.send(b"no request at all");
    let address = format!("http://{}/", process.http());
    let (document, log) = browse(browser, &address, &[TIME, SIZE, "--dump-dom"]);
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
        browse(browser, &address, &[TIME, SIZE, &shot, "--hide-scrollbars"]);
    }
}

/// The page's own time that passes before it is looked at.
const TIME: &str = "--virtual-time-budget=5000";
const SIZE: &str = "--window-size=1200,1400";
