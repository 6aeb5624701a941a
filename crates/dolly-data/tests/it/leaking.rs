//! Leaks and duplicates: each planted one is found, and nothing else.

use dolly_data::{
    DuplicateGroup, Leak, LeakAudit, LeakKind, LeakOptions, Row, Turn, drop_leaks, duplicates,
    flag, leaks,
};
use proptest::prelude::*;

fn row(id: &str, instruction: &str, context: &str, response: &str) -> Row {
    Row {
        id: id.into(),
        instruction: instruction.into(),
        context: (!context.is_empty()).then(|| context.into()),
        response: response.into(),
        ..Row::default()
    }
}

/// `n` words that no other call with another `salt` gives.
fn words(salt: usize, n: usize) -> String {
    let words = (0..n).map(|i| format!("w{salt}x{i}"));
    words.collect::<Vec<_>>().join(" ")
}

/// Rows that share no word with each other.
fn clean(rows: std::ops::Range<usize>) -> Vec<Row> {
    rows.map(|i| {
        let context = if i % 2 == 0 {
            words(3 * i, 60)
        } else {
            String::new()
        };
        row(
            &i.to_string(),
            &words(3 * i + 1, 1 + i % 20),
            &context,
            &words(3 * i + 2, 20),
        )
    })
    .collect()
}

fn find(train: &[Row], test: &[Row]) -> Vec<Leak> {
    leaks(train, test, &LeakOptions::default())
}

#[test]
fn each_planted_leak_is_found_and_nothing_else() {
    let mut train = clean(0..200);
    let mut test = clean(200..260);
    let found = find(&train, &test);
    assert_eq!(found, [], "a clean set");
    test[3] = row(
        "exact",
        &train[8].instruction,
        train[8].context.as_ref().unwrap(),
        "other",
    );
    test[5] = row(
        "normal",
        &format!("«{}»!", train[19].instruction.to_uppercase()),
        "",
        "x",
    );
    let near = train[18]
        .context
        .as_ref()
        .unwrap()
        .replace("w54x59", "changed");
    test[7] = row("near", &train[18].instruction, &near, "x");
    test[9] = row(
        "answer",
        &words(9001, 9),
        "",
        "It is — w60x10, W60x11 w60x12 w60x13 w60x14.",
    );
    train[20].context = Some(format!("It is {}", words(60, 60)));
    train[20].context = train[20]
        .context
        .take()
        .map(|c| c.replace("w60x9 ", "w60x9 it is "));
    test[11] = row(
        "context",
        &words(9002, 9),
        &train[30].context.as_ref().unwrap().to_uppercase(),
        "x",
    );
    let found = find(&train, &test);
    let said: Vec<_> = found
        .iter()
        .map(|leak| {
            (
                leak.index,
                leak.id.as_str(),
                leak.kind,
                leak.train_ids(leak.kind).join(","),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            (3, "exact", LeakKind::Exact, "8".to_owned()),
            (5, "normal", LeakKind::Normalised, "19".to_owned()),
            (7, "near", LeakKind::Near, "18".to_owned()),
            (9, "answer", LeakKind::AnswerInContext, "20".to_owned()),
            (11, "context", LeakKind::SharedContext, "30".to_owned()),
        ]
    );
    let similarity = found[2].matches[0].similarity.unwrap();
    assert!((0.8..1.0).contains(&similarity), "{similarity}");

    flag(&mut test, &found);
    let flagged: Vec<_> = test.iter().filter_map(|row| row.leak).collect();
    assert_eq!(
        flagged,
        found.iter().map(|leak| leak.kind).collect::<Vec<_>>()
    );
    let removed = drop_leaks(&mut train, &found);
    let ids: Vec<_> = removed.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["8", "18", "19", "20", "30"]);
    assert_eq!(train.len(), 195);
    assert_eq!(find(&train, &test), []);
}

#[test]
fn words_decide_and_wordless_texts_identify_nothing() {
    let train = [
        row("1", "Who was Ada?", "", "r"),
        row("2", "Summarise.", "Bees dance.", "r"),
        row("3", "Who?", "Bees dance.", "r"),
        row("4", "???", "", "r"),
    ];
    let test = [
        row("a", "Who was Ada?", "", "r"),
        row("b", "who was  ada", "", "r"),
        row("c", "List the animals.", "bees DANCE", "r"),
        row("d", "Summarise.", "Ants march.", "r"),
        row("e", "!!!", "", "r"),
        row("f", "???", "", "r"),
    ];
    let found: Vec<_> = find(&train, &test)
        .iter()
        .map(|leak| {
            (
                leak.id.clone(),
                leak.kinds(),
                leak.train_ids(leak.kind).join(","),
            )
        })
        .collect();
    let want = |id: &str, kind, train: &str| (id.to_owned(), vec![kind], train.to_owned());
    assert_eq!(
        found,
        [
            want("a", LeakKind::Exact, "1"),
            want("b", LeakKind::Normalised, "1"),
            want("c", LeakKind::SharedContext, "2,3"),
            want("f", LeakKind::Exact, "4"),
        ]
    );
}

#[test]
fn short_answers_are_no_leak() {
    let train = [row(
        "1",
        "q",
        "Yes, it was in the year of 1815 that the whole war ended.",
        "r",
    )];
    let holds = |answer: &str| !find(&train, &[row("a", "other", "", answer)]).is_empty();
    assert!(!holds("yes"));
    assert!(!holds("in the year of 1815"));
    assert!(!holds("year of 1815 that the whole war began."));
    assert!(!holds("it was in the 1815 that the whole war"));
    assert!(holds("In the year of 1815, that the whole war ended!"));
}

#[test]
fn conversations_are_compared_whole() {
    let talk = |id: &str, first: &str| Row {
        messages: [
            ("user", first),
            ("assistant", "Yes."),
            ("user", "Go on"),
            ("assistant", "Ok"),
        ]
        .map(|(role, content)| Turn {
            role: role.into(),
            content: content.into(),
        })
        .into(),
        ..row(id, "Go on", "", "Ok")
    };
    let train = [talk("1", "Tell me of bees"), talk("2", "Tell me of ants")];
    let found = find(
        &train,
        &[talk("a", "Tell me of wasps"), talk("b", "tell me of ANTS")],
    );
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].id.as_str(), found[0].kind),
        ("b", LeakKind::Normalised)
    );
}

#[test]
fn a_set_holds_things_twice() {
    let mut rows = clean(0..40);
    rows[30] = rows[4].clone();
    rows[31].instruction = rows[9].instruction.to_uppercase();
    rows[32] = rows[6].clone();
    rows[32].instruction.push_str(" more");
    let groups = duplicates(&rows, &LeakOptions::default());
    let of = |group: &DuplicateGroup| (group.kind, group.rows.clone());
    assert_eq!(
        groups.iter().map(of).collect::<Vec<_>>(),
        [
            (LeakKind::Exact, vec![4, 30]),
            (LeakKind::Near, vec![6, 32]),
            (LeakKind::Normalised, vec![9, 31]),
        ]
    );
    let (val, test) = (clean(50..60), vec![rows[4].clone()]);
    let report = LeakAudit::new(&rows, &val, &test, &LeakOptions::default()).report();
    assert_eq!(
        (report.train.groups, report.train.rows, report.train.near),
        (3, 3, 1)
    );
    assert_eq!((report.train_test.rows, report.train_test.exact), (1, 1));
    assert_eq!(
        (report.train_val.rows, report.val_test.rows, report.val.rows),
        (0, 0, 0)
    );
}

proptest! {
    /// Reordering training and test rows changes nothing but indices.
    #[test]
    fn order_does_not_matter(
        picks in prop::collection::vec((0usize..6, 0usize..4, 0usize..3), 2..24), cut in 1usize..23,
    ) {
        let rows: Vec<Row> = picks
            .iter()
            .enumerate()
            .map(|(i, &(question, context, tail))| {
                let context = if context == 0 { String::new() } else { words(100 + context, 40) };
                let question = format!("{} {}", words(question, 30), words(200 + tail, tail));
                row(&i.to_string(), &question, &context, &words(101, 7))
            })
            .collect();
        let (train, test) = rows.split_at(cut.min(rows.len() - 1));
        let reversed = |rows: &[Row]| rows.iter().rev().cloned().collect::<Vec<_>>();
        let plain = |leaks: Vec<Leak>| {
            let mut all: Vec<_> = leaks
                .into_iter()
                .map(|leak| {
                    let matches = leak.matches.into_iter();
                    let mut ids: Vec<_> = matches.map(|m| (m.kind, m.id)).collect();
                    ids.sort();
                    (leak.id, leak.kind, ids)
                })
                .collect();
            all.sort();
            all
        };
        let forth = plain(find(train, test));
        prop_assert_eq!(&forth, &plain(find(&reversed(train), &reversed(test))));
        let groups = |rows: &[Row]| {
            let groups = duplicates(rows, &LeakOptions::default()).into_iter();
            let mut ids: Vec<_> = groups
                .map(|mut group| {
                    group.ids.sort();
                    (group.kind, group.ids)
                })
                .collect();
            ids.sort();
            ids
        };
        prop_assert_eq!(groups(&rows), groups(&reversed(&rows)));
    }
}
