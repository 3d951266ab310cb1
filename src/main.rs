//! The `ringtide` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringtide::cli::main()
}
