//! Event files, read by the framing alone; `TensorBoard`'s own writer is the golden in the stage's unit tests.

use std::path::Path;

use crate::support::{fixture, folder, log, train};

/// The messages of a file.
fn messages(path: &Path) -> Vec<Vec<u8>> {
    let mut file = &std::fs::read(path).unwrap()[..];
    let mut all = Vec::new();
    while !file.is_empty() {
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        all.push(file[12..12 + length].to_vec());
        file = &file[16 + length..];
    }
    all
}

fn holds(message: &[u8], tag: &str, value: f64) -> bool {
    // Tag, then its f32.
    let mut wanted = tag.as_bytes().to_vec();
    wanted.push(0x15);
    wanted.extend((value as f32).to_le_bytes());
    message.windows(wanted.len()).any(|part| part == wanted)
}

#[test]
fn every_line_of_the_log_has_its_event() {
    let (_dir, out) = folder();
    let flags = "--eval_steps 2 --max_seq_len 200 --report_to tensorboard --predict-with-generate --gen-rows 2 \
         --generation-max-length 4";
    train(&out, "3")
        .arg("--eval_csv")
        .arg(fixture("dolly-mini-curated.csv"))
        .args(flags.split_whitespace())
        .assert()
        .success();
    let messages = messages(&out.join("runs").join("events.out.tfevents.0.smoltune"));
    let log = log(&out);
    assert_eq!(messages.len(), 1 + log.len());
    for (message, line) in messages[1..].iter().zip(log) {
        // Wall time, then the step.
        assert_eq!(message[9..11], [0x10, line["step"].as_u64().unwrap() as u8]);
        let names = [
            ("loss", "train/loss"),
            ("lr", "train/learning_rate"),
            ("grad_norm", "train/grad_norm"),
            ("eval_loss", "eval/loss"),
            ("eval_rougeL", "eval/rougeL"),
            ("eval_gen_len", "eval/gen_len"),
        ];
        let told = names.iter().filter(|(name, _)| line[*name].is_number());
        let mut count = 0;
        for (name, tag) in told {
            assert!(holds(message, tag, line[*name].as_f64().unwrap()), "{tag}");
            count += 1;
        }
        assert_eq!(count, 3);
    }
}

#[test]
fn a_folder_may_be_named_and_a_new_run_begins_a_new_file() {
    let (dir, out) = folder();
    let place = dir.path().join("watch/this");
    let other = dir.path().join("other");
    for (out, steps) in [(&out, "3"), (&other, "3"), (&out, "2")] {
        train(out, steps)
            .args(["--report-to", "tensorboard", "--logging-dir"])
            .arg(&place)
            .assert()
            .success();
    }
    let files = std::fs::read_dir(&place).unwrap();
    let files = files.map(|entry| messages(&entry.unwrap().path()).len());
    let mut files: Vec<usize> = files.collect();
    files.sort_unstable();
    assert_eq!(files, [3, 4], "a file of each output folder");
    assert!(!out.join("runs").exists());
}
