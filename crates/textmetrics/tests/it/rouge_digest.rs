//! 100,000 made-up pairs in every ROUGE type, bit for bit. See `tests/golden/rouge_digest.py`, whose
//! generator this one repeats.

use rayon::prelude::*;
use serde::Deserialize;
use textmetrics::rouge::{RougeScorer, Score};

#[derive(Deserialize)]
struct Digests {
    types: Vec<String>,
    block: u64,
    plain: Vec<Vec<String>>,
    stemmed: Vec<Vec<String>>,
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

fn length(rng: &mut SplitMix) -> u64 {
    match rng.below(64) {
        0..=2 => 0,
        3 => 100 + rng.below(150),
        4..=19 => 1 + rng.below(8),
        _ => 1 + rng.below(40),
    }
}

fn text(rng: &mut SplitMix, pieces: &[String], source: &[usize]) -> (Vec<usize>, String) {
    let (mut picked, mut out) = (Vec::new(), String::new());
    let mut at = rng.below(source.len().max(1) as u64) as usize;
    for _ in 0..length(rng) {
        let piece = if !source.is_empty() && rng.below(4) > 0 {
            source[at % source.len()]
        } else {
            rng.below(pieces.len() as u64) as usize
        };
        at += 1 + (rng.below(8) / 7) as usize;
        picked.push(piece);
        out += &pieces[piece];
        out += match rng.below(16) {
            0 => "",
            1 => "\n",
            _ => " ",
        };
    }
    (picked, out)
}

fn pair(row: u64, pieces: &[String]) -> (String, String) {
    let mut rng = SplitMix(row);
    let (picked, gold) = text(&mut rng, pieces, &[]);
    let follow = rng.below(8) > 0;
    let source: &[usize] = if follow { &picked } else { &[] };
    let (_, prediction) = text(&mut rng, pieces, source);
    (gold, prediction)
}

fn scores(scorer: &mut RougeScorer, gold: &str, prediction: &str) -> Vec<Score> {
    let rouge = scorer.score(gold, prediction);
    let mut scores = vec![rouge.rouge1, rouge.rouge2];
    scores.extend((3..=9).map(|n| scorer.rouge_n(gold, prediction, n)));
    scores.extend([rouge.rouge_l, rouge.rouge_lsum]);
    scores
}

fn digest(block: u64, size: u64, stem: bool, pieces: &[String]) -> Vec<String> {
    let mut scorer = RougeScorer::new(stem);
    let mut folded = [0u64; 11];
    for row in block * size..(block + 1) * size {
        let (gold, prediction) = pair(row, pieces);
        for (fold, score) in folded
            .iter_mut()
            .zip(scores(&mut scorer, &gold, &prediction))
        {
            for x in [score.precision, score.recall, score.f] {
                *fold = (*fold ^ x.to_bits())
                    .wrapping_mul(0x100_0000_01B3)
                    .wrapping_add(1);
            }
        }
    }
    folded.iter().map(|d| format!("{d:016x}")).collect()
}

#[test]
fn a_hundred_thousand_pairs_agree_with_rouge_score_bit_for_bit() {
    let pieces: Vec<String> =
        serde_json::from_str(include_str!("../golden/rouge_pieces.json")).unwrap();
    let expected: Digests =
        serde_json::from_str(include_str!("../golden/rouge_digest.json")).unwrap();
    assert_eq!(expected.types.len(), 11);
    assert_eq!(expected.plain.len() as u64 * expected.block, 100_000);
    assert_eq!(expected.stemmed.len(), expected.plain.len());
    (0..expected.plain.len()).into_par_iter().for_each(|block| {
        for (stem, wanted) in [(false, &expected.plain), (true, &expected.stemmed)] {
            let found = digest(block as u64, expected.block, stem, &pieces);
            for ((kind, found), wanted) in expected.types.iter().zip(&found).zip(&wanted[block]) {
                assert_eq!(
                    found, wanted,
                    "{kind}, stem: {stem}; python tests/golden/rouge_digest.py show {block}"
                );
            }
        }
    });
}

#[test]
fn several_references_take_the_best_of_each_type() {
    let golds = ["the cat sat", "a dog ran far away", "cats sit"];
    let prediction = "the cats ran far";
    let mut scorer = RougeScorer::new(true);
    let best = scorer.score_multi(&golds, prediction);
    let each = golds.map(|gold| scorer.score(gold, prediction));
    let max = |of: fn(&textmetrics::rouge::Rouge) -> f64| each.iter().map(of).fold(0.0, f64::max);
    assert_eq!(best.rouge1.f, max(|r| r.rouge1.f));
    assert_eq!(best.rouge2.f, max(|r| r.rouge2.f));
    assert_eq!(best.rouge_l.f, max(|r| r.rouge_l.f));
    assert_eq!(best.rouge_lsum.f, max(|r| r.rouge_lsum.f));
    assert_eq!(
        scorer.score_multi(&[], prediction),
        textmetrics::rouge::Rouge::default()
    );
}
