//! The original program's documented command lines, unchanged after the program's name.

use crate::Bench;

#[test]
fn the_documented_command_lines_run() {
    let bench = Bench::new();
    bench.succeeds(
        "prepare --source {fixtures}/dolly-mini-curated.csv --test 3 --train 6 --out data",
    );

    // baseline_infer
    bench.succeeds(
        "generate --model_name {fixtures}/tiny-model --test_csv data/test.csv \
         --out_file outputs/baseline.jsonl --max_prompt_len 256 --max_new_tokens 4 \
         --temperature 0.0 --top_p 1.0",
    );
    // train_lora
    bench.succeeds(
        "train --model_name {fixtures}/tiny-model --train_csv data/train.csv \
         --eval_csv data/test.csv --output_dir outputs/lora --max_seq_len 256 --epochs 1 --lr 5e-5 \
         --bs 1 --ga 3 --eval_steps 1 --logging_steps 1 --lora_r 8 --lora_alpha 32 \
         --lora_dropout 0.1",
    );
    // infer_lora, with the base named and with an adapter folder as the model
    bench.succeeds(
        "generate --base_model {fixtures}/tiny-model --adapter_dir outputs/lora \
         --test_csv data/test.csv --out_file outputs/lora.jsonl --max_prompt_len 256 \
         --max_new_tokens 4",
    );
    // Two words: the model is an adapter folder that names its base.
    bench.succeeds(
        "generate --model-name outputs/lora --test-csv data/test.csv --out-file \
         outputs/lora2.jsonl --max-prompt-len 256 --max-new-tokens 4",
    );
    let text = |name: &str| std::fs::read_to_string(bench.path(name)).unwrap();
    let predictions = |name: &str| -> Vec<String> {
        bench
            .lines(name)
            .iter()
            .map(|row| row["prediction"].to_string())
            .collect()
    };
    assert_eq!(
        predictions("outputs/lora.jsonl"),
        predictions("outputs/lora2.jsonl")
    );
    assert!(text("outputs/lora/train_log.jsonl").contains("eval_loss"));

    // eval_accuracy, sample_diff, peek_samples
    bench.succeeds("evaluate --pred_file outputs/lora.jsonl --short_thresh 15 --rouge_thresh 0.5");
    bench.succeeds(
        "compare --baseline_jsonl outputs/baseline.jsonl --lora_jsonl outputs/lora.jsonl --k 2",
    );
    bench.succeeds("prepare --source data/train.csv --show 2");
}
