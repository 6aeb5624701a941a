//! `sweep`: what is trained, how it is ranked, what happens on the test rows, what a second run does.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Bench, fixtures};

const CONFIG: &str = r#"
out = "out"
[data]
test = 4
train = 12
val = 6
[generate]
max_new_tokens = 6
[train]
accumulation = 4
lora_r = 4
save_steps = 2
max_steps = 6
[sweep]
seeds = [1, 2]
[sweep.grid]
lr = [1e-5, 1e-2]
"#;

const LINE: &str = "sweep --config sweep.toml --model_name {fixtures}/tiny-model \
    --source {fixtures}/dolly-mini.jsonl";

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("sweep.toml", CONFIG);
    bench
}

fn read(bench: &Bench, name: &str) -> Value {
    let text = std::fs::read_to_string(bench.path(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn text(bench: &Bench, name: &str) -> String {
    std::fs::read_to_string(bench.path(name)).unwrap()
}

/// Standard output and standard error.
fn said(bench: &Bench, line: &str) -> (String, String) {
    let done = bench.run(line).success();
    let output = done.get_output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn trained(stderr: &str) -> usize {
    stderr.matches(": smoltune train ").count()
}

#[test]
fn a_dry_run_lists_and_touches_nothing() {
    let bench = bench();
    let listed = bench.succeeds(&format!(
        "{LINE} --dry-run --lora-r 2,4 --target-modules q_proj,v_proj"
    ));
    assert!(
        listed.starts_with("4 recipes with 2 seeds: 8 trainings"),
        "{listed}"
    );
    assert_eq!(listed.lines().count(), 9, "{listed}");
    assert!(
        listed.contains("lora_r=2 lr=0.00001 target_modules=q_proj,v_proj, seed 2: out/cells/"),
        "{listed}"
    );
    assert!(!bench.path("out").exists());
    assert!(bench.fails("sweep --lr 1e-4 --val 0", 2).contains("--val"));
    assert!(bench.fails("sweep --val 3", 2).contains("--lr"));
    let from = "--set train.init_adapter={fixtures}/goldens/lora_step --lora-r 4,8";
    let message = bench.fails(&format!("{LINE} {from}"), 2);
    assert!(
        message.contains("sweep.grid.lora_r is decided by the adapter"),
        "{message}"
    );
    assert!(
        bench
            .fails(&format!("{LINE} --grid lora_rank=1,2"), 2)
            .contains("did you mean train.lora_r?")
    );
}

#[test]
fn cells_share_one_loaded_base_and_have_the_bytes_of_runs_of_their_own() {
    for engine in ["packed", "autograd"] {
        let bench = bench();
        let line = format!("{LINE} --set train.engine={engine} --set train.save_steps=9");
        let (_, stderr) = said(&bench, &format!("{line} --lora-r 2,4 --no-test"));
        assert_eq!(trained(&stderr), 8);
        assert_eq!(
            stderr.matches("the base model is loaded already").count(),
            7
        );
        let commands = stderr
            .lines()
            .filter_map(|line| line.split_once(": smoltune "));
        let commands = commands.filter(|(_, words)| words.starts_with("train "));
        for (_, words) in commands {
            let (_, after) = words.split_once("--output-dir ").unwrap();
            let folder = after.split(' ').next().unwrap();
            let alone = words.replace(folder, "alone").replace('\'', "");
            bench.succeeds(&alone);
            let read = |folder: &str| {
                std::fs::read(bench.path(folder).join("adapter_model.safetensors")).unwrap()
            };
            assert_eq!(read("alone"), read(folder), "{alone}");
            std::fs::remove_dir_all(bench.path("alone")).unwrap();
        }
    }
    // Ranked by answers, each cell makes room for the model that answers.
    let bench = bench();
    let (_, stderr) = said(&bench, &format!("{LINE} --metric f1 --no-test"));
    assert_eq!(trained(&stderr), 4);
    assert!(!stderr.contains("loaded already"), "{stderr}");
}

#[test]
fn recipes_are_ranked_by_validation_loss_and_the_winner_meets_the_test_rows_once() {
    let bench = bench();
    let (stdout, stderr) = said(&bench, LINE);
    assert_eq!(trained(&stderr), 4);
    let sweep = read(&bench, "out/sweep.json");
    let recipes = sweep["recipes"].as_array().unwrap();
    assert_eq!(sweep["winner"], recipes[0]["name"]);
    for recipe in recipes {
        let mut sum = 0.0;
        for run in recipe["runs"].as_array().unwrap() {
            let manifest = read(
                &bench,
                &format!("{}/manifest.json", run["adapter"].as_str().unwrap()),
            );
            assert_eq!(run["score"], manifest["facts"]["eval_loss"]);
            assert_eq!(run["seed"], manifest["seeds"]["seed"]);
            assert_eq!(recipe["train"]["lr"], manifest["arguments"]["lr"]);
            sum += run["score"].as_f64().unwrap();
        }
        assert!((recipe["mean"].as_f64().unwrap() - sum / 2.0).abs() < 1e-12);
    }
    assert!(recipes[0]["mean"].as_f64().unwrap() < recipes[1]["mean"].as_f64().unwrap());
    assert_eq!(
        recipes[0]["name"], "lr=0.01",
        "a tiny model learns little at 1e-5"
    );
    assert!(recipes[0]["behind"].is_null() && recipes[1]["behind"].as_f64().unwrap() > 0.0);
    // The winner's two seeds, averaged, against the model as it was.
    assert_eq!(sweep["test"]["n"], 4);
    assert_eq!(sweep["test"], read(&bench, "out/test/comparison.json"));
    assert_eq!(
        read(&bench, "out/test/looks.json")
            .as_array()
            .unwrap()
            .len(),
        1
    );
    for (part, of) in [
        ("1. lr=0.01", &stdout),
        ("token F1", &stdout),
        ("sweep.html", &stdout),
    ] {
        assert!(of.contains(part), "{part}: {of}");
    }
    let page = text(&bench, "out/sweep.html");
    assert!(
        page.contains("lr=0.01") && page.contains("The winner on the test rows"),
        "{page}"
    );
    // No training or choice has seen the test rows.
    for entry in std::fs::read_dir(bench.path("out/steps")).unwrap() {
        let path = entry.unwrap().path();
        let record = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let may = name.starts_with("test-") || name == "prepare.json";
        assert!(may || !record.contains("test.jsonl"), "{name}: {record}");
    }

    // Again: nothing is done, the same is said.
    let (again, stderr) = said(&bench, LINE);
    assert_eq!((trained(&stderr), again), (0, stdout));
    assert_eq!(stderr.matches(", skipped").count(), 1 + 4 + 4, "{stderr}");
}

#[test]
fn a_wider_sweep_trains_what_is_new_and_does_not_look_at_the_test_rows_again() {
    let bench = bench();
    let narrow = format!("{LINE} --lr 1e-5 --seeds 1");
    let (stdout, _) = said(&bench, &narrow);
    assert!(stdout.contains("With one seed"), "{stdout}");
    assert!(bench.path("out/test/baseline.jsonl").is_file());
    let look = text(&bench, "out/test/seed-1.jsonl");

    let (stdout, stderr) = said(&bench, LINE);
    assert_eq!(trained(&stderr), 3);
    assert!(stderr.contains("--test-again"), "{stderr}");
    assert!(!stdout.contains("token F1"), "{stdout}");
    let sweep = read(&bench, "out/sweep.json");
    assert!(sweep["test"].is_null() && sweep["test_refused"].is_string());
    assert_eq!(text(&bench, "out/test/seed-1.jsonl"), look);
    assert!(text(&bench, "out/sweep.html").contains("were not looked at"));

    let (stdout, stderr) = said(&bench, &format!("{LINE} --test-again"));
    assert_eq!(trained(&stderr), 0);
    assert!(stdout.contains("token F1"), "{stdout}");
    assert_eq!(
        read(&bench, "out/test/looks.json")
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn answers_can_be_what_is_ranked_by_and_the_test_rows_can_wait() {
    let bench = bench();
    let sweep = bench.json(&format!("{LINE} --metric f1 --no-test"));
    assert_eq!(sweep["lower_is_better"], false);
    assert!(sweep["test"].is_null() && !bench.path("out/test").exists());
    let recipes = sweep["recipes"].as_array().unwrap();
    for recipe in recipes {
        for run in recipe["runs"].as_array().unwrap() {
            let folder = run["adapter"].as_str().unwrap();
            let scores = read(&bench, &format!("{folder}/val-scores.json"));
            assert_eq!(run["score"], scores["all"]["f1"]);
            assert_eq!(scores["all"]["n"], 6);
        }
    }
    assert!(recipes[0]["mean"].as_f64().unwrap() >= recipes[1]["mean"].as_f64().unwrap());
}

#[test]
fn killed_in_the_middle_it_goes_on_and_ends_with_the_same_bytes() {
    let long = format!("{LINE} --set train.max_steps=60");
    let whole = bench();
    whole.succeeds(&long);
    let bench = bench();
    let words = long
        .split_whitespace()
        .map(|word| word.replace("{fixtures}", fixtures().to_str().unwrap()));
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("smoltune"))
        .current_dir(bench.dir.path())
        .env("HF_HUB_OFFLINE", "1")
        .args(words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // In the second training, with a checkpoint behind it.
    let folder = bench.path("out/cells/lr-0.00001/seed-2");
    let started = Instant::now();
    while !folder.join("checkpoint-2").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(started.elapsed() < Duration::from_mins(2), "no checkpoint");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let (_, stderr) = said(&bench, &long);
    assert!(stderr.contains("going on after step"), "{stderr}");
    assert_eq!(trained(&stderr), 3, "{stderr}");
    for file in [
        "out/sweep.json",
        "out/sweep.html",
        "out/test/comparison.json",
    ] {
        assert_eq!(text(&bench, file), text(&whole, file), "{file}");
    }
}
