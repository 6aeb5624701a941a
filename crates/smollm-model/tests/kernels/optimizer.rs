//! Norm, clipping and the update.

use smollm_model::cuda::args::{AdamW, Clip, Squares, Step, Sum};

use crate::support::{Bench, assert_close, on_every_machine, read_floats, values, wide};

#[test]
fn the_norm_and_the_clipping_factor_stay_on_the_device() {
    on_every_machine(|machine| {
        let b = Bench::f32(machine);
        for (n, max_norm) in [(1, 1e9f32), (16_384, 1.0), (40_001, 0.5)] {
            let gradient = values(n, 1);
            let (g, pieces) = (b.floats(&gradient), n.div_ceil(16_384));
            let (partial, out) = (b.unset_floats(pieces), b.unset_floats(2));
            b.run(&Squares {
                x: g.address(),
                partial: partial.address(),
                n: n as u64,
            });
            b.run(&Clip {
                partial: partial.address(),
                out: out.address(),
                pieces: pieces as u32,
                max_norm,
            });
            let norm = wide(&gradient).iter().map(|x| x * x).sum::<f64>().sqrt();
            let clip = (f64::from(max_norm) / (norm + 1e-6)).min(1.0);
            let found = read_floats(&out);
            assert_close(&b.named("norm"), &found[..1], &[norm], 1e-6);
            assert_close(&b.named("clip"), &found[1..], &[clip], 1e-6);
        }
    });
}

#[test]
fn losses_are_summed_in_order() {
    on_every_machine(|machine| {
        let b = Bench::f32(machine);
        for n in [1, 999, 5000] {
            let losses = values(n, 2);
            let (x, out) = (b.floats(&losses), b.floats(&[2.5]));
            let expected: f64 = wide(&losses).iter().sum();
            for (add, expected) in [(1, 2.5 + expected), (0, expected)] {
                b.run(&Sum {
                    x: x.address(),
                    out: out.address(),
                    n: n as u32,
                    add,
                });
                assert_close(&b.named("sum"), &read_floats(&out), &[expected], 1e-5);
            }
        }
    });
}

#[test]
fn adamw_takes_three_steps() {
    on_every_machine(|machine| {
        let b = Bench::f32(machine);
        let n = 1027; // the last elements fill no 16 bytes
        let (beta1, beta2, eps, weight_decay, clip) = (0.9f64, 0.999f64, 1e-8f64, 0.01f64, 0.5f64);
        let mut p = wide(&values(n, 1));
        let (mut m, mut v) = (vec![0.0f64; n], vec![0.0f64; n]);
        let (zeros, start) = (vec![0f32; n], values(n, 1));
        let (ps, ms, vs) = (b.floats(&start), b.floats(&zeros), b.floats(&zeros));
        let norm = b.floats(&[9.0, clip as f32]);
        for t in 1..=3i32 {
            let (gradient, lr) = (values(n, 10 + t as u64), 1e-3 * f64::from(t));
            let step = Step {
                lr: lr as f32,
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                eps: eps as f32,
                weight_decay: weight_decay as f32,
                correction1: (1.0 - beta1.powi(t)) as f32,
                correction2: (1.0 - beta2.powi(t)) as f32,
            };
            let Step {
                correction1,
                correction2,
                ..
            } = step;
            let fields = [
                step.lr,
                step.beta1,
                step.beta2,
                step.eps,
                step.weight_decay,
                correction1,
                correction2,
            ];
            let (g, step) = (b.floats(&gradient), b.floats(&fields));
            b.run(&AdamW {
                p: ps.address(),
                m: ms.address(),
                v: vs.address(),
                g: g.address(),
                step: step.address(),
                clip: norm.address(),
                n: n as u64,
            });
            for i in 0..n {
                let g = clip * f64::from(gradient[i]);
                m[i] = beta1 * m[i] + (1.0 - beta1) * g;
                v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
                let (m, v) = (m[i] / (1.0 - beta1.powi(t)), v[i] / (1.0 - beta2.powi(t)));
                p[i] = p[i] * (1.0 - lr * weight_decay) - lr * m / (v.sqrt() + eps);
            }
        }
        assert_close(&b.named("p"), &read_floats(&ps), &p, 1e-6);
        assert_close(&b.named("m"), &read_floats(&ms), &m, 1e-6);
        assert_close(&b.named("v"), &read_floats(&vs), &v, 5e-5); // 1 − 0.999 in f32
    });
}
