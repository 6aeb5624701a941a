//! `train --device cuda` with the kernels on the CPU (feature `cuda-shim`), on a model of two small blocks with heads of 64.
#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod model;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(path)
}

/// What every run has unless it says otherwise.
const DEFAULTS: [(&str, &str); 8] = [
    ("--model-name", "model"),
    ("--max-steps", "2"),
    ("--ga", "2"),
    ("--max-seq-len", "96"),
    ("--lora-r", "4"),
    ("--lora-dropout", "0.1"),
    ("--lr", "1e-2"),
    ("--warmup-ratio", "0"),
];

/// A folder with a model of `head_dim`, and a command line that trains it for two steps into `adapter`.
struct Rig {
    folder: tempfile::TempDir,
}

impl Rig {
    fn new(head_dim: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        model::write(&folder.path().join("model"), head_dim);
        Self { folder }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn train(&self, out: &str, flags: &str) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("train"));
        command.current_dir(self.folder.path());
        command.arg("--train-csv").arg(fixture("dolly-mini.csv"));
        command.args(["--output-dir", out]);
        let words: Vec<&str> = flags.split_whitespace().collect();
        for (flag, value) in DEFAULTS {
            if !words.contains(&flag) {
                command.args([flag, value]);
            }
        }
        command.args(words);
        command
    }

    /// Standard output and error of a run that ends well.
    fn done(&self, out: &str, flags: &str) -> (String, String) {
        let done = self.train(out, flags).assert().success();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            text(&done.get_output().stdout),
            text(&done.get_output().stderr),
        )
    }

    /// What a run says that is refused with exit code 2.
    fn refused(&self, flags: &str) -> String {
        let failed = self.train("refused", flags).assert().code(2);
        assert!(!self.out("refused").exists(), "{flags}");
        String::from_utf8_lossy(&failed.get_output().stderr).into_owned()
    }
}

fn log(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("train_log.jsonl")).unwrap();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn weights(out: &Path) -> Vec<u8> {
    fs::read(out.join("adapter_model.safetensors")).unwrap()
}

#[test]
fn losses_norms_and_adapters_are_those_of_the_cpu() {
    let rig = Rig::new(64);
    for (dtype, of_loss, of_norm) in [("f32", 1e-4, 1e-3), ("bf16", 1e-2, 5e-2)] {
        let run = |device: &str| {
            let out = format!("{device}-{dtype}");
            let flags = format!("--device {device} --dtype {dtype} --target-modules all-linear");
            rig.done(&out, &flags);
            rig.out(&out)
        };
        let (cpu, gpu) = (run("cpu"), run("cuda"));
        let (expected, found) = (log(&cpu), log(&gpu));
        assert_eq!(found.len(), 2);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found["tokens"], expected["tokens"]);
            for (name, tolerance) in [("loss", of_loss), ("grad_norm", of_norm)] {
                let [found, expected] = [found, expected].map(|line| line[name].as_f64().unwrap());
                let far = (found / expected - 1.0).abs();
                assert!(far < tolerance, "{dtype}, {name}: {found}, {expected}");
            }
        }
        let load = |out: &Path| lora::Adapter::load(out).unwrap();
        let (expected, found) = (load(&cpu), load(&gpu));
        assert_eq!(found.parameters(), expected.parameters());
    }
}

#[test]
fn plan_summary_and_manifest_name_the_device() {
    let rig = Rig::new(64);
    let (printed, said) = rig.done("adapter", "--device cuda --json");
    let summary: Value = serde_json::from_str(&printed).unwrap();
    let name = summary["device"].as_str().unwrap();
    assert!(said.contains(&format!("plan on {name}: 2 steps")), "{said}");
    assert!(said.contains("of its memory"), "{said}");
    let manifest = json(&rig.out("adapter/manifest.json"));
    assert_eq!(manifest["arguments"]["device"], "cuda");
    assert_eq!(manifest["facts"]["device"], name);

    let (plan, _) = rig.done("plan", "--device cuda --dry-run --json");
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["device"], name);
    assert!(plan["seconds"].as_f64().unwrap() > 0.0, "measured");
    assert!(plan["host_memory"].as_u64().unwrap() > 0);
    let [held, planned] = [&summary["device_memory"], &plan["memory"]["total"]];
    let [held, planned] = [held, planned].map(|bytes| bytes.as_u64().unwrap());
    assert!(0 < held && held <= planned, "{held} of {planned}");

    let (printed, said) = rig.done("cpu", "--device cpu --json");
    let summary: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(summary["device"], "cpu");
    assert!(summary["device_memory"].is_null());
    assert!(said.contains("plan: 2 steps"), "{said}");
    let manifest = json(&rig.out("cpu/manifest.json"));
    assert_eq!(manifest["arguments"]["device"], "cpu");
    assert!(manifest["facts"].get("device").is_none());
}

#[test]
fn what_a_gpu_cannot_do_is_refused_or_left_to_the_cpu() {
    let rig = Rig::new(64);
    for (flags, named) in [
        ("--engine autograd", "--engine autograd"),
        ("--use-dora", "DoRA"),
        ("--quantize q8_0", "--quantize"),
    ] {
        let message = rig.refused(&format!("--device cuda {flags}"));
        assert!(message.contains(named), "{message}");
        assert!(message.contains("--device cpu"), "{message}");
    }
    // Before anything is read.
    let message = rig.refused("--device cuda --use-dora --model-name nowhere");
    assert!(message.contains("DoRA"), "{message}");
    let (_, said) = rig.done("dora", "--use-dora --max-steps 1");
    assert!(said.contains("device: the CPU (DoRA"), "{said}");
    // An adapter that another run has made brings DoRA with it.
    let message = rig.refused("--device cuda --init-adapter dora");
    assert!(message.contains("DoRA"), "{message}");

    // Nor is there a kernel for what is outside the layers.
    for module in ["embed_tokens", "lm_head"] {
        let message = rig.refused(&format!("--device cuda --target-modules v_proj,{module}"));
        assert!(message.contains(module), "{message}");
        assert!(message.contains("--device cpu"), "{message}");
    }
    let (_, said) = rig.done("head", "--target-modules lm_head --max-steps 1");
    assert!(
        said.contains("device: the CPU (adapters of lm_head"),
        "{said}"
    );

    let narrow = Rig::new(32);
    let message = narrow.refused("--device cuda");
    assert!(message.contains("32 features"), "{message}");
    let (_, said) = narrow.done("auto", "--max-steps 1");
    assert!(
        said.contains("device: the CPU (the model's heads"),
        "{said}"
    );
}

#[test]
fn auto_is_the_gpu_where_it_can_do_it() {
    let rig = Rig::new(64);
    rig.done("auto", "--max-steps 1");
    let manifest = json(&rig.out("auto/manifest.json"));
    assert_eq!(manifest["arguments"]["device"], "cuda");
}

#[test]
fn a_run_goes_on_with_the_bytes_of_one_that_never_stopped_and_on_no_other_device() {
    let rig = Rig::new(64);
    rig.done("whole", "--device cuda --save-steps 1");
    rig.done("parted", "--device cuda --save-steps 1");
    fs::remove_dir_all(rig.out("parted/checkpoint-2")).unwrap();
    let (_, said) = rig.done("parted", "--device cuda --save-steps 1 --resume");
    assert!(said.contains("going on after step 1"), "{said}");
    assert!(weights(&rig.out("whole")) == weights(&rig.out("parted")));
    let flags = "--device cpu --save-steps 1 --resume";
    let failed = rig.train("whole", flags).assert().code(2);
    let said = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(said.contains("`device` was \"cuda\""), "{said}");
}

#[test]
fn memory_is_planned_and_blocks_run_again_give_the_same_bytes() {
    let rig = Rig::new(64);
    let plan = |flags: &str| -> Value {
        let flags = format!("--device cuda --dry-run --no-probe --json --bs 2 {flags}");
        serde_json::from_str(&rig.done("plan", &flags).0).unwrap()
    };
    let memory = |plan: &Value| plan["memory"]["total"].as_u64().unwrap();
    let (none, block) = (plan(""), plan("--checkpointing block"));
    assert!(memory(&block) < memory(&none));
    let limit = format!("--checkpointing auto --memory-limit {}", memory(&block));
    let auto = plan(&limit);
    assert_eq!(auto["checkpointing"], "block");
    rig.done("block", &format!("--device cuda --bs 2 {limit}"));
    rig.done("none", "--device cuda --bs 2");
    assert!(weights(&rig.out("block")) == weights(&rig.out("none")));
    let message = rig.refused("--device cuda --memory-limit 1MB");
    assert!(message.contains("not even short rows fit"), "{message}");
    assert!(message.contains("--dtype bf16"), "{message}");
    assert!(message.contains("--device cpu"), "{message}");
}

#[test]
fn a_part_of_the_base_is_taken_out_of_it_on_a_gpu_too() {
    let rig = Rig::new(64);
    let flags = "--init-lora-weights pissa --lora-dropout 0 --device";
    let losses = ["cpu", "cuda"].map(|device| {
        rig.done(device, &format!("{flags} {device}"));
        log(&rig.out(device))[1]["loss"].as_f64().unwrap()
    });
    assert!((losses[0] / losses[1] - 1.0).abs() < 1e-4, "{losses:?}");
}
