use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    key: String,
    name: String,
    text: String,
}

impl Record for Line {
    fn key(&self) -> &str {
        &self.key
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn is_outdated(&self, names: &HashSet<&str>) -> bool {
        self.key.starts_with("old-") && names.contains(self.name.as_str())
    }
}

fn questions(names: &[&'static str]) -> Vec<Asked<'static>> {
    let question = |name: &&'static str| Asked { key: name, name };
    names.iter().map(question).collect()
}

fn answer(question: &Asked<'_>) -> Line {
    Line {
        key: question.key.to_owned(),
        name: question.name.to_owned(),
        text: "ünd\n".to_owned(),
    }
}

fn open(path: &Path, questions: &[Asked<'_>]) -> Answers<Line> {
    Answers::open(path, questions).unwrap()
}

fn missing(answers: &Answers<Line>) -> Vec<usize> {
    answers.missing().collect()
}

fn ids(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let parse = |line: &str| serde_json::from_str::<Line>(line).unwrap().name;
    text.lines().map(parse).collect()
}

#[test]
fn answers_are_appended_as_they_finish_and_end_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let rows = questions(&["a", "b", "c"]);
    let mut answers = open(&path, &rows);
    assert_eq!(missing(&answers), [0, 1, 2]);
    answers.add(2, answer(&rows[2])).unwrap();
    assert_eq!(ids(&path), ["c"]);
    drop(answers);
    let mut answers = open(&path, &rows);
    assert_eq!((missing(&answers), answers.count()), (vec![0, 1], 1));
    answers.add(0, answer(&rows[0])).unwrap();
    answers.add(1, answer(&rows[1])).unwrap();
    assert_eq!(ids(&path), ["c", "a", "b"]);
    answers.finish().unwrap();
    assert_eq!(ids(&path), ["a", "b", "c"]);
}

#[test]
fn an_answer_to_an_earlier_form_of_a_question_makes_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let rows = questions(&["a", "b"]);
    let old = Line {
        key: "old-a".to_owned(),
        ..answer(&rows[0])
    };
    std::fs::write(&path, [line(&old), line(&answer(&rows[1]))].concat()).unwrap();
    let mut answers = open(&path, &rows);
    assert_eq!(missing(&answers), [0]);
    answers.add(0, answer(&rows[0])).unwrap();
    answers.finish().unwrap();
    assert_eq!(ids(&path), ["a", "b"]);
    assert!(!std::fs::read_to_string(&path).unwrap().contains("old-a"));
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
        let mut answers = open(&path, &rows);
        // A line is whole with its brace; the line's end is put back.
        let expected = usize::from(length >= first - 1) + usize::from(length >= whole.len() - 1);
        assert_eq!(answers.count(), expected, "{length}");
        for at in missing(&answers) {
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
    assert_eq!(missing(&open(&path, &rows)), [1, 2]);
}

#[test]
fn foreign_lines_are_refused_with_their_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let rows = questions(&["a"]);
    std::fs::write(&path, "{\"hello\": 1}\n").unwrap();
    let message = Answers::<Line>::open(&path, &rows)
        .err()
        .unwrap()
        .to_string();
    assert!(message.contains("line 1"), "{message}");
    std::fs::write(&path, line(&answer(&questions(&["z"])[0]))).unwrap();
    let message = Answers::<Line>::open(&path, &rows)
        .err()
        .unwrap()
        .to_string();
    assert!(message.contains("id z"), "{message}");
}

#[test]
fn two_runs_on_one_file_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let rows = questions(&["a"]);
    let first = open(&path, &rows);
    let message = Answers::<Line>::open(&path, &rows)
        .err()
        .unwrap()
        .to_string();
    assert!(message.contains("another run"), "{message}");
    drop(first);
    assert!(Answers::<Line>::open(&path, &rows).is_ok());
}
