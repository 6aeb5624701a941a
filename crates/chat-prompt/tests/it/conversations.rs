//! Conversations of several turns.

use chat_prompt::{
    ChatTemplate, ChatTokenizer, Cut, Message, OverflowPolicy, PromptError, Prompter, RowOutcome,
    TrainingRow,
};
use serde_json::Value;

use crate::tiny;

fn turns() -> Vec<Message> {
    vec![
        Message::system("You are brief."),
        Message::user("Name a bird."),
        Message::assistant("A wren."),
        Message::user("Another one?<|im_end|>"),
        Message::assistant(" A heron, or two."),
    ]
}

fn row(messages: &[Message], limit: usize, policy: OverflowPolicy) -> RowOutcome {
    tiny()
        .training_conversation(messages, limit, policy)
        .unwrap()
}

fn kept(outcome: RowOutcome) -> TrainingRow {
    match outcome {
        RowOutcome::Kept(row) => row,
        RowOutcome::Dropped { reason, .. } => panic!("dropped: {reason}"),
    }
}

#[test]
fn every_turn_of_the_assistant_is_learnt_and_nothing_else() {
    let (p, turns) = (tiny(), turns());
    let row = kept(row(&turns, usize::MAX, OverflowPolicy::Error));
    let text = |range: &std::ops::Range<usize>| p.decode(&row.ids[range.clone()], false).unwrap();
    let learnt: Vec<String> = row.supervised.iter().map(text).collect();
    assert_eq!(learnt, ["A wren.<|im_end|>", " A heron, or two.<|im_end|>"]);
    for (range, answer) in row.supervised.iter().zip([2, 4]) {
        let prompt = p.conversation_prompt(&turns[..answer], None).unwrap();
        assert_eq!(
            row.ids[..range.start],
            prompt.ids,
            "the prompt at inference"
        );
    }
    let labels: usize = row.supervised.iter().map(ExactSizeIterator::len).sum();
    assert_eq!(row.labels().count(), labels);
    assert_eq!(row.ids.len(), row.supervised[1].end);
}

#[test]
fn a_conversation_of_two_turns_is_a_plain_row() {
    let p = tiny();
    let turns = [Message::user("Name a bird."), Message::assistant("A wren.")];
    let policy = OverflowPolicy::Context;
    let plain = p.training_row("Name a bird.", None, "A wren.", 512, policy);
    assert_eq!(row(&turns, 512, policy), plain.unwrap());
}

#[test]
fn what_does_not_fit() {
    let turns = turns();
    let whole = kept(row(&turns, usize::MAX, OverflowPolicy::Error));
    let n = whole.ids.len();
    for policy in [OverflowPolicy::Context, OverflowPolicy::Drop] {
        let dropped = row(&turns, n - 1, policy);
        assert!(matches!(dropped, RowOutcome::Dropped { .. }));
    }
    let error = tiny().training_conversation(&turns, n - 1, OverflowPolicy::Error);
    assert!(matches!(error, Err(PromptError::RowTooLong { .. })));
    for limit in whole.prompt_len() + 1..n {
        let cut = kept(row(&turns, limit, OverflowPolicy::KeepStart));
        assert_eq!(cut.ids, whole.ids[..limit]);
        let labels: Vec<usize> = whole.labels().filter(|&at| at < limit).collect();
        assert_eq!(cut.labels().collect::<Vec<_>>(), labels);
        assert!(cut.supervised.iter().all(|range| !range.is_empty()));
    }
}

#[test]
fn a_long_prompt_loses_its_oldest_turns() {
    let (p, turns) = (tiny(), turns());
    let whole = p.conversation_prompt(&turns[..4], None).unwrap();
    assert_eq!(whole.truncated, None);
    let limit = whole.ids.len() - 1;
    let shorter = p.conversation_prompt(&turns[..4], Some(limit)).unwrap();
    let expected = [turns[0].clone(), turns[3].clone()];
    assert_eq!(shorter.ids, p.encode_chat(&expected, true).unwrap());
    let truncated = shorter.truncated.unwrap();
    assert_eq!(
        (truncated.cut, truncated.ids_before),
        (Cut::Turns, limit + 1)
    );
    assert_eq!(truncated.removed, "Name a bird.\nA wren.");
    let error = p.conversation_prompt(&turns[..4], Some(3)).unwrap_err();
    assert!(
        matches!(error, PromptError::PromptTooLong { .. }),
        "{error}"
    );
}

#[test]
fn a_conversation_without_an_answer_teaches_nothing() {
    let error = tiny()
        .training_conversation(&turns()[..2], 512, OverflowPolicy::Context)
        .unwrap_err();
    assert!(error.to_string().contains("no supervised token"), "{error}");
}

#[test]
fn the_system_prompt_stands_in_front_of_every_row_that_has_none() {
    let plain = tiny();
    let p = plain.clone().with_system(Some("Obey.<|im_end|>".into()));
    let turns = turns();
    let own = p.encode_chat(&turns, true).unwrap();
    assert_eq!(own, plain.encode_chat(&turns, true).unwrap());
    let whole = [&[Message::system("Obey.<|im_end|>")], &turns[1..2]].concat();
    let expected = plain.encode_chat(&whole, true).unwrap();
    assert_eq!(p.encode_chat(&turns[1..2], true).unwrap(), expected);
    let prompt = p.generation_prompt("Name a bird.", None, None).unwrap();
    assert_eq!(prompt.ids, expected);
    let row = p.training_row("Name a bird.", None, "A wren.", 512, OverflowPolicy::Error);
    let row = kept(row.unwrap());
    assert_eq!(row.ids[..row.prompt_len()], expected);
    assert_eq!(
        plain.clone().with_system(Some(String::new())).system(),
        None
    );
}

/// The prompt ends with a line break; where two are one token, an answer that begins with two more
/// takes it from the prompt.
#[test]
fn an_answer_that_merges_with_the_prompt_is_an_error() {
    let mut json: Value = serde_json::from_str(&tiny().tokenizer().to_json().unwrap()).unwrap();
    json["model"]["vocab"]["ĊĊ"] = tiny().vocab_size().into();
    let merges = json["model"]["merges"].as_array_mut().unwrap();
    merges.push(serde_json::json!(["Ċ", "Ċ"]));
    let tokenizer = ChatTokenizer::from_json(&json.to_string()).unwrap();
    let p = Prompter::new(tokenizer, tiny().template().clone());
    let row = |answer: &str| p.training_row("Say it.", None, answer, 512, OverflowPolicy::Context);
    assert!(matches!(row("\nIt."), Ok(RowOutcome::Kept(_))));
    let error = row("\n\nIt.").unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, PromptError::PromptMerges { .. }), "{text}");
    assert!(
        text.contains("white space") && text.contains("Say it."),
        "{text}"
    );
}

/// A template that ends turns in two ways would teach a model to go on after one of them.
#[test]
fn each_answer_must_end_as_generation_ends() {
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}\
                  {% if loop.index == 2 %}<|im_end|>{% else %}<|endoftext|>{% endif %}{% endfor %}\
                  {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let template = ChatTemplate::new(source.into(), "a test", vec![]).unwrap();
    let p = Prompter::new(tiny().tokenizer().clone(), template);
    let row = |turns: &[Message]| p.training_conversation(turns, 512, OverflowPolicy::Context);
    assert!(matches!(row(&turns()[1..3]), Ok(RowOutcome::Kept(_))));
    // Two controls with nothing between them: the second does not end the turn again.
    assert!(matches!(row(&turns()[1..4]), Ok(RowOutcome::Kept(_))));
    for turns in [&turns()[..3], &turns()[1..]] {
        let error = row(turns).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, PromptError::EndOfTurn { .. }), "{text}");
        assert!(text.contains("<|endoftext|>"), "{text}");
    }
}
