//! `smoltune`: every stage as a subcommand, all of them in a row as `run`, and `quickstart`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stage::StageError;

mod config;
mod init;
mod quickstart;
mod run;
mod sweep;

/// Fine-tune SmolLM2 with LoRA on questions and answers, and prove whether it helped.
#[derive(Parser)]
#[command(name = "smoltune", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  smoltune quickstart
      Answer, fine-tune, answer again, score: in a few minutes, with nothing prepared.
  smoltune run --config smoltune.toml --set train.lr=1e-4
      The same on your data; done steps are skipped when you run it again.
  smoltune sweep --source rows.csv --test 100 --val 100 --train 1000 --lr 1e-4,2e-4 --lora-r 8,16
      Which values are best, by validation loss over three seeds; the winner on the test rows, once.
  smoltune init --preset quality
      A commented smoltune.toml to begin with.
  smoltune prepare --source rows.csv --seed 42 --test 100 --train 1000 --out data
  smoltune generate --model_name MODEL --test_csv data/test.csv --out_file before.jsonl
  smoltune train --model_name MODEL --train_csv data/train.csv --output_dir adapter
  smoltune generate --model_name adapter --test_csv data/test.csv --out_file after.jsonl
  smoltune evaluate --pred_file after.jsonl
  smoltune compare before.jsonl after.jsonl
      The stages one by one. MODEL is a hub id, a folder, a .gguf file or an adapter folder.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input data, 130 interrupted.";

#[derive(Subcommand)]
#[allow(
    clippy::large_enum_variant,
    reason = "parsed once; a box would only add noise"
)]
enum Command {
    /// Read rows, split them by seed, write train and test files
    Prepare(prepare::Args),
    /// Answer questions with a model, with or without an adapter
    Generate(generate::Args),
    /// Fine-tune with LoRA
    Train(train::Args),
    /// Say what training would take (steps, tokens, memory, time), as train --dry-run
    Plan(train::Args),
    /// Score answers against gold answers
    Evaluate(evaluate::Args),
    /// Compare answers of two models row by row, with statistics
    Compare(compare::Args),
    /// Talk with a model
    Chat(chat::Args),
    /// Answer over HTTP, as the OpenAI API does
    Serve(serve::Args),
    /// Write a model with its adapter merged in, or the adapter, in the formats of other programs
    Export(export::Args),
    /// Say how far an adapter has moved its base on texts that it was not tuned for
    Guard(guard::Args),
    /// Look at adapters, compare, check and combine them
    Adapter(adapter::Args),
    /// Measure how fast a model reads prompts, answers, and learns
    Bench(bench::Args),
    /// Do it all from one smoltune.toml: prepare, answer, train, answer again, compare
    Run(run::Args),
    /// Try values with several seeds, rank them on validation rows, test the winner once
    Sweep(sweep::Args),
    /// Write a commented smoltune.toml to begin with
    Init(init::Args),
    /// Do it all with nothing prepared, in a few minutes
    Quickstart(quickstart::Args),
}

fn main() -> ExitCode {
    stage::run_main(|cli: &Cli| dispatch(&cli.command))
}

fn dispatch(command: &Command) -> Result<(), StageError> {
    match command {
        Command::Prepare(args) => prepare::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Train(args) => train::run(args),
        Command::Plan(args) => train::run(&train::Args {
            dry_run: true,
            ..args.clone()
        }),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Export(args) => export::run(args),
        Command::Guard(args) => guard::run(args),
        Command::Adapter(args) => adapter::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Run(args) => run::run(args),
        Command::Sweep(args) => sweep::run(args),
        Command::Init(args) => init::run(args),
        Command::Quickstart(args) => quickstart::run(args),
    }
}

/// Runs a command line as if it had been typed, in this process.
fn run_command(words: &[String]) -> Result<(), StageError> {
    dispatch(&read_command(words)?.command)
}

/// A command line after the program's name.
fn read_command(words: &[String]) -> Result<Cli, StageError> {
    let all = std::iter::once("smoltune").chain(words.iter().map(String::as_str));
    Cli::try_parse_from(all).map_err(|e| StageError::usage(e.to_string()))
}

/// One line for people, on standard error; a closed one is no reason to stop.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
