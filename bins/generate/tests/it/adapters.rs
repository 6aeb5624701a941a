//! Several adapters and the base in one process.

use std::path::{Path, PathBuf};

use lora::{Adapter, LoraConfig};
use smollm_model::{Checkpoint, ModelFiles};
use stage::Exit;

use crate::{answer, answers, args, fixture};

/// An adapter for the tiny model; numbers 0 and 9 change its answers, the latter with magnitudes.
fn adapter(dir: &Path, seed: u64) -> PathBuf {
    let files = ModelFiles::Dir(fixture("tiny-model").into());
    let config = Checkpoint::open(&files).unwrap().config().clone();
    let mut adapter = match seed {
        0 => Adapter::load(fixture("goldens/lora_step")).unwrap(),
        9 => Adapter::load(fixture("goldens/lora_variants/dora")).unwrap(),
        _ => Adapter::init(&config, LoraConfig::default(), seed).unwrap(),
    };
    adapter.set_base_model(Some(fixture("tiny-model")), None);
    adapter.save(dir).unwrap();
    dir.to_path_buf()
}

#[test]
fn each_adapter_answers_into_its_own_file_as_it_does_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (a, b) = (adapter(&path("x/a"), 0), adapter(&path("x/b"), 9));
    let (a, b) = (a.display().to_string(), b.display().to_string());
    let both = [
        "--adapter",
        &a,
        "--adapter",
        &b,
        "--with_base",
        "--limit",
        "10",
        "--check_batch",
        "2",
    ];
    let summaries = generate::answer(&args(&path("after.jsonl"), &both)).unwrap();
    let adapters: Vec<_> = summaries.iter().map(|s| s.adapter.as_deref()).collect();
    assert_eq!(adapters, [None, Some(a.as_str()), Some(b.as_str())]);
    for (name, flags) in [
        ("base", vec!["--limit", "10"]),
        ("a", vec!["--limit", "10", "--adapter", &a]),
        ("b", vec!["--limit", "10", "--adapter", &b]),
    ] {
        let alone = path(&format!("alone-{name}.jsonl"));
        answer(&args(&alone, &flags)).unwrap();
        let together = answers(&path(&format!("after-{name}.jsonl")));
        assert_eq!(together.len(), 10);
        assert_eq!(together, answers(&alone), "{name}");
    }
    let of = |name: &str| answers(&path(&format!("after-{name}.jsonl")));
    assert_ne!(of("base"), of("a"));
    assert_ne!(of("base"), of("b"));
    // The base's file belongs to the base alone.
    let base = ["--limit", "10"];
    assert_eq!(
        answer(&args(&path("after-base.jsonl"), &base))
            .unwrap()
            .resumed,
        10
    );
    let again = generate::answer(&args(&path("after.jsonl"), &both[..7])).unwrap();
    assert!(
        again
            .iter()
            .all(|summary| summary.resumed == 10 && summary.new_tokens == 0)
    );
}

#[test]
fn adapters_of_one_name_are_told_apart_by_their_folders() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (a, b) = (
        adapter(&path("r8/adapter"), 1),
        adapter(&path("r16/adapter"), 2),
    );
    let (a, b) = (a.display().to_string(), b.display().to_string());
    let both = ["--adapter", &a, "--adapter", &b, "--limit", "1"];
    generate::answer(&args(&path("out.jsonl"), &both)).unwrap();
    assert!(path("out-r8-adapter.jsonl").exists() && path("out-r16-adapter.jsonl").exists());
    let twice = ["--adapter", &a, "--adapter", &a, "--limit", "1"];
    let error = generate::answer(&args(&path("out.jsonl"), &twice)).unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.to_string().contains("r8-adapter"), "{error}");
}

#[test]
fn an_adapter_of_another_model_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let good = adapter(&path("good"), 1).display().to_string();
    let files = ModelFiles::Dir(fixture("tiny-model").into());
    let mut config = Checkpoint::open(&files).unwrap().config().clone();
    config.hidden_size *= 2;
    let wide = Adapter::init(&config, LoraConfig::default(), 1).unwrap();
    wide.save(path("wide")).unwrap();
    let wide = path("wide").display().to_string();
    let both = ["--adapter", &good, "--adapter", &wide];
    let error = generate::answer(&args(&path("out.jsonl"), &both)).unwrap_err();
    assert_eq!(error.exit(), Exit::BadData);
    assert!(error.to_string().contains("wide"), "{error}");
    let written = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(written, 2, "the adapters alone");
}
