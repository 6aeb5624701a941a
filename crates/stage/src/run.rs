//! The whole of a stage's `main`.

use std::process::ExitCode;

use clap::Parser;

use crate::StageError;
use crate::progress::say;

/// Parses the command line, runs the stage and turns the outcome into an exit code.
///
/// A wrong command line ends in exit code 2 by clap itself; `--help` and `--version` in 0. Any
/// other error is one `error: …` line on standard error.
///
/// ```no_run
/// #[derive(clap::Parser)]
/// struct Args {
///     name: String,
/// }
///
/// fn main() -> std::process::ExitCode {
///     stage::run_main(|args: &Args| stage::emit(&args.name))
/// }
/// ```
pub fn run_main<A: Parser>(run: impl FnOnce(&A) -> Result<(), StageError>) -> ExitCode {
    survive_closed_stdout();
    finish(run(&A::parse()))
}

/// The exit code of an outcome; an error is printed first.
pub fn finish(outcome: Result<(), StageError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            error.exit().into()
        }
    }
}

/// `println!` panics when its reader has gone; a stage in a pipe should just end.
///
/// Stages print results through [`crate::emit`], which never panics; this catches what clap or a
/// dependency prints.
fn survive_closed_stdout() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info
            .payload()
            .downcast_ref::<String>()
            .map_or("", String::as_str);
        if text.starts_with("failed printing to stdout") {
            std::process::exit(i32::from(!text.contains("Broken pipe")));
        }
        default(info);
    }));
}
