//! `ringtide ctl`: asks and changes a running ringtide over its control socket.

mod args;
mod commands;
mod drain;
mod error;
mod http;
mod stats;
mod table;

use std::io;

pub use args::CtlArgs;
pub use error::CtlError;

/// Runs the command and prints through `print`. Returns false if the process is unhealthy.
pub fn run(
    args: &CtlArgs,
    print: &mut dyn FnMut(&str) -> io::Result<()>,
) -> Result<bool, CtlError> {
    let client = http::Client::open(args.socket())?;
    commands::run(args, &client, print)
}
