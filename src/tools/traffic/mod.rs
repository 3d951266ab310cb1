//! `ringtide traffic`: a generator of numbered datagrams, and a receiver that says what became of
//! them.
//!
//! Both judge ringtide from outside: plain threads, `sendmmsg` and `recvmmsg`, no ring.

mod args;
mod error;
mod flows;
pub mod payload;
mod receiver;
mod schedule;
mod sender;
mod sequence;
mod summary;
mod watch;

use std::io::{self, Write};

use serde::Serialize;

pub use args::{ReceiveArgs, SendArgs, Switch, TrafficCommand};
pub use error::TrafficError;
pub use summary::{Ended, FlowSummary, ReceiveSummary, SendSummary};

use self::watch::{Wording, watched};
use crate::sys::interface::Interface;

/// What a run comes to.
#[derive(Debug)]
pub struct Outcome {
    /// What to print on standard output.
    pub text: String,
    /// Whether everything that was expected arrived intact.
    pub intact: bool,
}

/// Runs one of the commands to its end.
///
/// # Errors
/// Wrong flags ([`TrafficError::is_usage`]), or what stood in the way.
pub fn run(command: &TrafficCommand) -> Result<Outcome, TrafficError> {
    match command {
        TrafficCommand::Send(args) => send(args),
        TrafficCommand::Receive(args) => receive(args),
    }
}

fn send(args: &SendArgs) -> Result<Outcome, TrafficError> {
    args.check()?;
    let sender = sender::Sender::open(args, &find(&args.interface)?)?;
    let wording = Wording { done: "sent", trouble: "retries" };
    let summary = watched(wording, |shared| sender.run(shared))?;
    let text = if args.json { json(&summary) } else { summary.text() };
    Ok(Outcome { text, intact: true })
}

fn receive(args: &ReceiveArgs) -> Result<Outcome, TrafficError> {
    args.check()?;
    let receiver = receiver::Receiver::open(args, &find(&args.interface)?)?;
    let wording = Wording { done: "received", trouble: "dropped by the kernel" };
    let summary = watched(wording, |shared| {
        // Scripts wait for this line before they send.
        let _ = writeln!(io::stderr(), "ready");
        receiver.run(shared)
    })?;
    let text = if args.json { json(&summary) } else { summary.text() };
    Ok(Outcome { text, intact: summary.intact })
}

fn find(interface: &str) -> Result<Interface, TrafficError> {
    Interface::find(interface)
        .map_err(TrafficError::Interfaces)?
        .ok_or_else(|| TrafficError::NoInterface { interface: interface.to_owned() })
}

fn json(summary: &impl Serialize) -> String {
    let mut text =
        serde_json::to_string(summary).expect("figures and texts without maps always serialize");
    text.push('\n');
    text
}
