//! What the log says of failures: once, with the last reason, and how many there were.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::io::Failures;
use crate::io::Now;

/// Keeps what is written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn failures_are_told_once_a_minute_with_how_many_there_were() {
    let written = Written::default();
    let subscriber =
        tracing_subscriber::fmt().with_writer(written.clone()).with_ansi(false).finish();
    let at = |seconds: u64| Now::from_unix(Duration::from_secs(1000 + seconds));
    tracing::subscriber::with_default(subscriber, || {
        let mut failures = Failures::of("sends");
        failures.note(8);
        failures.report(3, at(0));
        for tenths in 0..650 {
            failures.note(-libc::EPERM);
            failures.note(-libc::ENETUNREACH);
            failures.report(3, at(1 + tenths / 10));
        }
        failures.report(3, at(500));
        failures.report(3, at(900));
    });
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let counts = ["failed=2", "failed=1200", "failed=98"];
    assert_eq!(lines.len(), counts.len(), "{text}");
    for (line, count) in lines.iter().zip(counts) {
        let said = "sends fail, the last with: Network is unreachable";
        assert!(line.contains(said) && line.contains("worker=3"), "{line}");
        assert!(line.contains(count), "{line}");
    }
}
