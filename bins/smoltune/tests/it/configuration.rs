//! `smoltune.toml`: what `init` writes, what is refused, which of two values counts.

use crate::Bench;

#[test]
fn init_writes_a_file_that_says_what_its_preset_says() {
    let bench = Bench::new();
    let shown = bench.succeeds("init --preset quality");
    assert!(shown.contains("smoltune.toml"), "{shown}");
    let text = std::fs::read_to_string(bench.path("smoltune.toml")).unwrap();
    for part in [
        "preset = \"quality\"",
        "#lr = 5e-4",
        "# Peak of the learning rate",
        "(shuffled, bucketed, packed)",
        "# max_steps is not set; a whole number",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let of_file = bench.succeeds("run --config smoltune.toml --show-config");
    assert_eq!(
        of_file,
        bench.succeeds("run --preset quality --show-config")
    );

    let message = bench.fails("init --preset fast", 2);
    assert!(
        message.contains("smoltune.toml") && message.contains("--force"),
        "{message}"
    );
    assert_eq!(
        std::fs::read_to_string(bench.path("smoltune.toml")).unwrap(),
        text
    );
    bench.succeeds("init --preset fast --force");
    assert!(
        bench
            .fails("init --preset fastest other.toml", 2)
            .contains("did you mean fast?")
    );
    assert!(!bench.path("other.toml").exists());
    assert!(
        bench
            .fails("init nowhere/smoltune.toml", 1)
            .contains("nowhere")
    );
}

#[test]
fn an_unknown_name_is_told_with_its_file_its_line_and_what_was_meant() {
    let bench = Bench::new();
    for (text, told) in [
        (
            "[train]\n\nlearning_rate = 1.0\n",
            "a.toml: line 3: unknown key train.learning_rate; did you mean train.lr?",
        ),
        (
            "out = \"x\"\n[trian]\nlr = 1.0\n",
            "a.toml: line 2: unknown section [trian]; did you mean [train]?",
        ),
        (
            "lr = 1.0\n",
            "line 1: unknown key lr; did you mean train.lr?",
        ),
        (
            "[model]\nname = \"m\"\n[sweep.grid]\nlora_rank = [8]\n",
            "line 4: unknown key sweep.grid.lora_rank; did you mean train.lora_r?",
        ),
        ("[train]\nlr = \"fast\"\n", "line 2"),
        ("[train]\nlr = \n", "line 2"),
        ("preset = \"qualty\"\n", "did you mean quality?"),
        (
            "[train]\nbatching = \"bucket\"\n",
            "train.batching: invalid value 'bucket'",
        ),
    ] {
        bench.write("a.toml", text);
        let message = bench.fails("run --config a.toml", 2);
        assert!(message.contains(told), "{text}: {message}");
    }
    let message = bench.fails("run --set trian.lr=1", 2);
    assert!(message.contains("did you mean [train]?"), "{message}");
    assert!(!bench.path("runs").exists(), "nothing is begun");
}

#[test]
fn every_key_of_train_and_generate_reaches_its_stage() {
    let bench = Bench::new();
    bench.write(
        "all.toml",
        r#"
out = "done"
[model]
dtype = "bf16"
system = "Be brief."
[data]
source = "{fixtures}/dolly-mini.jsonl"
test = 3
train = 8
val = 4
near_threshold = 0.9
[generate]
max_new_tokens = 4
temperature = 0.7
top_k = 20
top_p = 0.9
min_p = 0.01
best_of = 2
repetition_penalty = 1.1
stop = ["\n\n", "Question:"]
dtype = "f32"
kv_dtype = "q8_0"
batch_size = 2
threads = 2
check_batch = 1
[train]
max_steps = 2
lr = 1e-3
lr_schedule = "warmup_stable_decay"
warmup_steps = 1
decay_steps = 1
loraplus_lr_ratio = 4
loraplus_lr_embedding = 1e-5
accumulation = 2
shuffle = false
lora_r = 4
target_modules = ["all-linear"]
exclude_modules = ["down_proj"]
layers_to_transform = [0, 1]
rank_pattern = ["q_proj=2", "(k|v)_proj=3"]
alpha_pattern = ["q_proj=8"]
rslora = true
use_dora = true
engine = "packed"
checkpointing = "block"
eval_steps = 1
save_steps = 1
save_total_limit = 1
load_best_model_at_end = true
early_stopping_patience = 5
[compare]
resamples = 500
margin = 0.1
"#
        .replace("{fixtures}", crate::fixtures().to_str().unwrap()),
    );
    bench.succeeds("run --config all.toml --model {fixtures}/tiny-model");
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(bench.path(name)).unwrap()).unwrap()
    };
    let asked = &read("done/adapter/manifest.json")["arguments"];
    for (key, value) in [
        ("lr_schedule", "warmup_stable_decay".into()),
        ("warmup_steps", 1.into()),
        ("decay_steps", 1.into()),
        ("loraplus_lr_ratio", 4.0.into()),
        ("loraplus_lr_embedding", 1e-5.into()),
        ("shuffle", false.into()),
        ("rslora", true.into()),
        ("use_dora", true.into()),
        ("eval_steps", 1.into()),
        ("load_best_model_at_end", true.into()),
        ("early_stopping_patience", 5.into()),
        ("dtype", "bf16".into()),
        ("system", "Be brief.".into()),
        ("exclude_modules", "down_proj".into()),
        ("layers_to_transform", vec![0, 1].into()),
        (
            "rank_pattern",
            serde_json::json!({"q_proj": 2, "(k|v)_proj": 3}),
        ),
        ("alpha_pattern", serde_json::json!({"q_proj": 8.0})),
    ] {
        assert_eq!(asked[key], value, "{key}: {asked}");
    }
    let step = read("done/steps/tuned.json")["arguments"]["command"].to_string();
    for flag in [
        "--top-k",
        "--min-p",
        "--best-of",
        "--kv-dtype",
        "--repetition-penalty",
        "Question:",
    ] {
        assert!(step.contains(flag), "{flag}: {step}");
    }
    assert!(step.contains(r#""--dtype","f32""#), "{step}");
    assert!(bench.path("done/adapter/checkpoint-2").is_dir());
}
