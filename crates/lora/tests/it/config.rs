//! `adapter_config.json` as PEFT 0.21.2 writes it (`tests/golden/peft_configs.json`).

use lora::{Bias, LoraConfig, LoraError, TargetModules};
use serde_json::{Map, Value};

fn peft(name: &str) -> Result<LoraConfig, LoraError> {
    let golden: Value = serde_json::from_str(include_str!("../golden/peft_configs.json")).unwrap();
    let fields: Map<String, Value> = golden["configs"][name].as_object().unwrap().clone();
    LoraConfig::try_from(fields)
}

#[test]
fn what_we_support_is_read() {
    let plain = peft("plain").unwrap();
    assert_eq!((plain.r, plain.lora_alpha, plain.scale()), (8, 32.0, 4.0));
    assert_eq!(plain.target_modules.to_string(), "q_proj,v_proj");
    assert!((peft("rslora").unwrap().scale() - 32.0 / 8f64.sqrt()).abs() < 1e-15);
    assert!(peft("use_dora").unwrap().use_dora && !plain.use_dora);
    let all = peft("all_linear").unwrap().target_modules;
    assert_eq!(all, TargetModules::all_linear());
    assert_eq!(
        peft("one_name").unwrap().target_modules.to_string(),
        "q_proj"
    );
    let with_head = peft("target_modules").unwrap();
    assert_eq!(with_head.target_modules.to_string(), "q_proj,lm_head");
    assert_eq!(peft("default_init_off").unwrap(), plain);
    assert_eq!(peft("gaussian").unwrap(), plain);
    let bias = peft("bias").unwrap();
    assert_eq!(bias.bias, Bias::LoraOnly);
    assert_eq!(
        LoraConfig {
            bias: Bias::None,
            ..bias
        },
        plain
    );
}

#[test]
fn what_changes_the_arithmetic_is_refused_by_name() {
    for field in [
        "lora_bias",
        "modules_to_save",
        "fan_in_fan_out",
        "init_lora_weights",
        "target_parameters",
        "trainable_token_indices",
        "task_type",
    ] {
        let error = peft(field).unwrap_err();
        let named = matches!(&error, LoraError::Unsupported { field: f, .. } if f == field);
        assert!(named, "{field}: {error}");
    }
    let error = "q_proj,wte".parse::<TargetModules>().unwrap_err();
    assert!(error.to_string().contains("wte"), "{error}");
}

/// Where a config puts adapters in two layers, as `layer.projection`, with rank and alpha.
fn places(config: &LoraConfig) -> Vec<String> {
    let sites = config.sites(2).unwrap().into_iter();
    let shown = |(site, shape): (lora::Site, lora::Shape)| {
        let alpha = shape.scale * shape.rank as f64;
        let name = site.module().name().trim_end_matches("_proj");
        let layer = site
            .layer()
            .map_or_else(String::new, |layer| format!("{layer}."));
        format!("{layer}{name} {} {alpha}", shape.rank)
    };
    sites.map(shown).collect()
}

#[test]
fn pefts_ways_to_choose_modules_are_read_and_come_back() {
    for (name, expected) in [
        (
            "rank_pattern",
            &["0.q 4 32", "0.v 8 32", "1.q 4 32", "1.v 8 32"][..],
        ),
        (
            "alpha_pattern",
            &["0.q 8 4", "0.v 8 32", "1.q 8 4", "1.v 8 32"],
        ),
        ("layers_to_transform", &["0.q 8 32", "0.v 8 32"]),
        ("exclude_modules", &["0.q 8 32", "1.q 8 32"]),
        ("exclude_regex", &["0.q 8 32", "1.q 8 32"]),
        ("regex", &["0.q 8 32", "1.q 8 32"]),
        ("endings", &["0.q 8 32", "1.q 8 32", "1.up 8 32"]),
        (
            "patterns",
            &["0.q 4 1.5", "0.v 2 1.5", "1.q 4 32", "1.v 2 32"],
        ),
    ] {
        let config = peft(name).unwrap();
        assert_eq!(places(&config), expected, "{name}");
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<LoraConfig>(&text).unwrap(), config);
    }
    let layer = peft("layer").unwrap();
    assert_eq!(layer.layers_to_transform, Some(vec![3]));
    let error = layer.sites(2).unwrap_err();
    assert!(matches!(error, LoraError::NoSite { layers: 2, .. }));
}

#[test]
fn nonsense_is_refused_by_name() {
    let with = |json: &str| {
        serde_json::from_str::<LoraConfig>(json)
            .unwrap_err()
            .to_string()
    };
    let rest = r#""peft_type": "LORA", "target_modules": ["q_proj"]"#;
    for (json, word) in [
        ("{}".to_string(), "peft_type"),
        (r#"{"peft_type": "LOHA"}"#.into(), "LOHA"),
        (r#"{"peft_type": "LORA"}"#.into(), "target_modules"),
        (
            r#"{"peft_type": "LORA", "target_modules": []}"#.into(),
            "target module",
        ),
        (format!(r#"{{{rest}, "r": 0}}"#), "`r`"),
        (format!(r#"{{{rest}, "r": -8}}"#), "`r`"),
        (format!(r#"{{{rest}, "r": 1.5}}"#), "`r`"),
        (format!(r#"{{{rest}, "lora_alpha": "x"}}"#), "`lora_alpha`"),
        (
            format!(r#"{{{rest}, "lora_dropout": 1}}"#),
            "`lora_dropout`",
        ),
        (format!(r#"{{{rest}, "use_rslora": 1}}"#), "`use_rslora`"),
        (
            format!(r#"{{{rest}, "rank_pattern": {{"q": 0}}}}"#),
            "`rank_pattern`",
        ),
        (
            format!(r#"{{{rest}, "rank_pattern": {{"(": 1}}}}"#),
            "`rank_pattern`",
        ),
        (
            format!(r#"{{{rest}, "alpha_pattern": [1]}}"#),
            "`alpha_pattern`",
        ),
        (
            format!(r#"{{{rest}, "layers_to_transform": [-1]}}"#),
            "`layers_to_transform`",
        ),
        (
            format!(r#"{{{rest}, "layers_to_transform": 100000}}"#),
            "`layers_to_transform`",
        ),
        (
            format!(r#"{{{rest}, "exclude_modules": {{}}}}"#),
            "`exclude_modules`",
        ),
        (
            r#"{"peft_type": "LORA", "target_modules": ".*q_proj", "layers_to_transform": [0]}"#
                .into(),
            "`layers_to_transform`",
        ),
        (
            r#"{"peft_type": "LORA", "target_modules": "(q"}"#.into(),
            "target_modules",
        ),
    ] {
        let error = with(&json);
        assert!(error.contains(word), "{json}: {error}");
    }
}

#[test]
fn what_we_write_we_read_and_integers_stay_integers() {
    let config = LoraConfig {
        r: 4,
        target_modules: TargetModules::all_linear(),
        use_rslora: true,
        use_dora: true,
        base_model_name_or_path: Some("org/model".into()),
        ..LoraConfig::default()
    };
    let text = serde_json::to_string(&config).unwrap();
    assert!(text.contains(r#""lora_alpha":32,"#), "{text}");
    assert_eq!(serde_json::from_str::<LoraConfig>(&text).unwrap(), config);
}

#[test]
fn the_word_for_bias_is_kept_and_another_one_refused() {
    let with = |word: &str| {
        let json = format!(
            r#"{{"peft_type": "LORA", "r": 2, "target_modules": ["o_proj"], "bias": {word}}}"#
        );
        serde_json::from_str::<LoraConfig>(&json)
    };
    for (word, bias) in [
        (r#""none""#, Bias::None),
        (r#""all""#, Bias::All),
        (r#""lora_only""#, Bias::LoraOnly),
    ] {
        let config = with(word).unwrap();
        assert_eq!(config.bias, bias);
        let written = serde_json::to_string(&config).unwrap();
        assert!(written.contains(&format!(r#""bias":{word}"#)), "{written}");
    }
    for word in [r#""some""#, "true"] {
        let error = with(word).unwrap_err().to_string();
        assert!(
            error.contains("bias") && error.contains("lora_only"),
            "{error}"
        );
    }
}

#[test]
fn unknown_fields_are_skipped() {
    let json = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["o_proj"], "of_the_future": {"x": 1}}"#;
    assert_eq!(serde_json::from_str::<LoraConfig>(json).unwrap().r, 2);
}
