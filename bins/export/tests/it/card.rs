//! The model card.

use stage::Manifest;

use super::{fixture, write};

/// An adapter as training leaves it: with its manifest.
fn trained(dir: &std::path::Path) -> String {
    let adapter = lora::Adapter::load(fixture("goldens/lora_step")).unwrap();
    adapter.save(dir).unwrap();
    let data = dir.join("train.csv");
    std::fs::write(&data, "instruction,response\nHi,Ho\n").unwrap();
    let mut manifest = Manifest::new("train")
        .argument("lr", 2e-4)
        .argument("system", serde_json::Value::Null)
        .argument("target_modules", "a|b")
        .seed("seed", 42)
        .fact("steps", 3)
        .fact("train_rows", serde_json::json!({"used": 1}));
    manifest.add_input(&data).unwrap();
    manifest.write(&dir.join("manifest.json")).unwrap();
    dir.display().to_string()
}

#[test]
fn it_has_base_settings_data_hashes_and_scores() {
    let dir = tempfile::tempdir().unwrap();
    let adapter = trained(&dir.path().join("adapter"));
    let report = dir.path().join("compare.json");
    std::fs::write(
        &report,
        r#"{"n": 48, "metrics": {"f1": {"before": 0.1, "after": 0.25, "delta": 0.15,
           "ci": [0.05, 0.2], "p_holm": 0.005, "says": "better"}}}"#,
    )
    .unwrap();
    let (model, report) = (fixture("tiny-model"), report.display().to_string());
    let words = [
        "--model_name",
        &model,
        "--adapter_dir",
        &adapter,
        "--format",
        "peft",
    ];
    let words = [
        &words[..],
        &["--report", &report, "--license", "apache-2.0"],
    ]
    .concat();
    let out = dir.path().join("out");
    write(&out, &words).unwrap();
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    for part in [
        "---\nlibrary_name: peft\nlicense: \"apache-2.0\"\n",
        "A LoRA adapter for tiny-model.",
        "48 questions, answered by both systems.",
        "PeftModel.from_pretrained",
        "| f1 | 0.1000 | 0.2500 | +0.1500 | [+0.0500, +0.2000] | 0.0050 | better |",
        "| lr | 0.0002 |",
        "| target_modules | a\\|b |",
        "| seed | 42 |",
        "| train.csv | 27 | `",
        "training rows: 1; optimiser steps: 3.",
        "| adapter_model.safetensors |",
    ] {
        assert!(card.contains(part), "{part}\n---\n{card}");
    }
    assert!(!card.contains("| system |"), "{card}");
    // Where things lay on this machine is nobody's business.
    assert!(!card.contains(&dir.path().display().to_string()), "{card}");
    // The manifest has the hash of every file, the card's too.
    let manifest = Manifest::read(&out.join("manifest.json")).unwrap();
    assert!(manifest.outputs_intact(&out) && manifest.outputs.len() == 3);
}

#[test]
fn what_is_no_report_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let out = dir.path().join("out");
    let (model, name) = (fixture("tiny-model"), report.display().to_string());
    for text in [
        "{}",
        "[1]",
        "no",
        r#"{"all": {}}"#,
        r#"{"n": 1, "metrics": {"f1": 1}}"#,
    ] {
        std::fs::write(&report, text).unwrap();
        let error = write(&out, &["--model_name", &model, "--report", &name]).unwrap_err();
        assert_eq!(error.exit().code(), 3, "{text}");
        assert!(error.to_string().contains("report.json"), "{error}");
    }
    assert!(!out.exists());
}

#[test]
fn the_licence_of_the_base_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("tiny-model-q8_0.gguf");
    write(dir.path(), &["--model_name", &model]).unwrap();
    let card = std::fs::read_to_string(dir.path().join("README.md")).unwrap();
    assert!(card.contains("license: \"mit or apache-2.0\""), "{card}");
    assert!(
        card.contains("in another format, weights stored as float32."),
        "{card}"
    );
}

#[test]
fn the_licence_of_an_adapter_counts() {
    let dir = tempfile::tempdir().unwrap();
    let adapter = trained(&dir.path().join("adapter"));
    let base = fixture("tiny-model-q8_0.gguf");
    let export = |license: &str, format: &str| {
        let text = format!("---\r\nlicense: {license} # mine\r\n---\r\n");
        std::fs::write(dir.path().join("adapter/README.md"), text).unwrap();
        let out = dir.path().join(format!("{license}-{format}"));
        let words = ["--model_name", &base, "--adapter_dir", &adapter];
        write(&out, &[&words[..], &["--format", format]].concat()).unwrap();
        let card = std::fs::read_to_string(out.join("README.md")).unwrap();
        let line = card.lines().find(|line| line.starts_with("license:"));
        line.map(str::to_owned)
    };
    assert_eq!(export("cc0-1.0", "peft").unwrap(), "license: \"cc0-1.0\"");
    // The base's is another: a person has to say which one holds.
    assert_eq!(export("cc0-1.0", "safetensors"), None);
    let same = export("mit or apache-2.0", "safetensors").unwrap();
    assert_eq!(same, "license: \"mit or apache-2.0\"");
}
