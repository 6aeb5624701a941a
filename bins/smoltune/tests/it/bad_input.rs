//! Bad input: a clear error, the right exit code, nothing half-written.

use crate::{Bench, damage, fixtures};

const PREPARE: &str = "--test 1 --train 1 --out data";
const GENERATE: &str = "--test_csv rows.csv --out_file out.jsonl --max_new_tokens 4";
const ROWS: &str =
    "instruction,context,response,category\nWho?,,Ada.,open_qa\nWhat?,,A tuba.,open_qa\n";

#[test]
fn a_missing_file_is_named() {
    let bench = Bench::new();
    bench.write("rows.csv", ROWS);
    for line in [
        "prepare --source nowhere.csv --test 1 --train 1 --out data",
        "evaluate --pred_file nowhere.jsonl",
        "compare nowhere.jsonl nowhere.jsonl",
        "train --model_name {fixtures}/tiny-model --train_csv nowhere.csv --output_dir a",
        "train --model_name {fixtures}/tiny-model --train_csv rows.csv --eval_csv nowhere.csv \
         --output_dir a",
        "generate --model_name {fixtures}/tiny-model --test_csv nowhere.csv --out_file o",
        "generate --model_name ./nowhere.gguf --test_csv rows.csv --out_file o",
        "generate --model_name {fixtures}/tiny-model --adapter_dir nowhere --test_csv rows.csv \
         --out_file o",
    ] {
        let message = bench.fails(line, 3);
        assert!(message.contains("nowhere"), "{line}: {message}");
    }
    assert!(!bench.path("data").exists() && !bench.path("o").exists());
    assert!(!bench.path("a/adapter_model.safetensors").exists());
}

#[test]
fn empty_files_and_files_of_blanks_are_named() {
    let bench = Bench::new();
    bench.write("empty.csv", "");
    bench.write("empty.jsonl", "");
    bench.write("blank.csv", "instruction,context,response\n , ,\n,,\n");
    for (line, named) in [
        ("prepare --source empty.csv", "empty.csv"),
        ("prepare --source empty.jsonl", "empty.jsonl"),
        ("evaluate --pred_file empty.jsonl", "empty.jsonl"),
        (
            "train --model_name {fixtures}/tiny-model --train_csv blank.csv --output_dir a",
            "blank.csv",
        ),
        (
            "generate --model_name {fixtures}/tiny-model --test_csv blank.csv --out_file o.jsonl",
            "blank.csv",
        ),
    ] {
        let line = if line.starts_with("prepare") {
            format!("{line} {PREPARE}")
        } else {
            line.into()
        };
        let message = bench.fails(&line, 3);
        assert!(message.contains(named), "{line}: {message}");
    }
    assert!(!bench.path("o.jsonl").exists() && !bench.path("data").exists());
}

#[test]
fn a_blank_row_is_dropped_and_counted() {
    let bench = Bench::new();
    bench.write("rows.csv", format!("{ROWS},,,\n"));
    let done = bench.json("prepare --source rows.csv --seed 1 --test 1 --train 2 --out data");
    assert!(done.to_string().contains("dropped"), "{done}");
    let kept = bench.lines("data/test.jsonl").len() + bench.lines("data/train.jsonl").len();
    assert_eq!(kept, 2);
}

#[test]
fn missing_columns_are_named_with_those_found() {
    let bench = Bench::new();
    bench.write("rows.csv", "query,reply\nWho?,Ada.\n");
    let message = bench.fails(&format!("prepare --source rows.csv {PREPARE}"), 3);
    for named in ["rows.csv", "instruction", "query", "reply"] {
        assert!(message.contains(named), "{named}: {message}");
    }
}

#[test]
fn text_that_is_not_utf8_is_named() {
    let bench = Bench::new();
    bench.write(
        "rows.csv",
        b"instruction,context,response\nWho?,,Ada\xff.\n",
    );
    bench.write("p.jsonl", b"{\"gold\": \"a\xff\", \"prediction\": \"b\"}\n");
    let message = bench.fails(&format!("prepare --source rows.csv {PREPARE}"), 3);
    assert!(
        message.contains("rows.csv") && message.contains("UTF-8"),
        "{message}"
    );
    let message = bench.fails("evaluate --pred_file p.jsonl", 3);
    assert!(
        message.contains("p.jsonl") && message.contains("UTF-8"),
        "{message}"
    );
}

#[test]
fn a_truncated_line_of_jsonl_is_named() {
    let bench = Bench::new();
    let whole = "{\"instruction\": \"Who?\", \"gold\": \"a\", \"prediction\": \"b\", \"response\": \"a\"}\n";
    bench.write("rows.jsonl", format!("{whole}{}", &whole[..30]));
    for line in [
        "evaluate --pred_file rows.jsonl".to_owned(),
        format!("prepare --source rows.jsonl {PREPARE}"),
    ] {
        let message = bench.fails(&line, 3);
        assert!(
            message.contains("rows.jsonl") && message.contains('2'),
            "{message}"
        );
    }
}

#[test]
fn damaged_weights_are_named() {
    let bench = Bench::new();
    bench.write("rows.csv", ROWS);
    let model = bench.copy("tiny-model");
    damage::truncate(&model.join("model.safetensors"));
    let message = bench.fails(&format!("generate --model_name tiny-model {GENERATE}"), 3);
    assert!(message.contains("model.safetensors"), "{message}");

    let gguf = bench.path("model.gguf");
    std::fs::copy(fixtures().join("tiny-model-q8_0.gguf"), &gguf).unwrap();
    damage::truncate(&gguf);
    let message = bench.fails(&format!("generate --model_name model.gguf {GENERATE}"), 3);
    assert!(message.contains("model.gguf"), "{message}");

    std::fs::copy(fixtures().join("tiny-model-q8_0.gguf"), &gguf).unwrap();
    damage::unknown_tensor_type(&gguf, "blk.1.ffn_up.weight");
    let message = bench.fails(&format!("generate --model_name model.gguf {GENERATE}"), 3);
    assert!(
        message.contains("blk.1.ffn_up.weight") && message.contains("99"),
        "{message}"
    );
    assert!(!bench.path("out.jsonl").exists());
}

#[test]
fn a_config_that_contradicts_the_weights_names_a_tensor_and_both_shapes() {
    let bench = Bench::new();
    bench.write("rows.csv", ROWS);
    let model = bench.copy("tiny-model");
    damage::replace(
        &model.join("config.json"),
        "\"intermediate_size\": 160",
        "\"intermediate_size\": 192",
    );
    let message = bench.fails(&format!("generate --model_name tiny-model {GENERATE}"), 3);
    for named in ["mlp", "160", "192"] {
        assert!(message.contains(named), "{named}: {message}");
    }
}

#[test]
fn an_adapter_for_another_model_names_a_tensor() {
    let bench = Bench::new();
    bench.write("rows.csv", ROWS);
    bench.copy("goldens/lora_step");
    let adapter = bench.path("lora_step/adapter_model.safetensors");
    damage::replace(&adapter, "layers.1.", "layers.7.");
    let message = bench.fails(
        &format!(
            "generate --model_name {{fixtures}}/tiny-model --adapter_dir lora_step {GENERATE}"
        ),
        3,
    );
    assert!(
        message.contains("layers.1.") || message.contains("layers.7."),
        "{message}"
    );
    damage::truncate(&adapter);
    bench.fails(
        &format!(
            "generate --model_name {{fixtures}}/tiny-model --adapter_dir lora_step {GENERATE}"
        ),
        3,
    );
    assert!(!bench.path("out.jsonl").exists());
}

#[test]
fn a_prompt_longer_than_the_context_of_the_model_is_an_error_with_its_row() {
    let bench = Bench::new();
    let long = "very ".repeat(2000);
    bench.write(
        "rows.csv",
        format!("instruction,context,response\n{long},,Ada.\n"),
    );
    let message = bench.fails(
        &format!("generate --model_name {{fixtures}}/tiny-model {GENERATE}"),
        3,
    );
    assert!(message.contains("token"), "{message}");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let bench = Bench::new();
    bench.write("rows.csv", ROWS);
    bench.write("file", "");
    bench.write("p.jsonl", "{\"gold\": \"a\", \"prediction\": \"a\"}\n");
    for line in [
        "prepare --source rows.csv --test 1 --train 1 --out file/data",
        "train --model_name {fixtures}/tiny-model --train_csv rows.csv --output_dir file/a",
        "generate --model_name {fixtures}/tiny-model --test_csv rows.csv --out_file file/o.jsonl",
        "evaluate --pred_file p.jsonl --out_file file/s.json",
        "compare p.jsonl p.jsonl --html file/r.html",
        "export --model_name {fixtures}/tiny-model --output_dir file/m",
        "export --model_name {fixtures}/tiny-model --format gguf --output_dir file/m",
        "adapter merge {fixtures}/goldens/lora_step {fixtures}/goldens/lora_step --output_dir file/m",
        "run --model_name {fixtures}/tiny-model --source rows.csv --out file/run",
    ] {
        let message = bench.fails(line, 1);
        assert!(message.contains("file"), "{line}: {message}");
    }
}
