//! The page as a browser gets it.

use std::collections::BTreeMap;

use report::{
    Elsewhere, Moved, Provenance, ReportData, ReportRow, SweepData, SweepRow, SweepTest,
    TrainPoint, render, render_sweep,
};
use textmetrics::stats::{CompareOptions, compare_rows};
use textmetrics::{ScoreOptions, score_row};

const ATTACK: &str = r#"</script><script>alert(1)</script><img src=x onerror=alert(2)>"'&"#;

fn data(answers: &[(&str, &str, &str)]) -> ReportData {
    let score_options = ScoreOptions::default();
    let rows: Vec<ReportRow> = answers
        .iter()
        .map(|&(gold, before, after)| ReportRow {
            id: Some(ATTACK.into()),
            instruction: format!("Why? {ATTACK}"),
            context: Some(ATTACK.into()),
            gold: gold.into(),
            before: before.into(),
            after: after.into(),
            before_score: score_row(gold, before, &score_options),
            after_score: score_row(gold, after, &score_options),
            category: Some(ATTACK.into()),
            truncated: false,
            before_finish: Some("stop".into()),
            after_finish: Some("length".into()),
            leak: None,
        })
        .collect();
    let before: Vec<_> = rows.iter().map(|r| r.before_score).collect();
    let after: Vec<_> = rows.iter().map(|r| r.after_score).collect();
    let options = CompareOptions::default();
    ReportData {
        title: ATTACK.into(),
        before: ATTACK.into(),
        after: ATTACK.into(),
        identical: false,
        comparison: compare_rows(&before, &after, &options).expect("valid"),
        options,
        score_options,
        length_control: BTreeMap::new(),
        noise_floor: BTreeMap::new(),
        rows,
        training: vec![TrainPoint {
            step: 1,
            loss: Some(2.0),
            eval_loss: Some(f64::NAN),
            lr: Some(1e-4),
        }],
        elsewhere: Some(Elsewhere {
            all: Moved {
                tokens: 2,
                kl: f64::NAN,
                perplexity_before: 20.0,
                perplexity_after: f64::NAN,
                same_choice: 0.5,
            },
            texts: vec![(ATTACK.into(), Moved::default())],
        }),
        provenance: vec![Provenance {
            title: ATTACK.into(),
            facts: vec![(ATTACK.into(), ATTACK.into())],
        }],
        notes: vec![ATTACK.into()],
    }
}

#[test]
fn text_from_models_stays_text() {
    let page = render(&data(&[
        (ATTACK, ATTACK, "Paris"),
        ("Paris", "Rome", ATTACK),
    ]));
    assert!(!page.contains("<img"));
    for tag in ["<script", "</script"] {
        assert_eq!(page.matches(tag).count(), 2, "{tag}: the data and our own");
    }
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn nothing_is_loaded_from_anywhere() {
    let page = render(&data(&[("a b", "a", "a b")]));
    for reference in [
        "http://", "https://", "url(", "@import", "<link", "src=", "href=",
    ] {
        let without_text = page.replace("src=x onerror", "");
        assert!(!without_text.contains(reference), "{reference}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn one_row_empty_answers_and_no_number_are_drawn_without_nan() {
    let page = render(&data(&[("Paris", "", "")]));
    assert!(page.contains("(empty)") && page.contains("The same scores"));
    assert!(!page.contains("NaN") && !page.contains("inf"));
}

#[test]
fn what_was_moved_elsewhere_is_there_if_it_was_measured() {
    let mut data = data(&[("a b", "a", "a b")]);
    let moved = |perplexity_after, kl| Moved {
        tokens: 100,
        perplexity_before: 20.0,
        perplexity_after,
        kl,
        same_choice: 0.95,
    };
    data.elsewhere = Some(Elsewhere {
        all: moved(19.0, 0.0123),
        texts: vec![
            ("a story".into(), moved(18.0, 0.01)),
            ("code".into(), moved(21.0, 0.02)),
        ],
    });
    let page = render(&data);
    for part in [
        "<h2>Elsewhere</h2>",
        "perplexity fell from 20.00 to 19.00 (\u{2212}5.00 %), better on 1 of 2 texts",
        "a story",
        "+5.00 %",
        "\u{2212}10.00 %",
        "0.0123",
        "95.0 %",
    ] {
        assert!(page.contains(part), "{part}");
    }
    data.elsewhere = None;
    assert!(!render(&data).contains("lsewhere"));
}

#[test]
fn a_large_page_stays_small() {
    let row = ("one two three four", "one two five", "one two three");
    let page = render(&data(&vec![row; 1_500]));
    assert!(page.len() < 3_000_000, "{}", page.len());
}

fn sweep(scores: &[(&str, f64, f64)]) -> SweepData {
    let best = scores[0].1;
    let row = |&(settings, mean, half): &(&str, f64, f64)| SweepRow {
        settings: settings.into(),
        scores: vec![mean - half, mean + half],
        mean,
        interval: Some((mean - half, mean + half)),
        behind: (mean != best).then_some(mean - best),
        behind_interval: (mean != best).then_some((mean - best - half, mean - best + half)),
    };
    SweepData {
        title: ATTACK.into(),
        metric: ATTACK.into(),
        lower_is_better: true,
        seeds: vec![1, 2],
        rows: scores.iter().map(row).collect(),
        test: vec![SweepTest {
            metric: "f1".into(),
            before: 0.25,
            after: 0.5,
            interval: None,
            verdict: ATTACK.into(),
        }],
        provenance: vec![],
        notes: vec![ATTACK.into()],
    }
}

#[test]
fn a_sweep_says_which_recipes_the_seeds_cannot_tell_from_the_best() {
    let page = render_sweep(&sweep(&[
        (ATTACK, 1.0, 0.125),
        ("near", 1.0625, 0.125),
        ("far", 2.0, 0.125),
    ]));
    assert!(page.contains("+0.0625: these seeds cannot tell"), "{page}");
    assert!(page.contains("+1.0000 (+0.8750 to +1.1250)"), "{page}");
    assert!(page.contains("the best of 3 by mean"), "{page}");
    assert!(
        page.contains("Token F1") || page.contains("token F1"),
        "{page}"
    );
    assert!(page.contains("+0.2500"), "{page}");
    for tag in ["<script", "<img", "http://", "https://"] {
        assert!(!page.contains(tag), "{tag}");
    }
    // Three recipes with two seeds and a mean each, in a wide and a narrow drawing.
    assert_eq!(page.matches("<circle").count(), 2 * 3 * 3);
}

#[test]
fn a_sweep_of_one_recipe_with_one_seed_has_no_interval_and_no_broken_number() {
    let page = render_sweep(&SweepData {
        seeds: vec![1],
        rows: vec![SweepRow {
            settings: "lr=1e-4".into(),
            scores: vec![1.5],
            mean: 1.5,
            ..SweepRow::default()
        }],
        ..SweepData::default()
    });
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
}
