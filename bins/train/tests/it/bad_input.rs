//! Everything that is refused, with its exit code and what it names.

use crate::support::{fixture, folder, train};

/// Runs with more flags; the exit code must be `code`, and the message must hold `word`.
fn refused(extra: &[&str], code: i32, word: &str) {
    let (_dir, out) = folder();
    let failed = train(&out, "1").args(extra).assert().code(code);
    let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(message.contains(word), "{extra:?}: {message}");
    assert!(
        !out.join("adapter_config.json").exists(),
        "{extra:?} left an adapter"
    );
}

#[test]
fn wrong_usage_is_2() {
    refused(&["--lora_r", "0"], 2, "`r`");
    refused(&["--lora_dropout", "1.5"], 2, "lora_dropout");
    refused(&["--epochs=-1"], 2, "epochs is -1");
    refused(&["--bs", "0"], 2, "batch size is 0");
    refused(&["--warmup-ratio", "2"], 2, "warm-up ratio is 2");
    refused(&["--target-modules", "wte"], 2, "wte");
    let with_embedding = ["--target-modules", "q_proj,embed_tokens"];
    refused(
        &[&with_embedding[..], &["--use-dora"]].concat(),
        2,
        "leave embed_tokens out",
    );
    let pissa = ["--init-lora-weights", "pissa", "--lora-dropout", "0"];
    refused(&[&with_embedding[..], &pissa].concat(), 2, "lm_head");
    refused(
        &["--loraplus-lr-embedding", "1e-5"],
        2,
        "without a LoRA+ ratio",
    );
    refused(&["--lr-schedule", "polynomial"], 2, "polynomial");
    refused(&["--dtype", "f8"], 2, "f8");
    refused(
        &["--metric-for-best-model", "rougeL"],
        2,
        "--predict-with-generate",
    );
    refused(&["--metric-for-best-model", "bleu"], 2, "token_f1");
    refused(&["--optim", "adamw9"], 2, "adamw9");
    refused(
        &["--momentum", "0.9"],
        2,
        "for --optim sgd and muon, not for adamw",
    );
    refused(
        &["--optim", "muon", "--adam-beta1", "0.8"],
        2,
        "--adam-beta1",
    );
    refused(&["--optim", "sgd", "--nesterov"], 2, "--momentum above 0");
    refused(&["--optim", "sgd", "--momentum", "1"], 2, "momentum is 1");
    refused(&["--adam-beta2", "1.5"], 2, "adam beta2 is 1.5");
    refused(&["--ema-decay", "1"], 2, "EMA decay is 1");
    refused(&["--predict-with-generate"], 2, "--eval-csv");
    refused(&["--gen-rows", "0"], 2, "--gen-rows is 0");
}

#[test]
fn a_step_that_is_no_number_ends_the_run_with_1_and_may_be_skipped() {
    let hopeless = "--lr 1e30 --lr-schedule constant --weight-decay 0";
    let hopeless: Vec<&str> = hopeless.split_whitespace().collect();
    let (_dir, out) = folder();
    let failed = train(&out, "9").args(&hopeless).assert().code(1);
    let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(message.contains("step 2: "), "{message}");
    let skip = ["--on-nan", "skip", "--max-skipped-steps", "3"];
    let failed = train(&out, "9").args(&hopeless).args(skip).assert().code(1);
    let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(message.contains("more than 3 steps in a row"), "{message}");
    let skipped: Vec<_> = crate::support::log(&out)
        .iter()
        .filter(|line| line["skipped"].is_string())
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(skipped, [2, 3, 4]);
}

#[test]
fn bad_data_is_3() {
    refused(&["--eval_csv", "nowhere.csv"], 3, "nowhere.csv");
    refused(&["--init-adapter", "nowhere"], 3, "nowhere");
    refused(&["--max_seq_len", "3"], 3, "--max_seq_len");
    refused(&["--max_seq_len", "60", "--on-truncate", "error"], 3, "row");
}

#[test]
fn files_that_are_missing_or_wrong_are_named() {
    let (dir, out) = folder();
    let empty = dir.path().join("empty.csv");
    std::fs::write(&empty, "").unwrap();
    let other = dir.path().join("other.csv");
    std::fs::write(&other, "query,reply\na,b\n").unwrap();
    for (path, word) in [
        (empty, "empty.csv"),
        (other, "query"),
        (dir.path().join("no.csv"), "no.csv"),
    ] {
        let mut command = assert_cmd::Command::cargo_bin("train").unwrap();
        command.arg("--model_name").arg(fixture("tiny-model"));
        command
            .arg("--train_csv")
            .arg(path)
            .arg("--output_dir")
            .arg(&out);
        let failed = command.assert().code(3);
        let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(message.contains(word), "{message}");
        assert!(!out.exists());
    }
}

#[test]
fn an_adapter_for_another_model_is_refused_with_both_shapes() {
    let (dir, out) = folder();
    let wide = dir.path().join("wide");
    let model = smollm_model::ModelConfig::from_dir(&fixture("tiny-model")).unwrap();
    let wider = smollm_model::ModelConfig {
        hidden_size: 128,
        ..model
    };
    let config = lora::LoraConfig {
        r: 4,
        ..lora::LoraConfig::default()
    };
    lora::Adapter::init(&wider, config, 1)
        .unwrap()
        .save(&wide)
        .unwrap();
    let failed = train(&out, "1")
        .arg("--init-adapter")
        .arg(&wide)
        .assert()
        .code(3);
    let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(
        message.contains("[4, 128]") && message.contains("[4, 96]"),
        "{message}"
    );
}

#[test]
fn an_output_folder_that_is_a_file_is_1_and_stays() {
    let (dir, out) = folder();
    std::fs::write(&out, "mine").unwrap();
    train(&out, "1").assert().code(1);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
    drop(dir);
}
