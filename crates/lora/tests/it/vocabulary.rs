//! Adapters of the embedding and the head: what they start as, what they leave alone, what has no place for them. Against
//! PEFT they are tested as variants.

use crate::support::{
    adapter, distance, dolly_mini, fixture, json, last_logits, model, tensors, values,
};
use candle_core::{DType, Device, Tensor};
use lora::smollm_model::{Checkpoint, ModelFiles, Site};
use lora::{Adapter, Factor, InitLoraWeights, LoraConfig, LoraError, TrainConfig, detach};
use std::collections::BTreeMap;
use std::path::Path;

fn folder(name: &str) -> std::path::PathBuf {
    fixture(&format!("goldens/lora_variants/{name}"))
}

fn targeting(modules: &str) -> LoraConfig {
    LoraConfig {
        r: 2,
        lora_alpha: 4.0,
        lora_dropout: 0.0,
        target_modules: modules.parse().unwrap(),
        ..LoraConfig::default()
    }
}

fn base(file: &str) -> Checkpoint {
    let path = fixture(file);
    let files = if path.is_dir() {
        ModelFiles::Dir(path)
    } else {
        ModelFiles::Gguf(path)
    };
    Checkpoint::open(&files).unwrap()
}

#[test]
fn all_linear_includes_neither_and_layers_leave_both_out() {
    let sites = |config: LoraConfig| -> Vec<Site> {
        let sites = config.sites(2).unwrap().into_iter();
        sites.map(|(site, _)| site).collect()
    };
    assert_eq!(sites(targeting("all-linear")).len(), 14);
    let both = sites(targeting("lm_head,embed_tokens,q_proj"));
    assert_eq!(both.len(), 4);
    assert_eq!((both[0], both[3]), (Site::Embedding, Site::Head));
    let chosen = LoraConfig {
        layers_to_transform: Some(vec![1]),
        ..targeting("embed_tokens,lm_head,q_proj")
    };
    assert_eq!(sites(chosen).len(), 1);
}

#[test]
fn a_new_adapter_is_pefts_and_changes_nothing() {
    let rows = dolly_mini(2);
    let mut model = model(DType::F32);
    let before = last_logits(&model, &rows);
    let config = || targeting("embed_tokens,lm_head,v_proj");
    let new = |init| Adapter::init_as(init, &base("tiny-model"), DType::F32, config(), 5).unwrap();
    let inits = [
        InitLoraWeights::Default,
        InitLoraWeights::Gaussian,
        InitLoraWeights::Orthogonal,
    ];
    for start in inits.map(new) {
        let embedding = start.pair(Site::Embedding).unwrap();
        assert!(values(&embedding.a).iter().all(|a| *a == 0.0));
        let b = values(&embedding.b);
        let square: f32 = b.iter().map(|b| b * b).sum();
        let deviation = (square / b.len() as f32).sqrt();
        assert!((0.85..1.15).contains(&deviation), "{deviation}");
        start.attach(&mut model).unwrap();
        let far = distance(&last_logits(&model, &rows), &before);
        assert!(far < 1e-4, "{far}");
    }
    let plain = Adapter::init(model.config(), config(), 5).unwrap();
    plain.attach(&mut model).unwrap();
    assert_eq!(distance(&last_logits(&model, &rows), &before), 0.0);
}

#[test]
fn one_table_serves_both_until_a_merge_and_again_after_it_is_undone() {
    let rows = dolly_mini(2);
    let mut model = model(DType::F32);
    let before = last_logits(&model, &rows);
    let names = |model: &lora::smollm_model::Llama| model.named_weights().len();
    let tied = names(&model);
    for variant in ["embed", "head", "embed_head"] {
        let adapter = Adapter::load(folder(variant)).unwrap();
        assert!(model.config().tie_word_embeddings);
        let merged = adapter.merge_into(&mut model).unwrap();
        assert!(!model.config().tie_word_embeddings, "{variant}");
        assert_eq!(names(&model), tied + 1, "{variant}");
        merged.undo(&mut model);
        assert!(model.config().tie_word_embeddings, "{variant}");
        assert_eq!(names(&model), tied);
        assert_eq!(distance(&last_logits(&model, &rows), &before), 0.0);
    }
    // One that touches neither leaves them tied.
    let other = Adapter::load(folder("rslora")).unwrap();
    other.merge_into(&mut model).unwrap();
    assert!(model.config().tie_word_embeddings);
}

#[test]
fn an_adapter_of_one_leaves_the_other_alone() {
    let head = Adapter::load(folder("head")).unwrap();
    let mut model = model(DType::F32);
    let table = model.at(Site::Embedding).weight.clone();
    head.merge_into(&mut model).unwrap();
    assert_eq!(distance(&model.at(Site::Embedding).weight, &table), 0.0);
    assert!(distance(&model.at(Site::Head).weight, &table) > 0.01);
    detach(&mut model);
}

/// A copy of an adapter's folder with other tensors.
fn with_tensors(from: &Path, to: &Path, tensors: &BTreeMap<String, Tensor>) {
    std::fs::copy(from.join(lora::CONFIG_FILE), to.join(lora::CONFIG_FILE)).unwrap();
    let map = tensors.clone().into_iter().collect();
    candle_core::safetensors::save(&map, to.join(lora::WEIGHTS_FILE)).unwrap();
}

#[test]
fn base_matrices_that_peft_saves_are_taken_where_they_are_the_bases_own() {
    let from = folder("embed_head");
    let names = tensors("goldens/lora_variants/embed_head/adapter_model.safetensors");
    let table = "base_model.model.model.embed_tokens.base_layer.weight";
    assert!(names.contains_key(table));
    let adapter = Adapter::load(&from).unwrap();
    // Ours to use are the factors alone, and alone they are written.
    assert_eq!(adapter.tensors().len(), 8);
    for file in ["tiny-model", "tiny-model-q8_0.gguf", "tiny-model-q4_0.gguf"] {
        adapter.check_base(&base(file)).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let load = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut changed = names.clone();
        change(&mut changed);
        with_tensors(&from, dir.path(), &changed);
        Adapter::load(dir.path())
    };
    // A row that somebody trained, and a table in another order.
    let row = Tensor::ones((1, 96), DType::F32, &Device::Cpu).unwrap();
    let trained = load(&|all| {
        let rest = all[table].narrow(0, 1, 1236).unwrap();
        let changed = Tensor::cat(&[&row, &rest], 0).unwrap();
        all.insert(table.into(), changed);
    });
    let error = trained.unwrap().check_base(&base("tiny-model"));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("96 of 118752 numbers differ"), "{error}");
    let turned = load(&|all| {
        let order: Vec<u32> = (0..1237).rev().collect();
        let order = Tensor::new(order, &Device::Cpu).unwrap();
        let changed = all[table].index_select(&order, 0).unwrap();
        all.insert(table.into(), changed);
    });
    let error = turned.unwrap().check_base(&base("tiny-model-q4_0.gguf"));
    assert!(
        matches!(error, Err(LoraError::SavedBase { .. })),
        "{error:?}"
    );
    // What cannot be true: rows that the factors have no columns for, a matrix beside no adapter.
    let short = load(&|all| {
        let changed = all[table].narrow(0, 0, 1000).unwrap();
        all.insert(table.into(), changed);
    });
    let error = short.unwrap_err().to_string();
    assert!(
        error.contains(table) && error.contains("[1237, 96]"),
        "{error}"
    );
    let beside_none = load(&|all| {
        all.retain(|name, _| !name.contains("lora_embedding"));
    });
    let error = beside_none.unwrap_err().to_string();
    assert!(error.contains("lora_embedding_A"), "{error}");
    let of_a_block = load(&|all| {
        let name = "base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight";
        all.insert(name.into(), row.clone());
    });
    assert!(of_a_block.is_err());
}

#[test]
fn what_has_no_place_for_them_is_refused_by_name() {
    let model = model(DType::F32);
    let dora = LoraConfig {
        use_dora: true,
        ..targeting("q_proj,embed_tokens")
    };
    let checkpoint = base("tiny-model");
    let start = |init, config| Adapter::init_as(init, &checkpoint, DType::F32, config, 1);
    let error = start(InitLoraWeights::Default, dora)
        .unwrap_err()
        .to_string();
    assert!(error.contains("leave embed_tokens out"), "{error}");
    for init in [
        InitLoraWeights::Pissa,
        InitLoraWeights::PissaNiter(2),
        InitLoraWeights::Olora,
    ] {
        for module in ["lm_head", "embed_tokens"] {
            let error = start(init, targeting(module)).unwrap_err().to_string();
            assert!(error.contains("leave the two out"), "{error}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["embed_tokens", "lm_head"] {
        let adapter = Adapter::init(model.config(), targeting(name), 1).unwrap();
        let error = adapter.save_mlx(dir.path(), 2).unwrap_err().to_string();
        assert!(
            error.contains(name) && error.contains("merge it"),
            "{error}"
        );
    }
}

#[test]
fn portable_adapters_keep_them() {
    let rows = dolly_mini(2);
    let golden = tensors("goldens/lora_variants/embed_head/first.safetensors");
    let adapter = Adapter::load(folder("embed_head")).unwrap();
    let portable = adapter.portable(2).unwrap();
    assert_eq!(
        portable.config().target_modules.to_string(),
        "embed_tokens,q_proj,lm_head"
    );
    assert!(portable.config().rank_pattern.is_empty());
    let mut model = model(DType::F32);
    portable.attach(&mut model).unwrap();
    let far = distance(&last_logits(&model, &rows), &golden["last"]);
    assert!(far < 5e-5, "{far}");
}

#[test]
fn loraplus_gives_the_embedding_a_rate_of_its_own() {
    let config = TrainConfig {
        learning_rate: 1e-3,
        loraplus_lr_ratio: Some(16.0),
        loraplus_lr_embedding: Some(2e-4),
        ..TrainConfig::default()
    };
    for factor in [Factor::A, Factor::B] {
        let name = factor.tensor_name(Site::Embedding);
        assert!((config.rate_factor(&name) - 0.2).abs() < 1e-12);
    }
    assert_eq!(config.rate_factor(&Factor::B.tensor_name(Site::Head)), 16.0);
    let pefts = TrainConfig {
        loraplus_lr_embedding: None,
        ..config.clone()
    };
    let name = Factor::A.tensor_name(Site::Embedding);
    assert!((pefts.rate_factor(&name) - 1e-3).abs() < 1e-12);
    let plain = TrainConfig {
        loraplus_lr_ratio: None,
        ..pefts
    };
    assert_eq!(plain.rate_factor(&name), 1.0);
}

/// PEFT 0.21.2 lists both names in its file as they were given.
#[test]
fn names_are_written_as_pefts() {
    let golden = json("goldens/lora_variants/embed_head/adapter_config.json");
    let adapter = Adapter::load(folder("embed_head")).unwrap();
    let ours: serde_json::Value = serde_json::to_value(adapter.config()).unwrap();
    let sorted = |value: &serde_json::Value| {
        let names = value["target_modules"].as_array().unwrap().iter();
        let mut names: Vec<String> = names.map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(sorted(&ours), sorted(&golden));
    assert_eq!(self::adapter(&model(DType::F32), false).pairs().count(), 14);
}
