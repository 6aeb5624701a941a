//! Hugging Face folders.

use export::export;
use loader::ModelSpec;

use super::{args, fixture, largest_difference, logits, write};

#[test]
fn a_merged_model_answers_as_the_adapter_does() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("merged").display().to_string();
    let (model, adapter) = (fixture("tiny-model"), fixture("goldens/lora_step"));
    export(&args(&[
        "--model_name",
        &model,
        "--adapter_dir",
        &adapter,
        "--output_dir",
        &out,
    ]))
    .unwrap();
    let attached = ModelSpec {
        adapter_dir: Some(adapter.into()),
        ..ModelSpec::new(&model)
    };
    let (merged, attached) = (logits(&ModelSpec::new(&out)), logits(&attached));
    assert!(largest_difference(&merged, &attached) < 1e-4);
    assert!(largest_difference(&merged, &logits(&ModelSpec::new(&model))) > 1e-2);
}

#[test]
fn a_gguf_file_becomes_a_folder_with_the_same_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("from-gguf").display().to_string();
    let model = fixture("tiny-model-q8_0.gguf");
    export(&args(&["--model_name", &model, "--output_dir", &out])).unwrap();
    let (folder, file) = (ModelSpec::new(&out), ModelSpec::new(&model));
    assert_eq!(logits(&folder), logits(&file));
    let (a, b) = (loader::open(&folder).unwrap(), loader::open(&file).unwrap());
    assert_eq!(
        a.prompter().template_source(),
        b.prompter().template_source()
    );
    assert_eq!(a.config(), b.config());
}

#[test]
fn folders_are_not_written_over_by_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let (out, model) = (dir.path().join("out"), fixture("tiny-model"));
    let text = out.display().to_string();
    let words = [
        "--model_name",
        &model,
        "--output_dir",
        &text,
        "--dtype",
        "bf16",
    ];
    export(&args(&words)).unwrap();
    let message = export(&args(&words)).unwrap_err().to_string();
    assert!(message.contains("--overwrite"), "{message}");
    let over = [&words[..], &["--overwrite"]].concat();
    export(&args(&over)).unwrap();
    let onto = ["--model_name", &text, "--output_dir", &text, "--overwrite"];
    let message = export(&args(&onto)).unwrap_err().to_string();
    assert!(
        message.contains("holds the model that is read"),
        "{message}"
    );
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("config.json"), "{}").unwrap();
    let foreign = foreign.display().to_string();
    let words = [
        "--model_name",
        &model,
        "--output_dir",
        &foreign,
        "--overwrite",
    ];
    assert!(
        export(&args(&words))
            .unwrap_err()
            .to_string()
            .contains("not empty")
    );
}

#[test]
fn weights_in_many_files_are_the_same_weights() {
    let dir = tempfile::tempdir().unwrap();
    let (one, many) = (dir.path().join("one"), dir.path().join("many"));
    let model = fixture("tiny-model");
    write(&one, &["--model_name", &model]).unwrap();
    let words = ["--model_name", &model, "--max-shard-size", "300KB"];
    let summary = write(&many, &words).unwrap();
    let shards = summary.files.iter();
    let shards: Vec<_> = shards
        .filter(|name| name.ends_with(".safetensors"))
        .collect();
    assert!(
        shards.len() > 2 && shards[0].starts_with("model-00001-of-0000"),
        "{shards:?}"
    );
    assert!(
        summary
            .files
            .contains(&"model.safetensors.index.json".to_owned())
    );
    let spec = |path: &std::path::Path| ModelSpec::new(&path.display().to_string());
    assert_eq!(logits(&spec(&one)), logits(&spec(&many)));
    // One that replaces it leaves none of its shards behind.
    write(&many, &["--model_name", &model, "--overwrite"]).unwrap();
    assert!(!many.join(shards[0]).exists() && !many.join("model.safetensors.index.json").exists());
    assert_eq!(logits(&spec(&one)), logits(&spec(&many)));
}

#[test]
fn half_precision_is_what_rounding_gives() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("tiny-model");
    let out = dir.path().join("half");
    write(&out, &["--model_name", &model, "--dtype", "f16"]).unwrap();
    let config = std::fs::read_to_string(out.join("config.json")).unwrap();
    assert!(config.contains("\"torch_dtype\": \"float16\""), "{config}");
    let spec = ModelSpec::new(&out.display().to_string());
    assert!(largest_difference(&logits(&spec), &logits(&ModelSpec::new(&model))) < 1e-2);
}

#[test]
fn flags_of_another_format_are_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("tiny-model");
    let cases: [&[&str]; 8] = [
        &["--outtype", "f16"],
        &["--modelfile"],
        &["--dialect", "portable"],
        &["--format", "gguf", "--dtype", "bf16"],
        &["--format", "gguf", "--max-shard-size", "1GB"],
        &["--format", "mlx", "--dialect", "portable"],
        &["--format", "gguf-adapter", "--outtype", "q8_0"],
        // There is no adapter to convert.
        &["--format", "peft"],
    ];
    for words in cases {
        let words = [&["--model_name", &model], words].concat();
        let error = write(dir.path(), &words).unwrap_err();
        assert_eq!(error.exit().code(), 2, "{words:?}: {error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn an_export_that_was_stopped_can_be_replaced_and_is_no_model() {
    let dir = tempfile::tempdir().unwrap();
    let (out, model) = (dir.path().join("out"), fixture("tiny-model"));
    write(&out, &["--model_name", &model]).unwrap();
    // As if it had been stopped between the weights and the configuration.
    let path = out.join("manifest.json");
    let manifest = stage::Manifest::read(&path).unwrap();
    assert_eq!(manifest.facts["complete"], true);
    let begun = stage::Manifest {
        outputs: vec![],
        ..manifest
    }
    .fact("complete", false);
    begun.write(&path).unwrap();
    std::fs::remove_file(out.join("config.json")).unwrap();
    let shard = "model-00001-of-00002.safetensors";
    std::fs::rename(out.join("model.safetensors"), out.join(shard)).unwrap();
    let begun = [
        "adapter_config.json",
        "model-q4_k.gguf",
        "model.safetensors.part",
    ];
    let foreign = ["model.mine.safetensors", "model.part", "model-q9.gguf"];
    for name in begun.iter().chain(&foreign) {
        std::fs::write(out.join(name), "{}").unwrap();
    }
    assert!(loader::open(&ModelSpec::new(&out.display().to_string())).is_err());
    assert!(write(&out, &["--model_name", &model]).is_err());
    write(&out, &["--model_name", &model, "--overwrite"]).unwrap();
    for name in begun.iter().chain(&[shard]) {
        assert!(!out.join(name).exists(), "{name}");
    }
    for name in foreign {
        assert!(out.join(name).exists(), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn an_export_never_deletes_the_model_that_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (out, model) = (dir.path().join("out"), fixture("tiny-model"));
    write(&out, &["--model_name", &model, "--format", "gguf"]).unwrap();
    let file = out.join("model-f16.gguf");
    let before = std::fs::read(&file).unwrap();
    let link = dir.path().join("link.gguf");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let link = link.display().to_string();
    // A bare name has no parent folder, a link has another one.
    for name in ["model-f16.gguf", &link] {
        let words = ["--format", "gguf", "--outtype", "q8_0", "--overwrite"];
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_export"))
            .args(["--output-dir", ".", "--model-name", name])
            .args(words)
            .current_dir(&out)
            .output()
            .unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(
            message.contains("holds the model that is read"),
            "{message}"
        );
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
}

#[test]
fn numbers_beyond_f16_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (model, adapter) = (fixture("tiny-model"), dir.path().join("adapter"));
    // A scale that takes the merged weights far out.
    let config = lora::LoraConfig {
        lora_alpha: 1e9,
        ..lora::Adapter::load(fixture("goldens/lora_step"))
            .unwrap()
            .config()
            .clone()
    };
    let sound = lora::Adapter::load(fixture("goldens/lora_step")).unwrap();
    let pairs = sound.pairs().map(|(site, pair)| (site, pair.clone()));
    let wild = lora::Adapter::new(config, pairs.collect()).unwrap();
    wild.save(&adapter).unwrap();
    let adapter = adapter.display().to_string();
    let base = ["--model_name", &model, "--adapter_dir", &adapter];
    // Blocks have scales in f16.
    let cases: [&[&str]; 4] = [
        &["--dtype", "f16"],
        &["--format", "gguf", "--outtype", "f16"],
        &["--format", "gguf", "--outtype", "q8_0"],
        &["--format", "gguf", "--outtype", "q4_k"],
    ];
    let out = dir.path().join("out");
    write(&out, &["--model_name", &model]).unwrap();
    for words in cases {
        let words = [&base[..], words, &["--overwrite"]].concat();
        let error = write(&out, &words).unwrap_err();
        assert_eq!(error.exit().code(), 3);
        assert!(error.to_string().contains("f16 ends at 65504"), "{error}");
        // What cannot be done takes nothing away.
        let earlier = stage::Manifest::read(&out.join("manifest.json")).unwrap();
        assert!(earlier.facts["complete"] == true && earlier.outputs_intact(&out));
    }
    write(
        &dir.path().join("bf16"),
        &[&base[..], &["--dtype", "bf16"]].concat(),
    )
    .unwrap();
}

#[test]
fn a_base_that_says_where_it_lay_on_a_machine_is_not_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(fixture("tiny-model")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    let config = |dir: &std::path::Path| -> serde_json::Value {
        let text = std::fs::read(dir.join("config.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    for (from, stays) in [("/home/me/model", false), ("someone/their-model", true)] {
        let mut of_base = config(&model);
        of_base["_name_or_path"] = from.into();
        std::fs::write(model.join("config.json"), of_base.to_string()).unwrap();
        let out = dir.path().join(format!("out-{stays}"));
        write(&out, &["--model_name", &model.display().to_string()]).unwrap();
        let written = config(&out);
        assert_eq!(written.get("_name_or_path").is_some(), stays, "{from}");
    }
}
