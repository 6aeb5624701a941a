//! Scores as lines for people.

use std::fmt::Write;

use textmetrics::{Compat, Metric, Metrics, Scores};

/// The scores as `evaluate` prints them, without the final newline.
pub(crate) fn lines(scores: &Scores, clean: Option<&Metrics>) -> String {
    let labels = labels(scores);
    let thresh = scores.options.short_thresh;
    let both_ways = scores.options.compat == Compat::Default;
    let mut out = format!("Total examples: {}\n", scores.all.n);
    group(&mut out, &scores.all, &labels, 0, both_ways);
    out += "\n-- Short-Answer Subset --\n";
    let _ = writeln!(
        out,
        "Subset size (gold ≤ {thresh} tokens): {}",
        scores.short.n
    );
    if scores.short.n > 0 {
        group(&mut out, &scores.short, &labels, 1, both_ways);
    }
    if let Some(clean) = clean {
        out += "\n-- Clean Subset --\n";
        let _ = writeln!(out, "Subset size (not seen in training): {}", clean.n);
        group(&mut out, clean, &labels, 0, both_ways);
    }
    out.truncate(out.trim_end().len());
    out
}

/// Each line's metric and its label in the whole and in the short group.
type Label = (Metric, [String; 2]);

fn labels(scores: &Scores) -> Vec<Label> {
    let both = |metric, text: &str| (metric, [text.to_owned(), text.to_owned()]);
    let original = scores.options.compat == Compat::Original;
    // Debug formatting writes 1.0 as Python does.
    let rouge = scores.options.rouge_thresh;
    let relaxed = format!("Relaxed Match (≤{} tokens)", scores.options.short_thresh);
    let mut labels = vec![
        both(Metric::Em, "Exact Match (accuracy)"),
        (Metric::Relaxed, [relaxed, "Relaxed Match".to_owned()]),
        both(Metric::F1, "Token-level F1 (avg)"),
    ];
    if original {
        labels.push(both(Metric::RougeLsum, "Rouge-L (avg F)"));
        labels.push(both(
            Metric::AccAtRouge,
            &format!("Accuracy@Rouge-L>={rouge:?}"),
        ));
    } else {
        labels.push(both(Metric::Rouge1, "ROUGE-1 (stemmed, avg F)"));
        labels.push(both(Metric::Rouge2, "ROUGE-2 (stemmed, avg F)"));
        labels.push(both(Metric::RougeLsum, "ROUGE-Lsum (stemmed, avg F)"));
        labels.push(both(Metric::RougeL, "ROUGE-L (stemmed, avg F)"));
        labels.push(both(
            Metric::AccAtRouge,
            &format!("Accuracy@ROUGE-Lsum>={rouge:?}"),
        ));
    }
    labels
}

fn group(out: &mut String, metrics: &Metrics, labels: &[Label], which: usize, both_ways: bool) {
    for (metric, label) in labels {
        if let Some(mean) = metrics.get(*metric) {
            let _ = writeln!(out, "{}: {mean:.4}", label[which]);
            let exact = metrics.acc_at_rouge_exact.filter(|exact| *exact != mean);
            if let (Metric::AccAtRouge, Some(exact), true) = (*metric, exact, both_ways) {
                let _ = writeln!(out, "{} (in whole numbers): {exact:.4}", label[which]);
            }
        }
    }
}
