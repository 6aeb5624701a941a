use dolly_data::Row;
use smollm_model::{Completion, FinishReason};

use crate::prompts::Prompt;

use super::*;

fn questions(ids: &[&str]) -> Vec<Question> {
    let question = |id: &&str| Question {
        row: Row {
            id: (*id).to_owned(),
            instruction: format!("question {id}"),
            context: None,
            response: "gold".to_owned(),
            category: "open_qa".to_owned(),
            ..Row::default()
        },
        key: format!("key-{id}"),
    };
    ids.iter().map(question).collect()
}

fn answer(question: &Question) -> Prediction {
    let completion = Completion {
        index: 0,
        ids: vec![7, 8],
        finish_reason: FinishReason::Stop,
        mean_logprob: Some(-1.0 / 3.0),
    };
    let prompt = Prompt {
        ids: vec![1, 2, 3],
        truncated: false,
    };
    Prediction::new(question, " text\n", &completion, &prompt)
}

fn ids(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let parse = |line: &str| serde_json::from_str::<Prediction>(line).unwrap().id;
    text.lines().map(parse).collect()
}

#[test]
fn answers_wait_for_those_before_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let rows = questions(&["a", "b", "c"]);
    let mut answers = Answers::open(&path, &rows).unwrap();
    assert_eq!(answers.missing(), [0, 1, 2]);
    answers.add(1, answer(&rows[1])).unwrap();
    assert!(ids(&path).is_empty());
    answers.add(0, answer(&rows[0])).unwrap();
    assert_eq!(ids(&path), ["a", "b"]);
    answers.add(2, answer(&rows[2])).unwrap();
    answers.finish().unwrap();
    assert_eq!(ids(&path), ["a", "b", "c"]);
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .contains("\"prediction\":\"text\"")
    );
}

#[test]
fn a_stopped_run_loses_nothing_and_ends_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let rows = questions(&["a", "b", "c"]);
    let mut answers = Answers::open(&path, &rows).unwrap();
    answers.add(2, answer(&rows[2])).unwrap();
    answers.finish().unwrap();
    drop(answers);
    let mut answers = Answers::open(&path, &rows).unwrap();
    assert_eq!((answers.missing(), answers.count()), (vec![0, 1], 1));
    answers.add(0, answer(&rows[0])).unwrap();
    answers.add(1, answer(&rows[1])).unwrap();
    answers.finish().unwrap();
    assert_eq!(ids(&path), ["a", "b", "c"]);
}

#[test]
fn a_torn_last_line_is_answered_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let rows = questions(&["a", "b"]);
    let whole = [line(&answer(&rows[0])), line(&answer(&rows[1]))].concat();
    let first = line(&answer(&rows[0])).len();
    for length in 0..=whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let mut answers = Answers::open(&path, &rows).unwrap();
        // A line is whole with its brace; the line's end is put back.
        let expected = usize::from(length >= first - 1) + usize::from(length >= whole.len() - 1);
        assert_eq!(answers.count(), expected, "{length}");
        for at in answers.missing() {
            answers.add(at, answer(&rows[at])).unwrap();
        }
        answers.finish().unwrap();
        assert_eq!(ids(&path), ["a", "b"], "{length}");
    }
}

#[test]
fn repeated_rows_take_repeated_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let rows = questions(&["a", "a", "b"]);
    std::fs::write(&path, line(&answer(&rows[0]))).unwrap();
    assert_eq!(Answers::open(&path, &rows).unwrap().missing(), [1, 2]);
}

#[test]
fn foreign_lines_are_refused_with_their_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let rows = questions(&["a"]);
    std::fs::write(&path, "{\"hello\": 1}\n").unwrap();
    let message = Answers::open(&path, &rows).err().unwrap().to_string();
    assert!(message.contains("line 1"), "{message}");
    std::fs::write(&path, line(&answer(&questions(&["z"])[0]))).unwrap();
    let message = Answers::open(&path, &rows).err().unwrap().to_string();
    assert!(message.contains("id z"), "{message}");
}

#[test]
fn two_runs_on_one_file_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let rows = questions(&["a"]);
    let first = Answers::open(&path, &rows).unwrap();
    let message = Answers::open(&path, &rows).err().unwrap().to_string();
    assert!(message.contains("another run"), "{message}");
    drop(first);
    assert!(Answers::open(&path, &rows).is_ok());
}
