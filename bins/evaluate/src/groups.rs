//! The scores of all rows and of the groups that they fall into.

use std::collections::BTreeMap;

use serde::Serialize;
use textmetrics::stats::{
    BOOTSTRAP_LIMIT, Interval, StatsError, mean_interval, student_t_of, wilson,
};
use textmetrics::{Metric, Metrics, RowScore, ScoreOptions, Scores, Summary};

use crate::Prediction;

const CONFIDENCE: f64 = 0.95;
const RESAMPLES: usize = 2000;

/// The means over some of the rows, how sure they are, and how long the answers were.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Group {
    /// `all`, `short`, `clean`, `context=with`, `context=without`, or `category=` and its name.
    pub(crate) name: String,
    /// The means.
    #[serde(flatten)]
    pub(crate) metrics: Metrics,
    /// 95 % intervals by metric: Wilson for rates, bootstrap-t (Student t over 500 rows) for means.
    pub(crate) intervals: BTreeMap<&'static str, [f64; 2]>,
    /// Lengths and endings.
    pub(crate) lengths: Lengths,
}

/// How long answers are, and how they ended. Words are what white space separates.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Lengths {
    /// Mean words of the gold answer.
    pub(crate) gold_words: f64,
    /// Mean words of the prediction.
    pub(crate) prediction_words: f64,
    /// All words predicted over all words of gold answers; `None` without any of the latter.
    pub(crate) ratio: Option<f64>,
    /// Share of predictions without a word.
    pub(crate) empty: f64,
    /// Share that ended by itself, of the rows that say how they ended.
    pub(crate) stopped: Option<f64>,
    /// Share that was cut off at the token limit, of the same.
    pub(crate) cut_off: Option<f64>,
    /// Share whose prompt did not fit and was shortened.
    pub(crate) truncated: f64,
}

/// Words of a row, counted before the groups are: a row is in several of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    gold: u64,
    prediction: u64,
}

impl Words {
    /// What white space separates.
    pub(crate) fn of(row: &Prediction) -> Self {
        let words = |text: &str| text.split_whitespace().count() as u64;
        Self {
            gold: words(&row.gold),
            prediction: words(&row.prediction),
        }
    }
}

/// The rows counted so far, whole and by group; no text is kept but the names of categories.
#[derive(Default)]
pub(crate) struct Tallies {
    all: Tally,
    clean: Tally,
    short: Tally,
    about: Tally,
    alone: Tally,
    categories: BTreeMap<String, Tally>,
    leaks: bool,
    /// Rows by tenth of their token F1.
    pub(crate) f1: [usize; 10],
}

impl Tallies {
    /// Counts a row.
    pub(crate) fn push(&mut self, row: &Prediction, score: &RowScore, words: Words) {
        self.all.push(row, score, words);
        if score.short {
            self.short.push(row, score, words);
        }
        if row.leak.is_none() {
            self.clean.push(row, score, words);
        } else {
            self.leaks = true;
        }
        if row.context.trim().is_empty() {
            self.alone.push(row, score, words);
        } else {
            self.about.push(row, score, words);
        }
        if let Some(name) = &row.category {
            match self.categories.get_mut(name) {
                Some(tally) => tally.push(row, score, words),
                None => self
                    .categories
                    .entry(name.clone())
                    .or_default()
                    .push(row, score, words),
            }
        }
        self.f1[((score.f1 * 10.0) as usize).min(9)] += 1;
    }

    /// The means over all rows and the short ones.
    pub(crate) fn scores(&self, options: &ScoreOptions) -> Scores {
        self.all.summary.scores(options)
    }

    /// The means over the rows that training had not seen, where some row is flagged that it had.
    pub(crate) fn clean(&self, options: &ScoreOptions) -> Option<Metrics> {
        self.leaks.then(|| self.clean.summary.scores(options).all)
    }

    /// All groups that have a row: the whole first, then subsets, then categories by name.
    ///
    /// # Errors
    /// None for scores that [`textmetrics`] made.
    pub(crate) fn groups(&self, options: &ScoreOptions) -> Result<Vec<Group>, StatsError> {
        let subsets = [
            ("all", &self.all, true),
            ("short", &self.short, true),
            ("clean", &self.clean, self.leaks),
            ("context=with", &self.about, true),
            ("context=without", &self.alone, true),
        ];
        let subsets = subsets
            .into_iter()
            .filter(|(_, _, shown)| *shown)
            .map(|(name, tally, _)| (name.to_owned(), tally));
        let categories = self
            .categories
            .iter()
            .map(|(name, tally)| (format!("category={name}"), tally));
        subsets
            .chain(categories)
            .filter(|(_, tally)| tally.n > 0)
            .map(|(name, tally)| tally.group(name, options))
            .collect()
    }
}

/// One group's rows.
#[derive(Default)]
struct Tally {
    n: u64,
    summary: Summary,
    /// The first rows, up to one more than a bootstrap is used for.
    first: Vec<RowScore>,
    squares: [f64; Metric::ALL.len()],
    gold_words: u64,
    words: u64,
    empty: u64,
    known: u64,
    stopped: u64,
    cut_off: u64,
    truncated: u64,
}

impl Tally {
    fn push(&mut self, row: &Prediction, score: &RowScore, words: Words) {
        self.n += 1;
        self.summary.push(score);
        if self.first.len() <= BOOTSTRAP_LIMIT {
            self.first.push(*score);
        }
        for (squares, metric) in self.squares.iter_mut().zip(Metric::ALL) {
            *squares += metric.of(score).powi(2);
        }
        self.gold_words += words.gold;
        self.words += words.prediction;
        self.empty += u64::from(words.prediction == 0);
        let end = row.finish_reason.as_deref();
        self.known += u64::from(end.is_some());
        self.stopped += u64::from(end == Some("stop"));
        self.cut_off += u64::from(end == Some("length"));
        self.truncated += u64::from(row.truncated);
    }

    fn group(&self, name: String, options: &ScoreOptions) -> Result<Group, StatsError> {
        let metrics = self.summary.scores(options).all;
        let mut intervals = BTreeMap::new();
        for (metric, squares) in Metric::ALL.into_iter().zip(self.squares) {
            let mean = metrics.get(metric).unwrap_or_default();
            if let Some(ends) = self.interval(metric, mean, squares)? {
                intervals.insert(metric.name(), [ends.lo, ends.hi]);
            }
        }
        Ok(Group {
            name,
            metrics,
            intervals,
            lengths: self.lengths(),
        })
    }

    fn interval(
        &self,
        metric: Metric,
        mean: f64,
        squares: f64,
    ) -> Result<Option<Interval>, StatsError> {
        let n = self.n as f64;
        let interval = if metric.is_binary() {
            wilson(squares as u64, self.n, CONFIDENCE)? // the square of 1 is 1
        } else if self.n < 2 {
            return Ok(None);
        } else if self.n <= BOOTSTRAP_LIMIT as u64 {
            let values: Vec<f64> = self.first.iter().map(|row| metric.of(row)).collect();
            mean_interval(&values, CONFIDENCE, RESAMPLES, 0)?
        } else {
            let variance = (squares - n * mean * mean).max(0.0) / (n - 1.0);
            student_t_of(self.n, mean, variance.sqrt(), CONFIDENCE)?
        };
        Ok(Some(interval.clamp(0.0, 1.0)))
    }

    fn lengths(&self) -> Lengths {
        let n = self.n as f64;
        let of_known = |count: u64| (self.known > 0).then(|| count as f64 / self.known as f64);
        Lengths {
            gold_words: self.gold_words as f64 / n,
            prediction_words: self.words as f64 / n,
            ratio: (self.gold_words > 0).then(|| self.words as f64 / self.gold_words as f64),
            empty: self.empty as f64 / n,
            stopped: of_known(self.stopped),
            cut_off: of_known(self.cut_off),
            truncated: self.truncated as f64 / n,
        }
    }
}
