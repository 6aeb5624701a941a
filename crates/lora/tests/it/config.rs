//! `adapter_config.json` as PEFT 0.21.2 writes it (`tests/golden/peft_configs.json`).

use lora::{LoraConfig, LoraError, TargetModules};
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
    let all = peft("all_linear").unwrap().target_modules;
    assert_eq!(all, TargetModules::all_linear());
    assert_eq!(
        peft("one_name").unwrap().target_modules.to_string(),
        "q_proj"
    );
    assert_eq!(peft("default_init_off").unwrap(), plain);
    assert_eq!(peft("gaussian").unwrap(), plain);
}

#[test]
fn what_changes_the_arithmetic_is_refused_by_name() {
    for field in [
        "use_dora",
        "bias",
        "lora_bias",
        "modules_to_save",
        "rank_pattern",
        "alpha_pattern",
        "layers_to_transform",
        "fan_in_fan_out",
        "init_lora_weights",
        "exclude_modules",
        "target_parameters",
        "trainable_token_indices",
        "task_type",
    ] {
        let error = peft(field).unwrap_err();
        let named = matches!(&error, LoraError::Unsupported { field: f, .. } if f == field);
        assert!(named, "{field}: {error}");
    }
    for (name, module) in [("target_modules", "lm_head"), ("regex", ".*q_proj")] {
        let error = peft(name).unwrap_err().to_string();
        assert!(error.contains(module), "{error}");
    }
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
        base_model_name_or_path: Some("org/model".into()),
        ..LoraConfig::default()
    };
    let text = serde_json::to_string(&config).unwrap();
    assert!(text.contains(r#""lora_alpha":32,"#), "{text}");
    assert_eq!(serde_json::from_str::<LoraConfig>(&text).unwrap(), config);
}

#[test]
fn unknown_fields_are_skipped() {
    let json = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["o_proj"], "of_the_future": {"x": 1}}"#;
    assert_eq!(serde_json::from_str::<LoraConfig>(json).unwrap().r, 2);
}
