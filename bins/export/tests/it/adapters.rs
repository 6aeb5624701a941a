//! Adapters in the formats of other programs.

use std::path::Path;

use gguf::GgufFile;
use loader::{Adapter, ModelSpec, Tensor};

use super::{fixture, largest_difference, logits, with_adapter, write};

/// Adapters of every kind that `lora` reads; the last one alone is plain as it is.
const VARIANTS: [&str; 8] = [
    "goldens/lora_variants/rslora",
    "goldens/lora_variants/patterns",
    "goldens/lora_variants/patterns_rslora",
    "goldens/lora_variants/layers",
    "goldens/lora_variants/regex",
    "goldens/lora_variants/exclude",
    "goldens/lora_rslora",
    "goldens/lora_step",
];

fn convert(out: &Path, adapter: &str, words: &[&str]) {
    let (model, adapter) = (fixture("tiny-model"), fixture(adapter));
    let all = ["--model_name", &model, "--adapter_dir", &adapter];
    write(out, &[&all[..], words].concat()).unwrap();
}

#[test]
fn native_peft_is_the_adapter_itself() {
    let dir = tempfile::tempdir().unwrap();
    convert(dir.path(), "goldens/lora_rslora", &["--format", "peft"]);
    let (ours, theirs) = (
        Adapter::load(dir.path()).unwrap(),
        Adapter::load(fixture("goldens/lora_rslora")).unwrap(),
    );
    assert_eq!(ours.config(), theirs.config());
    assert!(ours.config().use_rslora);
}

/// What an adapter's format has no place for is not left out in silence; merged it is all there.
#[test]
fn dora_is_merged_or_stays_in_pefts_format() {
    let dir = tempfile::tempdir().unwrap();
    let dora = "goldens/lora_variants/dora";
    let cases: [&[&str]; 3] = [
        &["--format", "gguf-adapter"],
        &["--format", "mlx"],
        &["--format", "peft", "--dialect", "portable"],
    ];
    for words in cases {
        let (model, adapter) = (fixture("tiny-model"), fixture(dora));
        let all = ["--model_name", &model, "--adapter_dir", &adapter];
        let out = dir.path().join("refused");
        let error = write(&out, &[&all[..], words].concat()).unwrap_err();
        assert_eq!(error.exit().code(), 3, "{words:?}: {error}");
        let text = error.to_string();
        assert!(text.contains("DoRA") && text.contains("merge it"), "{text}");
    }
    let native = dir.path().join("native");
    convert(&native, dora, &["--format", "peft"]);
    let (ours, theirs) = (
        Adapter::load(&native).unwrap(),
        Adapter::load(fixture(dora)).unwrap(),
    );
    assert_eq!(ours.config(), theirs.config());
    assert_eq!(ours.tensors().len(), theirs.tensors().len());
    let expected = logits(&with_adapter(dora));
    let merged = dir.path().join("merged");
    convert(&merged, dora, &["--format", "safetensors"]);
    let found = logits(&ModelSpec::new(&merged.display().to_string()));
    let far = largest_difference(&found, &expected);
    assert!(far < 5e-5, "{far}");
}

/// The base has one table for embedding and head. A merge makes two of it, whatever it is written as.
#[test]
fn adapters_of_embedding_and_head_are_merged_into_two_tables() {
    let dir = tempfile::tempdir().unwrap();
    for variant in ["embed", "head", "embed_head"] {
        let adapter = format!("goldens/lora_variants/{variant}");
        let expected = logits(&with_adapter(&adapter));
        let base = logits(&ModelSpec::new(&fixture("tiny-model")));
        assert!(largest_difference(&expected, &base) > 1e-2);
        let folder = dir.path().join(format!("{variant}-folder"));
        convert(&folder, &adapter, &["--format", "safetensors"]);
        let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["tie_word_embeddings"], false, "{variant}");
        let file = dir.path().join(format!("{variant}-file"));
        convert(&file, &adapter, &["--format", "gguf", "--outtype", "f32"]);
        let file = file.join("model-f32.gguf");
        let tensors = GgufFile::open(&file).unwrap();
        assert!(tensors.tensor("output.weight").is_some(), "{variant}");
        for merged in [folder, file] {
            let found = logits(&ModelSpec::new(&merged.display().to_string()));
            let far = largest_difference(&found, &expected);
            assert!(far < 5e-5, "{}: {far}", merged.display());
        }
        let native = dir.path().join(format!("{variant}-peft"));
        convert(&native, &adapter, &["--format", "peft"]);
        let spec = ModelSpec {
            adapter_dir: Some(native),
            ..ModelSpec::new(&fixture("tiny-model"))
        };
        assert_eq!(logits(&spec), expected, "{variant}");
    }
}

/// llama.cpp looks rows of `lora_a` up, as it does those of the table: `h += alpha / r · B lora_a[id]`. The base has two
/// tables here: what a merge made of it.
#[test]
fn a_gguf_adapter_of_the_embedding_has_a_row_for_each_token() {
    let dir = tempfile::tempdir().unwrap();
    let untied = dir.path().join("untied");
    convert(
        &untied,
        "goldens/lora_variants/head",
        &["--format", "safetensors"],
    );
    let (untied, adapter) = (
        untied.display().to_string(),
        fixture("goldens/lora_variants/embed"),
    );
    let out = dir.path().join("lora");
    let words = ["--base_model", &untied, "--adapter_dir", &adapter];
    write(&out, &[&words[..], &["--format", "gguf-adapter"]].concat()).unwrap();
    let file = GgufFile::open(out.join("adapter-f32.gguf")).unwrap();
    assert_eq!(file.tensors().len(), 2);
    let a = read(&file, "token_embd.weight.lora_a");
    let b = read(&file, "token_embd.weight.lora_b");
    assert_eq!((a.dims(), b.dims()), (&[1237, 3][..], &[96, 3][..]));
    let adapter = Adapter::load(fixture("goldens/lora_variants/embed")).unwrap();
    let (_, pair) = adapter.pairs().next().unwrap();
    assert_eq!(flat(&a.t().unwrap()), flat(&pair.a));
    assert_eq!(flat(&b), flat(&pair.b));
}

#[test]
fn what_has_no_place_for_embedding_or_head_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("head", "gguf-adapter", "lm_head"),
        ("embed", "gguf-adapter", "embed_tokens"),
        ("head", "mlx", "lm_head"),
        ("embed", "mlx", "embed_tokens"),
    ];
    for (variant, format, module) in cases {
        let model = fixture("tiny-model");
        let adapter = fixture(&format!("goldens/lora_variants/{variant}"));
        let words = ["--model_name", &model, "--adapter_dir", &adapter];
        let words = [&words[..], &["--format", format]].concat();
        let error = write(&dir.path().join("refused"), &words).unwrap_err();
        assert_eq!(error.exit().code(), 3, "{variant}: {error}");
        let text = error.to_string();
        assert!(text.contains(module) && text.contains("merge it"), "{text}");
    }
}

#[test]
fn portable_adapters_are_plain_and_answer_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for (i, adapter) in VARIANTS.iter().enumerate() {
        let out = dir.path().join(i.to_string());
        convert(
            &out,
            adapter,
            &["--format", "peft", "--dialect", "portable"],
        );
        let plain = Adapter::load(&out).unwrap();
        let config = plain.config();
        assert!(
            !config.use_rslora && config.layers_to_transform.is_none(),
            "{adapter}"
        );
        assert!(config.rank_pattern.is_empty() && config.alpha_pattern.is_empty());
        assert!(config.exclude_modules.is_none() && config.lora_alpha.fract() == 0.0);
        let text = std::fs::read_to_string(out.join("adapter_config.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(json["target_modules"].is_array(), "{adapter}: {text}");
        let spec = ModelSpec {
            adapter_dir: Some(out),
            ..ModelSpec::new(&fixture("tiny-model"))
        };
        let (found, expected) = (logits(&spec), logits(&with_adapter(adapter)));
        let difference = largest_difference(&found, &expected);
        assert!(difference < 1e-5, "{adapter}: {difference}");
        let moved = largest_difference(&expected, &logits(&ModelSpec::new(&fixture("tiny-model"))));
        assert!(moved > 1e-2, "{adapter}: {moved}");
    }
}

/// `W + alpha / r · B A` of a GGUF adapter, put together from the file as llama.cpp does, is the
/// merged weight of the GGUF model.
#[test]
fn a_gguf_adapter_and_its_base_are_the_merged_file() {
    let dir = tempfile::tempdir().unwrap();
    for (i, adapter) in VARIANTS.iter().enumerate() {
        let out = |what: &str| dir.path().join(format!("{i}-{what}"));
        let (model, folder) = (fixture("tiny-model"), fixture(adapter));
        convert(&out("lora"), adapter, &["--format", "gguf-adapter"]);
        let gguf = [
            "--format",
            "gguf",
            "--outtype",
            "f32",
            "--model_name",
            &model,
        ];
        write(&out("base"), &gguf).unwrap();
        write(
            &out("merged"),
            &[&gguf[..], &["--adapter_dir", &folder]].concat(),
        )
        .unwrap();
        let open = |what: &str, name: &str| GgufFile::open(out(what).join(name)).unwrap();
        let lora = open("lora", "adapter-f32.gguf");
        let (base, merged) = (
            open("base", "model-f32.gguf"),
            open("merged", "model-f32.gguf"),
        );
        assert_eq!(lora.str("general.type").unwrap(), "adapter");
        assert_eq!(lora.str("adapter.type").unwrap(), "lora");
        let alpha = f64::from(lora.f32("adapter.lora.alpha").unwrap());
        let mut seen = 0;
        for tensor in base.tensors() {
            let (before, after) = (read(&base, &tensor.name), read(&merged, &tensor.name));
            let Some(b) = lora.tensor(&format!("{}.lora_b", tensor.name)) else {
                assert_eq!(flat(&before), flat(&after), "{adapter} {}", tensor.name);
                continue;
            };
            let rank = b.shape[1] as f64;
            let a = read(&lora, &format!("{}.lora_a", tensor.name));
            let b = read(&lora, &b.name);
            let update = (b.matmul(&a).unwrap() * (alpha / rank)).unwrap();
            let sum = (before + update).unwrap();
            let difference = largest_difference(&flat(&sum), &flat(&after));
            assert!(difference < 1e-6, "{adapter} {}: {difference}", tensor.name);
            seen += 2;
        }
        assert_eq!(seen, lora.tensors().len(), "{adapter}");
    }
}

/// An F32 tensor of a file.
fn read(file: &GgufFile, name: &str) -> Tensor {
    let tensor = file.tensor(name).unwrap();
    let bytes = file.tensor_bytes(tensor).unwrap();
    let values: Vec<f32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    Tensor::from_vec(values, tensor.shape.clone(), &smollm_model::Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn an_mlx_adapter_has_mlx_names_and_transposed_factors() {
    let dir = tempfile::tempdir().unwrap();
    for (i, adapter) in VARIANTS.iter().enumerate() {
        let out = dir.path().join(i.to_string());
        convert(&out, adapter, &["--format", "mlx"]);
        let bytes = std::fs::read(out.join("adapters.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let text = std::fs::read_to_string(out.join("adapter_config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let scale = config["lora_parameters"]["scale"].as_f64().unwrap();
        let rank = config["lora_parameters"]["rank"].as_u64().unwrap() as usize;
        let original = Adapter::load(fixture(adapter)).unwrap();
        assert_eq!(file.len(), original.tensors().len(), "{adapter}");
        for (site, pair) in original.pairs() {
            let factor = |end: &str| {
                let view = file.tensor(&format!("{}.{end}", site.path())).unwrap();
                let values = view.data().as_chunks::<4>().0;
                let values: Vec<f32> = values.iter().map(|b| f32::from_le_bytes(*b)).collect();
                Tensor::from_vec(values, view.shape(), &smollm_model::Device::Cpu).unwrap()
            };
            let (a, b) = (factor("lora_a"), factor("lora_b"));
            assert_eq!(a.dims()[1], rank);
            // y = scale * (x A) B
            let theirs = (a.matmul(&b).unwrap().t().unwrap() * scale).unwrap();
            let ours = (pair.b.matmul(&pair.a).unwrap() * original.scale(site)).unwrap();
            assert!(
                largest_difference(&flat(&theirs), &flat(&ours)) < 1e-6,
                "{adapter}"
            );
            let keys = config["lora_parameters"]["keys"].as_array().unwrap();
            assert!(keys.contains(&site.path().split_once("0.").unwrap().1.into()));
        }
    }
}

#[test]
fn the_modelfile_of_an_adapter_names_base_and_adapter() {
    let dir = tempfile::tempdir().unwrap();
    convert(
        dir.path(),
        "goldens/lora_step",
        &["--format", "gguf-adapter", "--modelfile"],
    );
    let text = std::fs::read_to_string(dir.path().join("Modelfile")).unwrap();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().ends_with("/tiny-model"), "{text}");
    assert_eq!(lines.next(), Some("ADAPTER ./adapter-f32.gguf"));
}

#[test]
fn a_base_that_was_given_is_the_one_in_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let (model, adapter) = (fixture("tiny-model"), fixture("goldens/lora_step"));
    let words = ["--base_model", &model, "--adapter_dir", &adapter];
    write(dir.path(), &[&words[..], &["--format", "peft"]].concat()).unwrap();
    let written = Adapter::load(dir.path()).unwrap();
    let base = written.config().base_model_name_or_path.as_deref();
    assert_eq!(base, Some(model.as_str()));
}

#[test]
fn factors_that_leave_f32_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sound = Adapter::load(fixture("goldens/lora_variants/patterns")).unwrap();
    let model = fixture("tiny-model");
    // The scale goes into the factors: alpha / r, or a module's own alpha / alpha.
    let cases: [(f64, &[&str]); 3] = [
        (1e-37, &["gguf-adapter"]),
        (3e38, &["mlx"]),
        (3e38, &["peft", "--dialect", "portable"]),
    ];
    for (lora_alpha, words) in cases {
        let config = lora::LoraConfig {
            lora_alpha,
            ..sound.config().clone()
        };
        let pairs = sound.pairs().map(|(site, pair)| {
            let pair = lora::Pair {
                b: (&pair.b * 1e6).unwrap(),
                ..pair.clone()
            };
            (site, pair)
        });
        let adapter = dir.path().join(format!("{}-adapter", words[0]));
        let wild = Adapter::new(config, pairs.collect()).unwrap();
        wild.save(&adapter).unwrap();
        let adapter = adapter.display().to_string();
        let base = ["--model_name", &model, "--adapter_dir", &adapter];
        let out = dir.path().join(words[0]);
        let all = [&base[..], &["--format"], words].concat();
        let error = write(&out, &all).unwrap_err();
        assert_eq!(error.exit().code(), 3, "{words:?}: {error}");
        assert!(error.to_string().contains("no finite number"), "{error}");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0, "{words:?}");
    }
}

#[test]
fn an_adapter_that_diverged_leaves_in_no_format() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("tiny-model");
    let sound = Adapter::load(fixture("goldens/lora_variants/dora")).unwrap();
    let (broken, _) = sound.pairs().last().unwrap();
    for (value, factor) in [
        (f32::NAN, "lora_B"),
        (f32::INFINITY, "lora_magnitude_vector"),
    ] {
        let spoilt = |tensor: &Tensor| {
            let mut values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            *values.last_mut().unwrap() = value;
            Tensor::from_vec(values, tensor.dims(), tensor.device()).unwrap()
        };
        let pairs = sound.pairs().map(|(site, pair)| {
            let mut pair = pair.clone();
            match factor {
                "lora_B" if site == broken => pair.b = spoilt(&pair.b),
                _ if site == broken => pair.magnitude = pair.magnitude.as_ref().map(spoilt),
                _ => {}
            }
            (site, pair)
        });
        let adapter = dir.path().join(factor);
        let wild = Adapter::new(sound.config().clone(), pairs.collect()).unwrap();
        wild.save(&adapter).unwrap();
        let out = dir.path().join("out");
        let adapter = adapter.display().to_string();
        let words = [
            "--model_name",
            &model,
            "--adapter_dir",
            &adapter,
            "--format",
        ];
        for format in ["peft", "safetensors"] {
            let error = write(&out, &[&words[..], &[format]].concat()).unwrap_err();
            assert_eq!(error.exit().code(), 3, "{format}: {error}");
            let text = error.to_string();
            assert!(text.contains("no finite number"), "{format}: {text}");
            if format == "peft" {
                assert!(
                    text.contains(&broken.path()) && text.contains(factor),
                    "{text}"
                );
            }
            assert!(!out.exists() || std::fs::read_dir(&out).unwrap().count() == 0);
        }
    }
}
