//! Two reports: one as the quickstart makes it, and a large one of hostile and awkward texts.

use report::{Elsewhere, Moved, Provenance, ReportData, ReportRow, TrainPoint};
use textmetrics::stats::{
    CompareOptions, LengthControl, compare_rows, length_control, noise_floor,
};
use textmetrics::{Metric, ScoreOptions, score_row};

/// Text that would run if it were markup.
pub(crate) const ATTACK: &str = "</script><img src=x onerror=alert(1)><script>alert(2)</script><!-- **bold** [x](javascript:alert(3))";

/// A generator of numbers (splitmix64), so that the pages are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn text(&mut self, words: usize) -> String {
        const WORDS: &str = "the river model answers question city because small history often water \
            people between light number written early century music island capital however known \
            language science years built found under several great north world first";
        let all: Vec<&str> = WORDS.split_whitespace().collect();
        let chosen: Vec<&str> = (0..words).map(|_| all[self.below(all.len())]).collect();
        chosen.join(" ") + "."
    }

    /// The gold answer with some of its words kept and others made up.
    fn answer(&mut self, gold: &str, keep: usize) -> String {
        let words = gold.split_whitespace();
        let said: Vec<String> = words
            .map(|word| {
                if self.below(100) < keep {
                    word.to_owned()
                } else {
                    self.text(1)
                }
            })
            .collect();
        said.join(" ")
    }
}

fn row(i: usize, numbers: &mut Numbers, gold_words: usize) -> ReportRow {
    let categories = [
        "closed_qa",
        "summarization",
        "open_qa",
        "brainstorming",
        "information_extraction",
    ];
    let gold = numbers.text(gold_words);
    let (before, after) = (numbers.answer(&gold, 35), numbers.answer(&gold, 42));
    let options = ScoreOptions::default();
    ReportRow {
        id: Some(format!("dolly-{i:04}")),
        instruction: format!("What does passage {i} say of the {}?", numbers.text(4)),
        context: (i.is_multiple_of(2)).then(|| numbers.text(gold_words * 2)),
        before_score: score_row(&gold, &before, &options),
        after_score: score_row(&gold, &after, &options),
        gold,
        before,
        after,
        category: Some(categories[numbers.below(5)].into()),
        truncated: i.is_multiple_of(41),
        before_finish: Some(
            if i.is_multiple_of(17) {
                "length"
            } else {
                "stop"
            }
            .into(),
        ),
        after_finish: Some("stop".into()),
        leak: None,
    }
}

fn differences(rows: &[ReportRow], metric: Metric) -> Vec<f64> {
    rows.iter()
        .map(|row| metric.of(&row.after_score) - metric.of(&row.before_score))
        .collect()
}

fn matched(rows: &[ReportRow], metric: Metric) -> Option<LengthControl> {
    let words = |text: &str| (text.split_whitespace().count() as f64 + 1.0).ln();
    let lengths: Vec<f64> = rows
        .iter()
        .map(|row| words(&row.after) - words(&row.before))
        .collect();
    length_control(&lengths, &differences(rows, metric), 0.95).unwrap()
}

fn data(title: &str, rows: Vec<ReportRow>) -> ReportData {
    let before: Vec<_> = rows.iter().map(|r| r.before_score).collect();
    let after: Vec<_> = rows.iter().map(|r| r.after_score).collect();
    let options = CompareOptions {
        resamples: 500,
        ..CompareOptions::default()
    };
    let facts = [
        ("file", "runs/quickstart/tuned/predictions.jsonl"),
        (
            "sha256",
            "5f1d2c0a9be4467f8a10f2f3c6c7d1e0b9a8f7e6d5c4b3a291807f6e5d4c3b2a",
        ),
        ("model", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ];
    let facts: Vec<_> = facts
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    ReportData {
        title: title.into(),
        before: "SmolLM2-135M-Instruct".into(),
        after: "SmolLM2-135M-Instruct with the adapter runs/quickstart/adapter".into(),
        identical: false,
        comparison: compare_rows(&before, &after, &options).unwrap(),
        options,
        score_options: ScoreOptions::default(),
        length_control: [Metric::F1, Metric::RougeLsum]
            .into_iter()
            .filter_map(|metric| Some((metric.name(), matched(&rows, metric)?)))
            .collect(),
        noise_floor: Metric::ALL
            .into_iter()
            .map(|metric| {
                // A second run that changed every tenth answer.
                let changes = differences(&rows, metric).into_iter().enumerate();
                let changes: Vec<f64> = changes
                    .map(|(i, d)| if i.is_multiple_of(10) { d } else { 0.0 })
                    .collect();
                (metric.name(), noise_floor(&changes, 0.95).unwrap())
            })
            .collect(),
        rows,
        training: (1..=120).map(point).collect(),
        elsewhere: Some(elsewhere()),
        provenance: vec![
            Provenance {
                title: "Before".into(),
                facts: facts.clone(),
            },
            Provenance {
                title: "After".into(),
                facts,
            },
        ],
        notes: vec![],
    }
}

/// Twelve texts, one of them worse.
fn elsewhere() -> Elsewhere {
    let mut numbers = Numbers(11);
    let mut text = |i: usize| {
        let mut part = || numbers.below(1000) as f64 / 1000.0;
        let before = 8.0 + 40.0 * part();
        let moved = Moved {
            tokens: 120 + 9 * i,
            perplexity_before: before,
            perplexity_after: before * (0.97 + 0.04 * part()),
            kl: 0.02 * part(),
            same_choice: 0.9 + 0.1 * part(),
        };
        (format!("text of kind {i}"), moved)
    };
    let texts = (0..12).map(&mut text).collect();
    let all = text(180).1;
    Elsewhere { all, texts }
}

fn point(step: u64) -> TrainPoint {
    let at = step as f64;
    let wave = 0.15 * (at * 1.7).sin() + 0.08 * (at * 0.37).cos();
    TrainPoint {
        step,
        loss: Some(1.5 + 1.1 * (-at / 25.0).exp() + wave),
        eval_loss: step
            .is_multiple_of(30)
            .then(|| 1.6 + 0.9 * (-at / 30.0).exp()),
        lr: Some(
            2e-4 * if step < 5 {
                at / 5.0
            } else {
                0.5 + 0.5 * (at / 120.0 * std::f64::consts::PI).cos()
            },
        ),
    }
}

/// Fifteen rows, four of them with a short gold answer.
pub(crate) fn small() -> ReportData {
    let mut numbers = Numbers(7);
    let mut rows: Vec<_> = (0..15)
        .map(|i| row(i, &mut numbers, if i.is_multiple_of(4) { 5 } else { 40 }))
        .collect();
    // Tuning made some answers shorter.
    for row in rows.iter_mut().skip(1).step_by(3) {
        let words: Vec<&str> = row.after.split_inclusive(' ').collect();
        row.after = words[..words.len() - words.len() / 3].concat();
        row.after_score = score_row(&row.gold, &row.after, &ScoreOptions::default());
    }
    data("Quickstart: base and tuned on 15 rows", rows)
}

/// 1,500 rows of about 250 words, the first of them hostile or awkward.
pub(crate) fn large() -> ReportData {
    let mut numbers = Numbers(8);
    let mut rows: Vec<ReportRow> = (0..1_500)
        .map(|i| row(i, &mut numbers, if i.is_multiple_of(5) { 8 } else { 55 }))
        .collect();
    let long = "pneumonoultramicroscopicsilicovolcanoconiosis".repeat(40);
    let awkward = [
        ATTACK.to_owned(),
        "مرحبا بالعالم، هذا نص من اليمين إلى اليسار. עברית גם כן".to_owned(),
        long,
        "日本語のテキスト 🤖👩‍👩‍👧 e\u{301}\u{200d}\u{202e}reversed\u{202c} \u{0}\u{7f}".to_owned(),
        "# heading\n\n| a | b |\n|---|---|\n`code` <b>&amp;</b> \u{2028}\u{2029}".to_owned(),
    ];
    for (row, text) in rows.iter_mut().zip(awkward) {
        row.instruction.clone_from(&text);
        row.context = Some(text.clone());
        row.category = Some(ATTACK.into());
        row.gold = format!("right answer {text}");
        row.before = "something else".into();
        row.after = format!("right answer {text}");
        row.before_score = score_row(&row.gold, &row.before, &ScoreOptions::default());
        row.after_score = score_row(&row.gold, &row.after, &ScoreOptions::default());
    }
    rows[0].id = Some(ATTACK.into());
    let mut data = data("Base and tuned on 1,500 rows", rows);
    data.notes.push(ATTACK.into());
    data
}

/// What `rows` rows alone leave of the small page: no training, no categories.
pub(crate) fn bare(rows: usize) -> ReportData {
    let mut few = small().rows;
    few.truncate(rows);
    for row in &mut few {
        row.category = None;
    }
    let mut data = data("A few rows", few);
    data.training.clear();
    data.provenance.clear();
    data.noise_floor.clear();
    data
}
