//! `run` and `quickstart`: the whole pipeline, its memory, its outcome.

use std::path::PathBuf;

use serde_json::Value;

use crate::Bench;

const CONFIG: &str = r#"
out = "done"
[data]
test = 6
train = 12
[generate]
max_new_tokens = 8
[train]
accumulation = 4
lora_r = 4
lr = 1e-3
"#;

const LINE: &str = "run --config smoltune.toml --model_name {fixtures}/tiny-model \
    --source {fixtures}/dolly-mini.jsonl";

fn skipped(stderr: &[u8]) -> usize {
    String::from_utf8_lossy(stderr).matches(", skipped").count()
}

#[test]
fn a_run_leaves_a_table_a_report_and_a_record_and_is_not_repeated() {
    let bench = Bench::new();
    bench.write("smoltune.toml", CONFIG);
    let first = bench.run(LINE).success();
    let stdout = String::from_utf8_lossy(&first.get_output().stdout).into_owned();
    assert!(stdout.starts_with("6 held-out questions"), "{stdout}");
    assert!(
        stdout.contains("token F1") && stdout.contains("report.html"),
        "{stdout}"
    );
    assert!(
        stdout.contains("Elsewhere, on 12 texts that it was not tuned for"),
        "{stdout}"
    );
    assert_eq!(skipped(&first.get_output().stderr), 0);
    for file in [
        "report.html",
        "comparison.json",
        "guard.json",
        "guard.json.manifest.json",
        "smoltune.toml",
        "data/manifest.json",
    ] {
        assert!(bench.path("done").join(file).is_file(), "{file}");
    }
    assert_eq!(
        bench.lines("done/adapter/train_log.jsonl").len(),
        3,
        "12 rows, 4 a step"
    );
    let adapter = std::fs::read(bench.path("done/adapter/adapter_model.safetensors")).unwrap();

    let second = bench.run(LINE).success();
    assert_eq!(skipped(&second.get_output().stderr), 8);
    assert_eq!(stdout, String::from_utf8_lossy(&second.get_output().stdout));

    // Another learning rate: only what depends on it is done again.
    let third = bench.run(&format!("{LINE} --lr 5e-3")).success();
    assert_eq!(
        skipped(&third.get_output().stderr),
        3,
        "prepare, baseline and its scores"
    );
    let changed = std::fs::read(bench.path("done/adapter/adapter_model.safetensors")).unwrap();
    assert_ne!(adapter, changed);

    // The first again: the same bytes.
    bench.run(LINE).success();
    let again = std::fs::read(bench.path("done/adapter/adapter_model.safetensors")).unwrap();
    assert_eq!(adapter, again);
}

#[test]
fn what_was_moved_elsewhere_stands_beside_the_gain_unless_it_is_left_out() {
    let bench = Bench::new();
    bench.write("smoltune.toml", CONFIG);
    bench.write(
        "mine.txt",
        "A river bends.\n---\nSeven under paper light.\n",
    );
    let outcome = bench.json(&format!(
        "{LINE} --set guard.text=mine.txt --set guard.tokens=8"
    ));
    let elsewhere = &outcome["comparison"]["elsewhere"];
    let guard = std::fs::read_to_string(bench.path("done/guard.json")).unwrap();
    assert_eq!(elsewhere, &serde_json::from_str::<Value>(&guard).unwrap());
    assert_eq!(elsewhere["texts"][1]["name"], "text 2");
    assert!(elsewhere["kl"].as_f64().unwrap() > 0.0);
    let page = std::fs::read_to_string(bench.path("done/report.html")).unwrap();
    assert!(page.contains("<h2>Elsewhere</h2>"));

    // Left out: neither the step nor a word of it, and only the comparison is made again.
    let stderr = bench.run(&format!("{LINE} --no-guard")).success();
    let stderr = String::from_utf8_lossy(&stderr.get_output().stderr).into_owned();
    assert!(stderr.contains("[7/7]"), "{stderr}");
    assert_eq!(stderr.matches(", skipped").count(), 6, "{stderr}");
    let page = std::fs::read_to_string(bench.path("done/report.html")).unwrap();
    assert!(!page.contains("Elsewhere"));
    let left = bench.files_named("done", "guard");
    assert_eq!(
        left,
        Vec::<PathBuf>::new(),
        "nothing to take for this run's"
    );
    let without = bench.json(&format!("{LINE} --set guard.enabled=false"));
    assert!(without["comparison"].get("elsewhere").is_none());
    // Measured again when it is wanted again.
    let stderr = bench.run(LINE).success();
    let stderr = String::from_utf8_lossy(&stderr.get_output().stderr).into_owned();
    assert_eq!(stderr.matches(", skipped").count(), 6, "{stderr}");
    assert!(bench.path("done/guard.json").is_file());
}

#[test]
fn a_run_goes_on_from_an_adapter_beside_the_adapters_own_base() {
    let bench = Bench::new();
    bench.write("smoltune.toml", CONFIG);
    bench
        .run(&format!("{LINE} --system Be-brief. --lr 5e-2"))
        .success();
    let weights = |folder: &str| {
        let path = bench.path(folder).join("adapter/adapter_model.safetensors");
        std::fs::read(path).unwrap()
    };
    let first = weights("done");
    let on = "run --config smoltune.toml --model done/adapter --source {fixtures}/dolly-mini.jsonl";
    let outcome = bench.json(&format!("{on} --out next --lr 5e-3 --set train.lora_r=16"));
    assert_eq!(outcome["comparison"]["n"], 6);

    // Before is the adapter as it is, under its own system prompt; after is another one with its shape and its base.
    let answers = |file: &str| {
        let lines = bench.lines(file).into_iter();
        let answer = |line: Value| line["prediction"].as_str().unwrap().to_owned();
        lines.map(answer).collect::<Vec<_>>()
    };
    let tuned = answers("done/tuned/predictions.jsonl");
    assert_eq!(answers("next/baseline/predictions.jsonl"), tuned);
    assert_ne!(answers("done/baseline/predictions.jsonl"), tuned);
    assert_eq!(weights("done"), first);
    assert_ne!(weights("next"), first);
    assert_eq!(weights("next").len(), first.len(), "rank 4, as it was");
    let read = |file: &str| -> Value {
        serde_json::from_slice(&std::fs::read(bench.path(file)).unwrap()).unwrap()
    };
    let base = |folder: &str| {
        let config = read(&format!("{folder}/adapter/adapter_config.json"));
        config["base_model_name_or_path"].clone()
    };
    assert_eq!(base("next"), base("done"));
    assert_eq!(
        read("next/adapter/manifest.json")["arguments"]["system"],
        "Be-brief."
    );
    let guard = read("next/guard.json");
    assert!(guard["adapter"].as_str().unwrap().ends_with("next/adapter"));

    // And again: nothing to do.
    let again = bench.run(&format!("{on} --out next --lr 5e-3 --set train.lora_r=16"));
    assert_eq!(skipped(&again.success().get_output().stderr), 8);

    let message = bench.fails(&format!("{on} --out other --system Be-kind."), 2);
    assert!(message.contains("model.system"), "{message}");
    assert!(
        !bench.path("other").exists(),
        "refused before anything is run"
    );
    for over in [
        on.to_owned(),
        format!("{LINE} --set train.init_adapter=done/adapter"),
    ] {
        let message = bench.fails(&format!("{over} --out done"), 2);
        assert!(
            message.contains("--out") && message.contains("adapter_"),
            "{message}"
        );
        assert_eq!(weights("done"), first);
    }
}

#[test]
fn a_lost_file_is_made_again_and_an_interrupted_generate_goes_on() {
    let bench = Bench::new();
    bench.write("smoltune.toml", CONFIG);
    bench.run(LINE).success();
    let answers = bench.path("done/tuned/predictions.jsonl");
    let whole = std::fs::read_to_string(&answers).unwrap();
    std::fs::remove_file(&answers).unwrap();
    let done = bench.run(LINE).success();
    // What follows from the answers has not changed, since the answers are the same again.
    assert_eq!(skipped(&done.get_output().stderr), 7);
    assert_eq!(std::fs::read_to_string(&answers).unwrap(), whole);
}

#[test]
fn run_json_is_one_object() {
    let bench = Bench::new();
    bench.write("smoltune.toml", CONFIG);
    let outcome = bench.json(LINE);
    for key in [
        "folder",
        "report",
        "before",
        "after",
        "comparison",
        "seconds",
    ] {
        assert!(!outcome[key].is_null(), "{key}");
    }
    assert_eq!(outcome["comparison"]["n"], 6);
    let before = &outcome["before"]["all"]["f1"];
    assert_eq!(before, &outcome["comparison"]["metrics"]["f1"]["before"]);
}

#[test]
fn quickstart_offline_needs_nothing_and_says_what_it_took() {
    let bench = Bench::new();
    let done = bench
        .run("quickstart --offline --test 4 --train 8 --max-new-tokens 4")
        .success();
    let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(
        stderr.contains("tiny model inside this program"),
        "{stderr}"
    );
    assert!(stderr.contains("rows inside this program"), "{stderr}");
    assert!(bench.path("runs/quickstart/report.html").is_file());
    let choices = std::fs::read_to_string(bench.path("runs/quickstart/quickstart.json")).unwrap();
    assert!(choices.contains("instead_of"), "{choices}");
}

#[test]
fn quickstart_chooses_only_what_neither_flags_nor_the_preset_say() {
    let bench = Bench::new();
    let small = "--test 4 --train 8 --max-new-tokens 4 --no-guard";
    // The hub is out of reach, which is told of the preset's rows and not made up for with others.
    let message = bench.fails(
        &format!("quickstart --model {{fixtures}}/tiny-model --preset original {small}"),
        1,
    );
    let told = "rows: as the preset original says (argilla/databricks-dolly-15k-curated-en)";
    assert!(message.contains(told), "{message}");
    // A flag beats the preset, whichever way it is spelt; and --offline is one.
    let rows = "{fixtures}/dolly-mini.csv";
    for (flags, told) in [
        (
            format!("--preset original --source {rows} --offline"),
            "rows: as you asked",
        ),
        (
            format!("--preset original --offline --set data.source={rows}"),
            "rows: as you asked",
        ),
        (
            "--preset original --offline".into(),
            "rows: 248 Dolly-like rows inside this program",
        ),
    ] {
        let line = format!("quickstart --set model.name={{fixtures}}/tiny-model {flags} {small}");
        let done = bench.run(&line).success();
        let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(stderr.contains(told), "{flags}: {stderr}");
        assert!(stderr.contains("model: as you asked"), "{flags}: {stderr}");
        let used = std::fs::read_to_string(bench.path("runs/quickstart/smoltune.toml")).unwrap();
        let source = if flags.contains("dolly-mini.csv") {
            "dolly-mini.csv\""
        } else {
            "dolly-mini.jsonl\""
        };
        assert!(used.contains(source), "{used}");
        assert!(
            used.contains("lora_alpha = 32.0"),
            "the preset's others count: {used}"
        );
    }
}

#[test]
fn a_wrong_configuration_is_wrong_usage_and_names_the_key() {
    let bench = Bench::new();
    bench.write("a.toml", "[train]\nlearning_rate = 1.0\n");
    let message = bench.fails("run --config a.toml", 2);
    assert!(
        message.contains("a.toml") && message.contains("learning_rate"),
        "{message}"
    );
    bench.write("b.toml", "[data]\ntest = \"many\"\n");
    assert!(bench.fails("run --config b.toml", 2).contains("test"));
    assert!(
        bench
            .fails("run --set train.lora_r=0", 2)
            .contains("train.lora_r")
    );
    assert!(
        bench
            .fails("run --config nowhere.toml", 3)
            .contains("nowhere.toml")
    );
    bench.write("c.toml", [0xff, 0xfe]);
    assert!(bench.fails("run --config c.toml", 3).contains("c.toml"));
    assert!(!bench.path("runs").exists(), "nothing is begun");
}
