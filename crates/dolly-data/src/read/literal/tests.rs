//! What the parser makes of literals, hand-picked and random.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::parse;

#[test]
fn literals_of_every_kind() {
    let cases = [
        ("None", json!(null)),
        ("[True, False, nan]", json!([true, false, null])),
        ("(1, -2.5, 1e3,)", json!([1, -2.5, 1000.0])),
        ("['a' \"b'c\"]", json!(["a", "b'c"])),
        ("array([], dtype=object)", json!([])),
        ("np.array(['x'], dtype=dtype('O'))", json!(["x"])),
        ("np.str_('x')", json!("x")),
        (
            r"'\'\\\n\x41\u00e9\U0001f3ba\101\q'",
            json!("'\\\nAé🎺A\\q"),
        ),
        (r"'\ud83c\udfba \ud83c!'", json!("🎺 \u{fffd}!")),
        ("{ }", json!({})),
    ];
    for (text, value) in cases {
        assert_eq!(parse(text), Ok(value), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "(?s).{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn nor_is_almost_a_literal(text in r#"[\[\]{}()'"\\,:.a-fx0-9NTu é-]{0,40}"#) {
        let _ = parse(&text);
    }

    #[test]
    fn quoted_strings_come_back(text in "(?s).{0,60}") {
        let quoted = format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        prop_assert_eq!(parse(&quoted), Ok(json!(text)));
    }
}

/// A value, and how Python writes it: plain or as an object array of NumPy.
#[derive(Debug, Clone)]
struct Written {
    value: Value,
    repr: String,
}

/// `repr` of a `str`: double quotes only where they save an escape; what cannot be printed, and
/// here also some of what can, by its number.
fn string_repr(text: &str, ascii: bool) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if !c.is_control() && (c.is_ascii() || !ascii) => out.push(c),
            c => out.push_str(&escaped(u32::from(c))),
        }
    }
    out.push(quote);
    out
}

fn escaped(code: u32) -> String {
    match code {
        0..=0xff => format!("\\x{code:02x}"),
        0x100..=0xffff => format!("\\u{code:04x}"),
        _ => format!("\\U{code:08x}"),
    }
}

fn leaf() -> impl Strategy<Value = Written> {
    let written = |value: Value, repr: &str| Written {
        value,
        repr: repr.to_owned(),
    };
    prop_oneof![
        Just(written(json!(null), "None")),
        Just(written(json!(null), "nan")),
        Just(written(json!(true), "True")),
        Just(written(json!(false), "False")),
        any::<i64>().prop_map(|n| Written {
            value: json!(n),
            repr: n.to_string(),
        }),
        (-1e9..1e9).prop_map(|x: f64| Written {
            value: json!(x),
            repr: format!("{x:?}"),
        }),
        (
            r#"(?s)[a-c'"\\\n\t\[\](){},:. é🎺]{0,12}|.{0,12}"#,
            any::<bool>()
        )
            .prop_map(|(text, ascii)| Written {
                repr: string_repr(&text, ascii),
                value: json!(text),
            }),
    ]
}

/// A list, a tuple, an array, or an array broken over lines as NumPy breaks it at 75 columns.
fn sequence(items: &[Written], style: usize) -> Written {
    let [open, between, close] = [
        ["[", ", ", "]"],
        ["(", ", ", ",)"],
        ["array([", ", ", "], dtype=object)"],
        ["array([", ",\n       ", "],\n      dtype=object)"],
        ["np.array([", " ", "], dtype='<U9')"],
    ][style];
    // Python's `()` has no comma.
    let close = if items.is_empty() && style == 1 {
        ")"
    } else {
        close
    };
    let reprs: Vec<&str> = items.iter().map(|item| item.repr.as_str()).collect();
    Written {
        value: items.iter().map(|item| item.value.clone()).collect(),
        repr: format!("{open}{}{close}", reprs.join(between)),
    }
}

fn dict(entries: &[(String, Written)]) -> Written {
    let reprs: Vec<String> = entries
        .iter()
        .map(|(key, item)| format!("{}: {}", string_repr(key, false), item.repr))
        .collect();
    let values = entries
        .iter()
        .map(|(key, item)| (key.clone(), item.value.clone()));
    Written {
        value: Value::Object(values.collect()),
        repr: format!("{{{}}}", reprs.join(", ")),
    }
}

fn nested() -> impl Strategy<Value = Written> {
    leaf().prop_recursive(4, 40, 5, |inner| {
        let items = prop::collection::vec(inner.clone(), 0..5);
        let entries = prop::collection::vec(("[a-z'\" ]{0,6}", inner), 0..4);
        prop_oneof![
            (items, 0..5_usize).prop_map(|(items, style)| sequence(&items, style)),
            entries.prop_map(|entries| dict(&entries)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nested_values_come_back(written in nested()) {
        prop_assert_eq!(parse(&written.repr), Ok(written.value));
    }

    /// Every proper beginning of a value in brackets is refused: a cell cut short is never whole.
    #[test]
    fn a_value_cut_short_is_refused(
        items in prop::collection::vec(leaf(), 0..4),
        style in 0..5_usize,
        cut in any::<prop::sample::Index>(),
    ) {
        let repr = sequence(&items, style).repr;
        let cuts: Vec<usize> = repr.char_indices().map(|(at, _)| at).collect();
        prop_assert!(parse(&repr[..cuts[cut.index(cuts.len())]]).is_err());
    }
}
