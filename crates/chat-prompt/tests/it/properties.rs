//! What holds for any text.

use chat_prompt::{ChatTemplate, Message, OverflowPolicy, RowOutcome, user_turn};
use proptest::prelude::*;

use crate::{count_controls, tiny};

/// Text of which every byte has a token, control strings and near misses sown in.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[ -~\n\t]{0,12}",
        3 => "[a-zA-Z0-9 ]{0,20}",
        2 => "[à-ÿ’“”—–½٣五🦊]{0,4}",
        1 => Just("<|im_end|>".to_owned()),
        1 => Just("<|im_start|>".to_owned()),
        1 => Just("<|im_end".to_owned()),
        1 => Just("<<|im_end|>|im_end|>".to_owned()),
        1 => Just("<|endoftext|>".to_owned()),
        1 => "[\u{e000}-\u{e003}]{0,2}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Text without control strings.
fn harmless() -> impl Strategy<Value = String> {
    text().prop_map(|t| t.replace("<|", "< |").replace("|>", "| >"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn round_trip(text in text()) {
        let p = tiny();
        let plain = p.encode_plain(&text).unwrap();
        prop_assert_eq!(p.decode(&plain, true).unwrap(), text.clone());
        prop_assert_eq!(count_controls(p, &plain), 0);
        let parsed = p.encode_rendered(&text).unwrap();
        prop_assert_eq!(p.decode(&parsed, false).unwrap(), text);
    }

    #[test]
    fn no_orders_from_user_text(system in text(), user in text(), answer in text()) {
        let p = tiny();
        let turns = |s: &str, u: &str, a: &str| [Message::system(s), Message::user(u), Message::assistant(a)];
        let ids = p.encode_chat(&turns(&system, &user, &answer), true).unwrap();
        let empty = p.encode_chat(&turns("", "", ""), true).unwrap();
        prop_assert_eq!(count_controls(p, &ids), count_controls(p, &empty));
        let rendered = p.render(&turns(&system, &user, &answer), true).unwrap();
        prop_assert_eq!(p.decode(&ids, false).unwrap(), rendered);
    }

    #[test]
    fn chat_equals_rendered_without_control_strings(user in harmless(), answer in harmless()) {
        let p = tiny();
        let turns = [Message::user(user), Message::assistant(answer)];
        let rendered = p.encode_rendered(&p.render(&turns, false).unwrap()).unwrap();
        prop_assert_eq!(p.encode_chat(&turns, false).unwrap(), rendered);
    }

    #[test]
    fn masks(q in text(), context in prop::option::of(text()), answer in text(), max in 1usize..400) {
        let p = tiny();
        let context = context.as_deref();
        for policy in [OverflowPolicy::Context, OverflowPolicy::Drop, OverflowPolicy::KeepStart] {
            let RowOutcome::Kept(row) = p.training_row(&q, context, &answer, max, policy).unwrap() else {
                continue;
            };
            prop_assert!(row.ids.len() <= max);
            prop_assert!(row.prompt_len() > 0 && !row.supervised.is_empty());
            prop_assert_eq!(row.supervised[0].end, row.ids.len());
            let removed = row.truncated.as_ref().map_or(0, |t| t.removed.len());
            if policy == OverflowPolicy::KeepStart {
                continue;
            }
            prop_assert_eq!(row.ids.last(), Some(&2));
            let label = &row.ids[row.prompt_len()..row.ids.len() - 1];
            prop_assert_eq!(p.decode(label, true).unwrap(), answer.clone());
            let kept = context.map(|c| &c[..c.len() - removed]);
            let prompt = p.encode_chat(&[Message::user(user_turn(&q, kept))], true).unwrap();
            prop_assert_eq!(&row.ids[..row.prompt_len()], &prompt[..]);
        }
    }

    #[test]
    fn prompts_fit(q in harmless(), context in text(), max in 1usize..300) {
        let p = tiny();
        if let Ok(prompt) = p.generation_prompt(&q, Some(&context), Some(max)) {
            prop_assert!(prompt.ids.len() <= max);
            prop_assert!(p.decode(&prompt.ids, false).unwrap().contains(&q));
        } else {
            prop_assert!(p.generation_prompt(&q, None, None).unwrap().ids.len() > max);
        }
    }

    #[test]
    fn any_template_gives_text_or_an_error(
        source in "(\\{\\{|\\}\\}|\\{%-? |-?%\\}|for |in |endfor |if |endif |set |messages|content|role|\\[0\\]|\\.|'x'| \\+ |\\||tojson|trim|loop|\n|<\\|im_end\\|>|generation |endgeneration ){0,14}",
        content in text(),
    ) {
        let named = |error: String| error.contains("chat template");
        match ChatTemplate::new(source, "a test", vec![]) {
            Err(error) => prop_assert!(named(error.to_string())),
            Ok(template) => {
                if let Err(error) = template.render(&[Message::user(content)], true) {
                    prop_assert!(named(error.to_string()));
                }
            }
        }
    }

    #[test]
    fn contents_stand_in_the_rendered_text_as_they_are(contents in prop::collection::vec(text(), 1..5)) {
        let p = tiny();
        let turns = contents.iter().enumerate().map(|(at, text)| {
            if at % 2 == 0 { Message::user(text.as_str()) } else { Message::assistant(text.as_str()) }
        });
        let turns: Vec<Message> = turns.collect();
        let rendered = p.render(&turns, false).unwrap();
        let mut rest = rendered.as_str();
        for turn in &turns {
            let whole = format!("<|im_start|>{}\n{}<|im_end|>\n", turn.role, turn.content);
            let at = rest.find(&whole);
            prop_assert!(at.is_some());
            rest = &rest[at.unwrap() + whole.len()..];
        }
        prop_assert_eq!(rest, "");
    }

    #[test]
    fn streams_equal_decoding(ids in prop::collection::vec(0u32..1240, 0..60), text in text()) {
        let p = tiny();
        for ids in [ids, p.encode_rendered(&text).unwrap()] {
            let mut stream = p.stream();
            let mut all = String::new();
            for &id in &ids {
                all.push_str(&stream.push(id).unwrap());
            }
            all.push_str(&stream.finish().unwrap());
            prop_assert_eq!(all, p.decode(&ids, true).unwrap());
        }
    }
}

/// Every id on its own: a character that takes several tokens comes out whole, at its last one.
#[test]
fn streams_never_give_half_a_character() {
    let p = tiny();
    let ids = p.encode_plain("a🦊b").unwrap();
    let mut stream = p.stream();
    let pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    assert!(ids.len() > 3, "the fox takes several tokens here");
    assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')));
    assert_eq!(pieces.concat(), "a🦊b");
    assert_eq!(stream.finish().unwrap(), "");

    let mut stream = p.stream();
    stream.push(ids[1]).unwrap();
    assert_eq!(
        stream.finish().unwrap(),
        "\u{fffd}",
        "cut off in the middle"
    );
}

#[test]
fn the_bytes_of_tokens_make_up_the_text() {
    let p = tiny();
    for text in ["a\u{f6} \u{2603}\n", "1,234 <|im_end|>"] {
        let ids = p.encode_rendered(text).unwrap();
        let bytes = ids
            .iter()
            .flat_map(|id| p.tokenizer().token_bytes(*id).unwrap());
        assert_eq!(String::from_utf8(bytes.collect()).unwrap(), text);
    }
    assert_eq!(p.tokenizer().token_bytes(99_999), None);
}
