//! Merged models as GGUF files.

use gguf::{GgmlType, GgufFile};
use loader::ModelSpec;

use super::{fixture, largest_difference, logits, with_adapter, write};

#[test]
fn a_merged_file_answers_as_the_adapter_does() {
    let dir = tempfile::tempdir().unwrap();
    let (model, adapter) = (fixture("tiny-model"), fixture("goldens/lora_step"));
    let attached = logits(&with_adapter("goldens/lora_step"));
    let base = logits(&ModelSpec::new(&model));
    assert!(largest_difference(&attached, &base) > 1e-2);
    for (outtype, tolerance) in [("f32", 1e-4), ("f16", 1e-2), ("bf16", 0.2), ("q8_0", 0.3)] {
        let out = dir.path().join(outtype);
        let words = ["--model_name", &model, "--adapter_dir", &adapter];
        let words = [&words[..], &["--format", "gguf", "--outtype", outtype]].concat();
        write(&out, &words).unwrap();
        let file = out.join(format!("model-{outtype}.gguf"));
        let found = logits(&ModelSpec::new(&file.display().to_string()));
        let difference = largest_difference(&found, &attached);
        assert!(difference < tolerance, "{outtype}: {difference}");
    }
}

#[test]
fn a_folder_and_its_file_are_one_model() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("tiny-model");
    let words = [
        "--model_name",
        &model,
        "--format",
        "gguf",
        "--outtype",
        "f32",
    ];
    write(dir.path(), &words).unwrap();
    let file = dir.path().join("model-f32.gguf").display().to_string();
    let (folder, file) = (ModelSpec::new(&model), ModelSpec::new(&file));
    assert_eq!(logits(&folder), logits(&file));
    let (a, b) = (loader::open(&folder).unwrap(), loader::open(&file).unwrap());
    assert_eq!(a.config(), b.config());
    assert_eq!(
        a.prompter().template_source(),
        b.prompter().template_source()
    );
    for text in [
        "Name 12 birds, please.",
        "  naïve\n\n\tcafé — 3.14!",
        "<|im_end|>",
    ] {
        assert_eq!(
            a.prompter().encode_plain(text).unwrap(),
            b.prompter().encode_plain(text).unwrap()
        );
    }
}

/// The fixture was written by llama.cpp's package with the same types: the same bytes in every
/// tensor, and the same metadata where both have a key.
#[test]
fn tensors_and_vocabulary_are_those_of_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("tiny-model");
    let words = [
        "--model_name",
        &model,
        "--format",
        "gguf",
        "--outtype",
        "q8_0",
    ];
    write(dir.path(), &words).unwrap();
    let ours = GgufFile::open(dir.path().join("model-q8_0.gguf")).unwrap();
    let theirs = GgufFile::open(fixture("tiny-model-q8_0.gguf")).unwrap();
    assert_eq!(ours.tensors().len(), theirs.tensors().len());
    for tensor in theirs.tensors() {
        let found = ours.tensor(&tensor.name).unwrap();
        assert_eq!(found.ggml_type, tensor.ggml_type, "{}", tensor.name);
        assert!(
            ours.tensor_bytes(found).unwrap() == theirs.tensor_bytes(tensor).unwrap(),
            "{}",
            tensor.name
        );
    }
    let missing = ["general.license"];
    for (key, value) in theirs.metadata() {
        if key != "general.name" && !missing.contains(&key.as_str()) {
            assert_eq!(ours.metadata().get(key), Some(value), "{key}");
        }
    }
}

#[test]
fn a_file_from_a_file_keeps_its_vocabulary_and_licence() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("tiny-model-q8_0.gguf");
    let words = [
        "--model_name",
        &model,
        "--format",
        "gguf",
        "--outtype",
        "f16",
    ];
    write(dir.path(), &words).unwrap();
    let ours = GgufFile::open(dir.path().join("model-f16.gguf")).unwrap();
    let theirs = GgufFile::open(&model).unwrap();
    for (key, value) in theirs.metadata() {
        if key.starts_with("tokenizer.") || key == "general.license" {
            assert_eq!(ours.metadata().get(key), Some(value), "{key}");
        }
    }
    let kind = |name: &str| ours.tensor(name).unwrap().ggml_type;
    assert_eq!(kind("token_embd.weight"), GgmlType::F16);
    assert_eq!(kind("blk.0.attn_norm.weight"), GgmlType::F32);
}

#[test]
fn rows_that_no_block_fits_get_the_next_type() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("tiny-model");
    let words = [
        "--model_name",
        &model,
        "--format",
        "gguf",
        "--outtype",
        "q4_k",
    ];
    write(dir.path(), &words).unwrap();
    let path = dir.path().join("model-q4_k.gguf");
    let file = GgufFile::open(&path).unwrap();
    let kind = |name: &str| file.tensor(name).unwrap().ggml_type;
    // Rows of 96 and 160.
    assert_eq!(kind("token_embd.weight"), GgmlType::Q8_0);
    assert_eq!(kind("blk.1.ffn_down.weight"), GgmlType::Q5_0);
    let load = |name: &str| loader::load(&ModelSpec::new(name)).unwrap().model;
    let (ours, original) = (load(&path.display().to_string()), load(&model));
    for ((name, found), (_, expected)) in ours.named_weights().iter().zip(original.named_weights())
    {
        let square = |tensor: &loader::Tensor| {
            let sum = tensor.sqr().unwrap().sum_all().unwrap();
            sum.to_scalar::<f32>().unwrap()
        };
        let error = square(&(*found - expected).unwrap()) / square(expected);
        assert!(error.sqrt() < 0.05, "{name}: {}", error.sqrt());
    }
}

/// The tiny model, to be changed.
fn copy(dir: &std::path::Path) -> std::path::PathBuf {
    let model = dir.join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(fixture("tiny-model")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    model
}

#[test]
fn a_template_that_is_no_chatml_has_no_modelfile() {
    let dir = tempfile::tempdir().unwrap();
    let model = copy(dir.path());
    let template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}";
    std::fs::write(model.join("chat_template.jinja"), template).unwrap();
    let model = model.display().to_string();
    let words = ["--model_name", &model, "--format", "gguf"];
    let out = dir.path().join("out");
    let error = write(&out, &[&words[..], &["--modelfile"]].concat()).unwrap_err();
    assert_eq!(error.exit().code(), 3);
    assert!(error.to_string().contains("not ChatML"), "{error}");
    assert!(!out.join("model-f16.gguf").exists());
    write(&out, &[&words[..], &["--overwrite"]].concat()).unwrap();
}

#[test]
fn a_tokenizer_that_splits_otherwise_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let model = copy(dir.path());
    let path = model.join("tokenizer.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = text.replace("\"individual_digits\":true", "\"individual_digits\":false");
    assert_ne!(text, changed);
    std::fs::write(&path, changed).unwrap();
    let model = model.display().to_string();
    let words = ["--model_name", &model, "--format", "gguf"];
    let error = write(&dir.path().join("out"), &words).unwrap_err();
    assert_eq!(error.exit().code(), 3);
    let text = error.to_string();
    assert!(
        text.contains("tokenizer.json") && text.contains("smollm"),
        "{text}"
    );
}

#[test]
fn a_modelfile_says_what_the_template_says() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("tiny-model");
    let words = ["--model_name", &model, "--format", "gguf", "--modelfile"];
    write(dir.path(), &words).unwrap();
    let text = std::fs::read_to_string(dir.path().join("Modelfile")).unwrap();
    let expected = "FROM ./model-f16.gguf
TEMPLATE \"\"\"{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
\"\"\"
SYSTEM \"\"\"You are a helpful AI assistant named SmolLM, trained by Hugging Face\"\"\"
PARAMETER stop \"<|endoftext|>\"
PARAMETER stop \"<|im_end|>\"
";
    assert_eq!(text, expected);
}
