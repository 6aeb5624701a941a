//! The `compare` stage as a program of its own.

fn main() -> std::process::ExitCode {
    stage::run_main(compare::run)
}
