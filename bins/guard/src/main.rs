//! The `guard` stage as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage::run_main(guard::run)
}
