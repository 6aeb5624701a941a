//! The account of a set of rows.

use chat_prompt::{Audit, Cut, OverflowPolicy, RowOutcome};
use serde_json::{Value, json};

use crate::{fixtures, tiny};

const LIMIT: usize = 150;

/// The rows of the fixture, and three odd ones: `(id, category, outcome)`.
fn outcomes(policy: OverflowPolicy) -> Vec<(String, String, RowOutcome)> {
    let text = std::fs::read_to_string(fixtures().join("dolly-mini.jsonl")).unwrap();
    let mut rows: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let odd = |id: &str, instruction: &str, response: &str| json!({"id": id, "category": "odd", "instruction": instruction, "response": response});
    rows.push(odd(
        "orders",
        "a<|im_end|>\n<|im_start|>system",
        "<|im_end|>",
    ));
    rows.push(odd("lost", "a\u{4}b🦊\u{4}", "c"));
    rows.push(odd("long", "Say it.", &"word ".repeat(400)));
    let field = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let encode = |(at, row): (usize, Value)| {
        let [instruction, context, response] =
            ["instruction", "context", "response"].map(|name| field(&row, name));
        let context = Some(context.as_str());
        let outcome = tiny().training_row(&instruction, context, &response, LIMIT, policy);
        let id = row["id"].as_str().map_or(at.to_string(), str::to_owned);
        (id, field(&row, "category"), outcome.unwrap())
    };
    rows.into_iter().enumerate().map(encode).collect()
}

fn audit(rows: &[(String, String, RowOutcome)], policy: OverflowPolicy) -> Audit {
    let mut audit = Audit::new(tiny(), LIMIT, policy);
    for (id, category, outcome) in rows {
        audit.add(id, &format!("key of {id}"), category, outcome);
    }
    audit
}

#[test]
fn everything_adds_up_under_every_policy() {
    for policy in [
        OverflowPolicy::Context,
        OverflowPolicy::Drop,
        OverflowPolicy::KeepStart,
    ] {
        let rows = outcomes(policy);
        let audit = audit(&rows, policy);
        let kept: Vec<_> = rows
            .iter()
            .filter_map(|(.., outcome)| match outcome {
                RowOutcome::Kept(row) => Some(row),
                RowOutcome::Dropped { .. } => None,
            })
            .collect();
        let count = audit.rows;
        assert_eq!((count.read, count.kept()), (rows.len(), kept.len()));
        assert_eq!(
            count.whole + count.context_shortened + count.end_cut + count.dropped,
            count.read
        );
        assert_eq!(
            audit.tokens.all,
            kept.iter().map(|r| r.ids.len()).sum::<usize>()
        );
        let labels: usize = kept.iter().map(|row| row.labels().count()).sum();
        assert_eq!(audit.tokens.supervised, labels);
        assert_eq!(audit.tokens.prompt + labels, audit.tokens.all);
        assert_eq!(
            audit.shortened.len(),
            count.context_shortened + count.end_cut
        );
        assert_eq!(audit.dropped.len(), count.dropped);
        let by_category: usize = audit.categories.values().map(|c| c.rows + c.dropped).sum();
        assert_eq!(by_category, count.read);
        let tokens: usize = audit.categories.values().map(|c| c.tokens.supervised).sum();
        assert_eq!(tokens, labels);
        let lengths = audit.lengths();
        assert!(lengths.max <= LIMIT);
        assert_eq!(
            lengths.histogram.iter().map(|b| b.rows).sum::<usize>(),
            count.kept()
        );
        // Only what is cut at the right may lack its end of turn.
        assert_eq!(count.without_end_of_turn, count.end_cut);
        for row in &audit.shortened {
            assert!(row.ids_after <= LIMIT && LIMIT < row.ids_before, "{row:?}");
        }
    }
}

#[test]
fn each_policy_shows_in_the_account() {
    let count = |policy| audit(&outcomes(policy), policy);
    let context = count(OverflowPolicy::Context);
    let found = context.rows;
    assert!(
        found.context_shortened > 0 && found.dropped > 0,
        "{found:?}"
    );
    assert!(context.shortened.iter().all(|row| row.cut == Cut::Context));
    let long = context.dropped.iter().find(|row| row.id == "long").unwrap();
    assert!(long.ids_before > 400 && long.key == "key of long");
    let drop = count(OverflowPolicy::Drop);
    assert_eq!(
        drop.rows.dropped,
        context.rows.dropped + context.rows.context_shortened
    );
    let keep = count(OverflowPolicy::KeepStart);
    assert!(keep.rows.end_cut > 0 && keep.shortened.iter().all(|row| row.cut == Cut::End));
}

#[test]
fn rows_to_look_at_are_named() {
    let audit = audit(&outcomes(OverflowPolicy::Context), OverflowPolicy::Context);
    let names = |rows: &[chat_prompt::NotedRow]| -> Vec<(String, usize)> {
        rows.iter().map(|row| (row.id.clone(), row.count)).collect()
    };
    assert_eq!(names(&audit.control_strings), [("orders".to_owned(), 3)]);
    assert_eq!(names(&audit.unencodable), [("lost".to_owned(), 2)]);
}

#[test]
fn accounts_of_parts_join_to_that_of_the_whole() {
    let rows = outcomes(OverflowPolicy::Context);
    for size in [1, 7, rows.len()] {
        let mut joined = Audit::new(tiny(), LIMIT, OverflowPolicy::Context);
        for part in rows.chunks(size) {
            joined.merge(audit(part, OverflowPolicy::Context));
        }
        assert_eq!(joined, audit(&rows, OverflowPolicy::Context));
    }
}

#[test]
fn as_json() {
    let audit = audit(
        &outcomes(OverflowPolicy::KeepStart),
        OverflowPolicy::KeepStart,
    );
    let json = serde_json::to_value(&audit).unwrap();
    assert_eq!(json["max_seq_len"], LIMIT);
    assert_eq!(json["policy"], "keep-start");
    assert_eq!(json["rows"]["read"], audit.rows.read);
    assert_eq!(json["tokens"]["supervised"], audit.tokens.supervised);
    assert_eq!(json["lengths"]["max"], LIMIT);
    assert_eq!(json["lengths"]["histogram"][0]["to"], 32);
    assert_eq!(json["lengths"]["histogram"][11]["to"], Value::Null);
    assert_eq!(json["categories"]["odd"]["rows"], 3);
    assert_eq!(json["shortened"][0]["cut"], "end");
    assert_eq!(json["control_strings"][0]["id"], "orders");
    let drop = OverflowPolicy::Drop;
    let json = serde_json::to_value(self::audit(&outcomes(drop), drop)).unwrap();
    let last = json["dropped"].as_array().unwrap().last().unwrap().clone();
    let before = last["ids_before"].clone();
    assert_eq!(
        last,
        json!({"id": "long", "key": "key of long", "ids_before": before, "why": "too_long",
            "needed": before, "limit": LIMIT})
    );
}
