//! The `evaluate` stage as a program of its own.

fn main() -> std::process::ExitCode {
    stage::run_main(evaluate::run)
}
