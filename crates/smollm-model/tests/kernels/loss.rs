//! Cross-entropy with its gradient in place, and argmax.

use smollm_model::cuda::args::{Argmax, CrossEntropy};

use crate::reference;
use crate::support::{assert_close, on_every_element, read_floats, read_ids, wide};

/// Rows, vocabulary, distance between rows.
const SHAPES: [(usize, usize, usize); 4] =
    [(1, 1, 8), (3, 1237, 1240), (2, 4096, 4096), (2, 5000, 5008)];

#[test]
fn cross_entropy_leaves_its_gradient_over_the_logits() {
    on_every_element(|b| {
        for (rows, vocab, stride) in SHAPES {
            let logits: Vec<f32> = b
                .values(rows * stride, 1)
                .iter()
                .map(|x| 12.0 * x)
                .collect();
            let logits = b.rounded(&logits);
            let targets: Vec<u32> = (0..rows)
                .map(|r| ((r * 977 + vocab - 1) % vocab) as u32)
                .collect();
            let real: Vec<f32> = logits
                .chunks_exact(stride)
                .flat_map(|row| row[..vocab].to_vec())
                .collect();
            let (memory, ids, nll) = (b.tensor(&logits), b.ids(&targets), b.unset_floats(rows));
            let mut args = CrossEntropy {
                logits: memory.address(),
                targets: ids.address(),
                nll: nll.address(),
                rows: rows as u32,
                vocab: vocab as u32,
                stride: stride as u32,
                with_gradient: 0,
                scale: 0.125,
            };
            let name = b.named(&format!("cross-entropy {rows} x {vocab}"));
            let (losses, gradient) = reference::cross_entropy(&wide(&real), vocab, &targets, 0.125);
            b.run(&args);
            assert_eq!(
                b.read(&memory),
                logits,
                "{name}: without the gradient nothing is written"
            );
            args.with_gradient = 1;
            b.run(&args);
            assert_close(&name, &read_floats(&nll), &losses, 2e-6);
            let found = b.read(&memory);
            let inside: Vec<f32> = found
                .chunks_exact(stride)
                .flat_map(|row| row[..vocab].to_vec())
                .collect();
            assert_close(&name, &inside, &gradient, b.once());
            let padding = |row: &[f32]| row[vocab..].iter().all(|x| *x == 0.0);
            assert!(
                found.chunks_exact(stride).all(padding),
                "{name}: padded columns are zero"
            );
        }
    });
}

#[test]
fn argmax_takes_the_lowest_of_equal_ids_and_never_nan() {
    on_every_element(|b| {
        let (vocab, stride) = (5001, 5008);
        let mut logits: Vec<Vec<f32>> = (0..4).map(|row| b.values(stride, row)).collect();
        for row in &mut logits {
            row[vocab..].fill(100.0); // beyond the vocabulary
        }
        let most = logits[0][..vocab]
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max);
        let first = logits[0].iter().position(|x| *x == most).unwrap() as u32;
        for id in [4321, 17, 4999] {
            logits[1][id] = 7.0;
        }
        logits[2][5000] = 9.0;
        logits[3][3] = f32::NAN;
        logits[3][700] = 9.0;
        let (memory, ids) = (b.tensor(&logits.concat()), b.ids(&[u32::MAX; 4]));
        b.run(&Argmax {
            logits: memory.address(),
            ids: ids.address(),
            rows: 4,
            vocab: vocab as u32,
            stride: stride as u32,
        });
        assert_eq!(
            read_ids(&ids),
            [first, 17, 5000, 700],
            "{}",
            b.named("argmax")
        );
    });
}
