//! Conversations: lists of turns, as chat data sets have them.
//!
//! A turn is `{"role": …, "content": …}`, or that of `ShareGPT`, `{"from": …, "value": …}`; a CSV cell holds
//! the list as JSON. What cannot be trained on as it stands is refused, with the turn that is meant.

use serde_json::{Map, Value};

use super::json_file::kind;
use crate::row::{Turn, is_blank};

/// The turns in a value; none for null or a blank cell.
pub(super) fn from_value(value: Value) -> Result<Vec<Turn>, String> {
    let items = match value {
        Value::Null => return Ok(Vec::new()),
        Value::String(text) if is_blank(&text) => return Ok(Vec::new()),
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(Value::Array(items)) => items,
            Ok(other) => return Err(format!("found {}, expected a list of turns", kind(&other))),
            Err(e) => return Err(format!("expected a list of turns as JSON: {e}")),
        },
        Value::Array(items) => items,
        other => return Err(format!("found {}, expected a list of turns", kind(&other))),
    };
    let turn = |(at, item)| turn(item).map_err(|problem| format!("turn {}: {problem}", at + 1));
    let turns: Vec<Turn> = items
        .into_iter()
        .enumerate()
        .map(turn)
        .collect::<Result<_, String>>()?;
    check(&turns)?;
    Ok(turns)
}

fn turn(item: Value) -> Result<Turn, String> {
    let Value::Object(mut turn) = item else {
        return Err(format!(
            "found {}, expected an object with `role` and `content`",
            kind(&item)
        ));
    };
    let calls = turn.get("tool_calls").is_some_and(|calls| {
        !calls.is_null() && calls.as_array().is_none_or(|calls| !calls.is_empty())
    });
    let role = take(&mut turn, ["role", "from"])?;
    let role = match role.as_str() {
        "human" => "user",
        "gpt" | "model" | "bot" => "assistant",
        other => other,
    };
    if calls || matches!(role, "tool" | "function" | "ipython") {
        return Err(
            "this is a call of a tool or its result, which cannot be trained on; leave the row out"
                .to_owned(),
        );
    }
    if !["system", "user", "assistant"].contains(&role) {
        return Err(format!("role `{role}`, expected system, user or assistant"));
    }
    Ok(Turn {
        role: role.to_owned(),
        content: take(&mut turn, ["content", "value"])?,
    })
}

fn take(turn: &mut Map<String, Value>, names: [&str; 2]) -> Result<String, String> {
    let found = names.into_iter().find_map(|name| turn.remove(name));
    match found {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!(
            "`{}` is {}, expected a string",
            names[0],
            kind(&other)
        )),
        None => Err(format!("no `{}`", names[0])),
    }
}

/// A system turn first or none, then user and assistant in turns, the assistant last.
fn check(turns: &[Turn]) -> Result<(), String> {
    let system = usize::from(turns.first().is_some_and(|turn| turn.role == "system"));
    for (at, turn) in turns.iter().enumerate().skip(system) {
        let expected = ["user", "assistant"][(at - system) % 2];
        if turn.role != expected {
            return Err(format!(
                "turn {}: found role `{}`, expected `{expected}`: after a system turn, if there is one, user and assistant take turns",
                at + 1,
                turn.role
            ));
        }
    }
    match turns.last() {
        Some(last) if last.role != "assistant" => Err(format!(
            "the last turn is the {}'s, expected the assistant's: there would be nothing to learn",
            last.role
        )),
        _ => Ok(()),
    }
}
