//! Against `TensorBoard`'s own writer (`fixtures/scripts/golden_tensorboard.py`).

use super::*;

const GOLDEN: &[u8] = include_bytes!("../../../../fixtures/goldens/tensorboard/events");

/// What the script writes.
fn ours() -> Vec<Vec<u8>> {
    let start = 1_700_000_000.0;
    let mut all = vec![record(&version(start))];
    for step in [1_usize, 2, 300, 70_000] {
        let at = start + step as f64 + 0.25;
        let loss = 3.0 / step as f64;
        let scalars = [("train/loss", loss), ("train/learning_rate", 2e-4)];
        all.push(record(&event(at, step, &scalars)));
        if step % 2 == 0 {
            all.push(record(&event(at, step, &[("eval/rougeL", -loss)])));
        }
    }
    all
}

#[test]
fn the_bytes_are_those_of_tensorboards_own_writer() {
    assert_eq!(ours().concat(), GOLDEN);
}

#[test]
fn checksums_are_castagnolis() {
    // RFC 3720, B.4.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn a_file_is_cut_to_what_is_behind() {
    let all = ours();
    let behind = |steps, settled| Progress {
        steps,
        settled,
        ..Progress::default()
    };
    // Version, step 1, step 2 with its evaluation, step 300 with one, step 70,000 with one.
    for (steps, settled, left) in [
        (1, true, 2),
        (2, true, 4),
        (2, false, 3),
        (299, true, 4),
        (300, true, 6),
        (70_000, false, 7),
        (70_000, true, 8),
    ] {
        assert_eq!(
            kept(GOLDEN, &behind(steps, settled)),
            all[..left].concat(),
            "{steps} {settled}"
        );
    }
    // Half a frame, and a frame with a flipped bit, end it.
    let whole = behind(70_000, true);
    for end in 0..GOLDEN.len() {
        let cut = kept(&GOLDEN[..end], &whole);
        let frames = (0..=all.len()).rev();
        let frames = frames.map(|n| all[..n].concat()).find(|f| f.len() <= end);
        assert_eq!(Some(cut), frames, "{end}");
    }
    let mut damaged = GOLDEN.to_vec();
    damaged[all[0].len() + 14] ^= 1;
    assert_eq!(kept(&damaged, &whole), all[0]);
}
