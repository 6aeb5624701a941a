//! Adapters looked at, compared, checked and combined, on the tiny model.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    format!("{}/../../fixtures/{name}", env!("CARGO_MANIFEST_DIR")).into()
}

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_adapter"))
        .args(words)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command prints, which must succeed.
fn out(words: &[&str]) -> String {
    let output = run(words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn json(words: &[&str]) -> Value {
    serde_json::from_str(&out(&[words, &["--json"]].concat())).unwrap()
}

/// The message of a command that must end with this exit code.
fn fails(words: &[&str], code: i32) -> String {
    let output = run(words);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    message
}

fn path(name: &str) -> String {
    fixture(name).display().to_string()
}

/// A copy of an adapter that can be spoilt.
fn copy(name: &str, to: &Path) -> String {
    std::fs::create_dir_all(to).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(fixture(name).join(file), to.join(file)).unwrap();
    }
    to.display().to_string()
}

#[test]
fn info_tells_places_ranks_and_sizes() {
    let adapter = path("goldens/lora_variants/patterns");
    let found = json(&["info", &adapter]);
    assert_eq!(found["sites"], 6);
    assert_eq!(found["config"]["lora_alpha"], 4);
    let modules = found["modules"].as_array().unwrap();
    let of = |path: &str| modules.iter().find(|m| m["path"] == path).unwrap();
    let first = of("model.layers.0.self_attn.q_proj");
    assert_eq!(
        (&first["rank"], &first["scale"]),
        (&4.into(), &2.375.into())
    );
    assert!(first["norm"].as_f64().unwrap() > 0.0);
    let squares: f64 = modules
        .iter()
        .map(|m| m["norm"].as_f64().unwrap().powi(2))
        .sum();
    assert!((found["norm"].as_f64().unwrap() - squares.sqrt()).abs() < 1e-9);
    let shown = out(&["info", &adapter]);
    assert!(
        shown.contains("6 modules in 2 layers") && shown.contains("several"),
        "{shown}"
    );
    assert_eq!(
        out(&["info", &adapter, "--modules"]).lines().count(),
        4 + 1 + 6
    );
}

#[test]
fn diff_measures_the_distance() {
    let (first, second) = (
        path("goldens/lora_variants/rslora"),
        path("goldens/lora_variants/loraplus"),
    );
    let same = json(&["diff", &first, &first]);
    assert_eq!(same["config"], serde_json::json!([]));
    assert!(same["all"]["relative"].as_f64().unwrap() < 1e-7);
    assert!((same["all"]["cosine"].as_f64().unwrap() - 1.0).abs() < 1e-12);
    // The factors are the same, the scale is 4 / sqrt 2 against 4 / 2.
    let found = json(&["diff", &first, &second]);
    let fields = found["config"].as_array().unwrap();
    assert_eq!(fields[0]["name"], "use_rslora");
    let relative = found["all"]["relative"].as_f64().unwrap();
    assert!(
        (relative - (1.0 - 0.5f64.sqrt())).abs() < 1e-6,
        "{relative}"
    );
    let shown = out(&["diff", &first, &second]);
    assert!(
        shown.contains("use_rslora: true -> false") && shown.contains("all "),
        "{shown}"
    );
    // One has a module that the other has not.
    let apart = json(&["diff", &first, &path("goldens/lora_variants/endings")]);
    assert_eq!(apart["all"]["cosine"], 0.0);
}

#[test]
fn magnitudes_are_told_apart_from_updates() {
    let dora = path("goldens/lora_variants/dora");
    let shown = out(&["info", &dora]);
    assert!(
        shown.contains("DoRA") && shown.contains("magnitudes aside"),
        "{shown}"
    );
    let same = json(&["diff", &dora, &dora]);
    assert_eq!(same["magnitudes"], 0.0);
    let plain = path("goldens/lora_variants/all_linear");
    let other = json(&["diff", &dora, &plain]);
    assert_eq!(other["magnitudes"], serde_json::Value::Null);
    let dir = tempfile::tempdir().unwrap();
    let moved = lora::Adapter::load(&dora).unwrap();
    let pairs = moved.pairs().map(|(site, pair)| {
        let magnitude = pair.magnitude.as_ref().map(|m| (m * 1.5).unwrap());
        let pair = pair.clone();
        (site, lora::Pair { magnitude, ..pair })
    });
    let moved = lora::Adapter::new(moved.config().clone(), pairs.collect()).unwrap();
    moved.save(dir.path()).unwrap();
    let moved = dir.path().display().to_string();
    let apart = json(&["diff", &dora, &moved])["magnitudes"]
        .as_f64()
        .unwrap();
    assert!((apart - 0.5).abs() < 1e-6, "{apart}");
    assert!(out(&["diff", &dora, &moved]).contains("magnitudes: difference/first 0.5"));
}

#[test]
fn verify_takes_sound_adapters() {
    for name in [
        "lora_step",
        "lora_rslora",
        "lora_variants/patterns_rslora",
        "lora_variants/dora_patterns",
    ] {
        let adapter = path(&format!("goldens/{name}"));
        let found = json(&["verify", &adapter, "--base-model", &path("tiny-model")]);
        assert_eq!(found["ok"], true, "{found}");
        assert_eq!(found["checks"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn verify_finds_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let base = path("tiny-model");
    let verify =
        |adapter: &str, code: i32| fails(&["verify", adapter, "--base-model", &base], code);

    let spoilt = copy("goldens/lora_step", &dir.path().join("nan"));
    let weights = dir.path().join("nan/adapter_model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&weights, &bytes).unwrap();
    let message = verify(&spoilt, 1);
    assert!(
        message.contains("not finite") && message.contains("lora_"),
        "{message}"
    );
    // It is neither untrained nor the same as another.
    let found = json(&["diff", &path("goldens/lora_step"), &spoilt]);
    let all = &found["all"];
    assert!(
        all["first_norm"].is_f64() && all["second_norm"].is_null(),
        "{all}"
    );
    let shown = out(&["diff", &spoilt, &spoilt]);
    let last = shown.lines().last().unwrap();
    assert_eq!(last.matches("NaN").count(), 4, "{last}");

    std::fs::write(&weights, &bytes[..end - 10]).unwrap();
    assert!(verify(&spoilt, 3).contains("adapter_model.safetensors"));

    // Written by one command, changed by another.
    let made = dir.path().join("made").display().to_string();
    let (a, b) = (
        path("goldens/lora_variants/rslora"),
        path("goldens/lora_variants/loraplus"),
    );
    out(&["merge", &a, &b, "--output-dir", &made]);
    let sound = json(&["verify", &made, "--base-model", &base]);
    assert_eq!(sound["checks"].as_array().unwrap().len(), 3, "{sound}");
    copy("goldens/lora_step", Path::new(&made));
    assert!(verify(&made, 1).contains("not as written"));
    std::fs::write(dir.path().join("made/manifest.json"), "{").unwrap();
    let message = verify(&made, 1);
    assert!(message.contains("not as written"), "{message}");
    assert!(message.contains("manifest.json"), "{message}");

    // No tolerance at all: the sums of a merged weight are rounded otherwise.
    let step = path("goldens/lora_step");
    let words = ["verify", &step, "--base-model", &base, "--tolerance", "0"];
    assert!(fails(&words, 1).contains("not merges"));

    assert!(fails(&["verify", &base], 3).contains("no adapter"));
    // Of a model with more layers.
    let far = copy("goldens/lora_step", &dir.path().join("far"));
    let weights = dir.path().join("far/adapter_model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let text = b"layers.1.";
    while let Some(at) = bytes.windows(text.len()).position(|found| found == text) {
        bytes[at + 7] = b'7';
    }
    std::fs::write(&weights, bytes).unwrap();
    assert!(verify(&far, 3).contains("layers"));
}

#[test]
fn merge_writes_an_adapter_that_says_what_it_is_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made").display().to_string();
    let (a, b) = (
        path("goldens/lora_variants/rslora"),
        path("goldens/lora_variants/loraplus"),
    );
    let words = ["merge", &a, &b, "--output-dir", &made];
    let found = json(&words);
    assert_eq!(
        (&found["r"], &found["weights"]),
        (&4.into(), &serde_json::json!([0.5, 0.5]))
    );
    let manifest = stage::Manifest::read(&Path::new(&made).join("manifest.json")).unwrap();
    assert!(manifest.outputs_intact(Path::new(&made)) && manifest.inputs.len() == 4);
    let message = fails(&words, 2);
    assert!(message.contains("--overwrite"), "{message}");
    let bytes = |name: &str| std::fs::read(Path::new(&made).join(name)).unwrap();
    let before = bytes("adapter_model.safetensors");
    out(&[&words[..], &["--overwrite"]].concat());
    assert_eq!(
        before,
        bytes("adapter_model.safetensors"),
        "the same work, the same bytes"
    );

    let svd = [
        "merge",
        &a,
        &b,
        "--overwrite",
        "--combination-type",
        "svd",
        "--svd-rank",
        "3",
    ];
    let words = [&svd[..], &["--weights", "-1,0.5", "--output-dir", &made]].concat();
    assert_eq!(json(&words)["r"], 3);

    // A merge that reads an earlier one does not write over it.
    let before = bytes("adapter_model.safetensors");
    let words = ["merge", &made, &a, "--overwrite", "--output-dir", &made];
    let message = fails(&words, 2);
    assert!(message.contains("that is read"), "{message}");
    assert_eq!(before, bytes("adapter_model.safetensors"));
}

#[test]
fn merge_refuses_weights_that_leave_f32() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        path("goldens/lora_variants/rslora"),
        path("goldens/lora_variants/loraplus"),
    );
    let made = dir.path().join("made");
    let out = made.display().to_string();
    for (kind, weights) in [("cat", "1e45,1"), ("svd", "1e45,1"), ("linear", "1e90,1")] {
        let words = ["merge", &a, &b, "--output-dir", &out, "--weights", weights];
        let message = fails(&[&words[..], &["--combination-type", kind]].concat(), 3);
        assert!(message.contains("no finite number"), "{kind}: {message}");
    }
    assert!(!made.exists());
}

#[test]
fn merges_that_make_no_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        path("goldens/lora_variants/rslora"),
        path("goldens/lora_step"),
    );
    let made = dir.path().join("made").display().to_string();
    let merge = |words: &[&str], code: i32| {
        fails(
            &[&["merge", &a, &b, "--output-dir", &made], words].concat(),
            code,
        )
    };
    assert!(merge(&["--weights", "1"], 2).contains("1 weights for 2 adapters"));
    assert!(merge(&["--svd-rank", "2"], 2).contains("--combination-type svd"));
    assert!(merge(&["--combination-type", "linear"], 3).contains("use `cat` or `svd`"));
    let other = copy("goldens/lora_step", &dir.path().join("other"));
    let config = dir.path().join("other/adapter_config.json");
    let renamed = std::fs::read_to_string(&config)
        .unwrap()
        .replace("tiny-model", "else");
    std::fs::write(&config, renamed).unwrap();
    let words = ["merge", &b, &other, "--output-dir", &made];
    assert!(fails(&words, 2).contains("--base-model"));
    out(&[&words[..], &["--base-model", "one/both"]].concat());
    assert_eq!(
        json(&["info", &made])["config"]["base_model_name_or_path"],
        "one/both"
    );
}
