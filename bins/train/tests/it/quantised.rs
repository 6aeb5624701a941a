//! Training beside quantised weights.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

use crate::support::{fixture, folder, train, weights};

/// `train` on a model of the fixtures.
fn on(model: &str, out: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("train"));
    command.current_dir(out.parent().unwrap());
    command.arg("--model_name").arg(fixture(model));
    command.arg("--train_csv").arg(fixture("dolly-mini.csv"));
    command.arg("--output_dir").arg(out);
    command.args(["--ga", "2", "--max-steps", "2"]);
    command
}

/// Bytes of the weights that are planned for.
fn planned(model: &str, extra: &[&str]) -> u64 {
    let (_dir, out) = folder();
    let dry = ["--dry-run", "--no-probe", "--json"];
    let done = on(model, &out).args(dry).args(extra).assert().success();
    let plan: Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
    plan["memory"]["weights"].as_u64().unwrap()
}

#[test]
fn a_quantised_file_stays_small_in_f32_and_where_it_is_asked_for() {
    let (floats, blocks) = ("tiny-model", "tiny-model-q8_0.gguf");
    let expanded = planned(floats, &["--dtype", "f32"]);
    let stored = planned(blocks, &["--dtype", "f32"]);
    assert!(3 * stored < 2 * expanded, "{stored} {expanded}");
    assert_eq!(planned(floats, &["--quantize", "q8_0"]), stored);
    let bf16 = ["--dtype", "bf16"];
    assert_eq!(planned(blocks, &bf16), planned(floats, &bf16));
    let asked = ["--dtype", "bf16", "--quantize", "stored"];
    assert_eq!(planned(blocks, &asked), stored);
}

#[test]
fn only_the_weights_that_an_adapter_starts_with_a_part_of_are_planned_as_floats() {
    let blocks = "tiny-model-q8_0.gguf";
    let pissa = |modules| ["--init-lora-weights", "pissa", "--target-modules", modules];
    let stored = planned(blocks, &[]);
    let floats = planned("tiny-model", &pissa("all-linear"));
    let one = planned(blocks, &pissa("o_proj"));
    let attention = planned(blocks, &pissa("q_proj,k_proj,v_proj,o_proj"));
    let all = planned(blocks, &pissa("all-linear"));
    // The embedding, which is the head, stays what it is.
    assert!(
        stored < one && one < attention && attention < all && all < floats,
        "{stored} {one} {attention} {all} {floats}"
    );
    // Two layers of o, 96 by 96, in panels of 16 rows: from three blocks of 34 bytes a row, to whole cache lines, to floats.
    let panel = |bytes: usize| (12 * bytes.next_multiple_of(64)) as u64;
    assert_eq!(one - stored, panel(16 * 96 * 4) - panel(16 * 3 * 34));
}

#[test]
fn quantising_at_load_trains_as_the_quantised_file_does() {
    let adapter = |model: &str, extra: &[&str]| {
        let (_dir, out) = folder();
        on(model, &out).args(extra).assert().success();
        weights(&out)
    };
    let at_load = adapter("tiny-model", &["--quantize", "q8_0"]);
    assert!(at_load == adapter("tiny-model-q8_0.gguf", &[]));
    assert!(at_load != adapter("tiny-model", &[]));
}

#[test]
fn the_differentiable_model_has_no_quantised_weights() {
    let (_dir, out) = folder();
    let refused = train(&out, "1")
        .args(["--engine", "autograd", "--quantize", "q8_0"])
        .assert()
        .code(2);
    let message = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(message.contains("--engine packed"), "{message}");
}
