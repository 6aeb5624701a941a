//! What new adapters start with, where it needs no base, and how `init_lora_weights` is spelt.

use crate::support::{distance, fixture, values};
use candle_core::DType;
use lora::{Adapter, InitLoraWeights, LoraConfig, LoraError};
use smollm_model::{Checkpoint, ModelFiles};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

const ALL: [InitLoraWeights; 6] = [
    InitLoraWeights::Default,
    InitLoraWeights::Gaussian,
    InitLoraWeights::Orthogonal,
    InitLoraWeights::Pissa,
    InitLoraWeights::PissaNiter(4),
    InitLoraWeights::Olora,
];

fn base() -> Checkpoint {
    Checkpoint::open(&ModelFiles::Dir(fixture("tiny-model"))).unwrap()
}

fn config(r: usize) -> LoraConfig {
    LoraConfig {
        r,
        lora_alpha: 12.0,
        target_modules: "all-linear".parse().unwrap(),
        ..LoraConfig::default()
    }
}

fn init(how: InitLoraWeights, r: usize, seed: u64) -> Adapter {
    Adapter::init_as(how, &base(), DType::F32, config(r), seed).unwrap()
}

fn moments(values: &[f32]) -> (f64, f64) {
    let mean = |of: &dyn Fn(f64) -> f64| {
        values.iter().map(|x| of(f64::from(*x))).sum::<f64>() / values.len() as f64
    };
    (mean(&|x| x), mean(&|x| x * x).sqrt())
}

#[test]
fn names_are_pefts_and_what_we_do_not_have_is_named() {
    for how in ALL {
        assert_eq!(how.to_string().parse::<InitLoraWeights>().unwrap(), how);
    }
    let parsed = |text: &str| text.parse::<InitLoraWeights>();
    assert_eq!(parsed("default").unwrap(), InitLoraWeights::Default);
    assert_eq!(parsed("True").unwrap(), InitLoraWeights::Default);
    for name in [
        "eva",
        "corda",
        "loftq",
        "lora_ga",
        "mica",
        "false",
        "pissa_niter_",
        "pissa_niter_x",
        "kaiming",
    ] {
        let error = parsed(name).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("olora"), "{error}");
    }
}

#[test]
fn whoever_watches_hears_of_every_weight_and_may_end_it_after_any() {
    let heard = AtomicUsize::new(0);
    let watched = |how: InitLoraWeights, most: usize| {
        heard.store(0, Ordering::SeqCst);
        let watch = || {
            if heard.fetch_add(1, Ordering::SeqCst) < most {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        one.unwrap()
            .install(|| Adapter::init_watched(how, &base(), DType::F32, config(4), 3, &watch))
    };
    for how in ALL {
        let whole = watched(how, 14).unwrap();
        assert_eq!(
            heard.load(Ordering::SeqCst),
            14,
            "{how}: seven in two layers"
        );
        for (name, tensor) in init(how, 4, 3).tensors() {
            assert_eq!(
                values(tensor),
                values(whole.tensors()[&name]),
                "{how}, {name}"
            );
        }
        for after in [0, 5] {
            let error = watched(how, after).unwrap_err();
            assert!(matches!(error, LoraError::Stopped), "{how}: {error}");
            let begun = heard.load(Ordering::SeqCst);
            assert_eq!(begun, after + 1, "{how}: none is decomposed after that");
        }
    }
}

#[test]
fn gaussian_is_normal_with_deviation_1_over_r_and_b_is_zero() {
    for r in [2, 8] {
        let adapter = init(InitLoraWeights::Gaussian, r, 1);
        let mut all = Vec::new();
        for (_, pair) in adapter.pairs() {
            assert!(values(&pair.b).iter().all(|x| *x == 0.0));
            all.extend(values(&pair.a));
        }
        let (mean, deviation) = moments(&all);
        let (expected, error) = (1.0 / r as f64, (all.len() as f64).sqrt().recip());
        assert!(mean.abs() < 4.0 * error * expected, "{r}: {mean}");
        assert!(
            (deviation / expected - 1.0).abs() < 4.0 * error,
            "{r}: {deviation}"
        );
    }
}

#[test]
fn orthogonal_factors_are_not_zero_but_their_product_is() {
    let adapter = init(InitLoraWeights::Orthogonal, 6, 1);
    for (site, pair) in adapter.pairs() {
        let product = values(&pair.b.matmul(&pair.a).unwrap());
        assert!(product.iter().all(|x| x.abs() < 1e-6), "{}", site.path());
        // Rows of an orthogonal matrix, half of them, times normal numbers: r/2 unit squares in r, over 100.
        for matrix in [&pair.a, &pair.b] {
            let (_, deviation) = moments(&values(matrix));
            let expected = 0.5f64.sqrt() / 10.0;
            assert!((deviation / expected - 1.0).abs() < 0.25, "{deviation}");
        }
    }
    let odd = Adapter::init_as(
        InitLoraWeights::Orthogonal,
        &base(),
        DType::F32,
        config(3),
        1,
    );
    let error = odd.unwrap_err().to_string();
    assert!(error.contains("even"), "{error}");
}

/// `‖W − s B A‖` over all sites.
fn left(adapter: &Adapter) -> f64 {
    let base = base();
    let mut squares = 0.0;
    for (site, pair) in adapter.pairs() {
        let (out, inputs) = site.dims(base.config());
        let name = site.weight_name();
        let weight = base.tensor(&name, &[out, inputs], candle_core::DType::F32);
        let update = (pair.b.matmul(&pair.a).unwrap() * adapter.scale(site)).unwrap();
        let rest = values(&(weight.unwrap() - update).unwrap());
        squares += rest.iter().map(|x| f64::from(x * x)).sum::<f64>();
    }
    squares.sqrt()
}

#[test]
fn steps_of_the_iteration_come_near_the_exact_singular_values() {
    let of = |how| left(&init(how, 8, 3));
    let best = of(InitLoraWeights::Pissa);
    let steps = [0, 1, 4, 40].map(|steps| of(InitLoraWeights::PissaNiter(steps)) / best - 1.0);
    assert!(steps.windows(2).all(|w| w[1] < w[0]), "{steps:?}");
    assert!(steps.iter().all(|far| *far > -1e-7), "{steps:?}");
    assert!(steps[2] < 0.01 && steps[3] < 1e-4, "{steps:?}");
    // And nothing else takes out as much.
    assert!(of(InitLoraWeights::Olora) > 1.001 * best);
}

#[test]
fn the_seed_and_the_name_decide_and_threads_do_not() {
    for how in ALL {
        let with = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| init(how, 4, seed))
        };
        let (one, two, other) = (with(1, 5), with(2, 5), with(2, 6));
        let mut differs = false;
        for ((name, a), (b, c)) in one.tensors().into_iter().zip(
            two.tensors()
                .into_values()
                .zip(other.tensors().into_values()),
        ) {
            assert_eq!(distance(a, b), 0.0, "{how}, {name}");
            differs |= distance(a, c) > 0.0;
        }
        let random = !matches!(how, InitLoraWeights::Pissa | InitLoraWeights::Olora);
        assert_eq!(differs, random, "{how}");
    }
    // The default is that of `init`, bit for bit.
    let (a, b) = (
        init(InitLoraWeights::Default, 4, 5),
        Adapter::init(base().config(), config(4), 5).unwrap(),
    );
    for (a, b) in a.tensors().into_values().zip(b.tensors().into_values()) {
        assert_eq!(distance(a, b), 0.0);
    }
}

#[test]
fn what_cannot_be_decomposed_is_said() {
    for how in [
        InitLoraWeights::Pissa,
        InitLoraWeights::PissaNiter(2),
        InitLoraWeights::Olora,
    ] {
        // k_proj has 32 outputs.
        let error = Adapter::init_as(how, &base(), DType::F32, config(33), 1).unwrap_err();
        assert!(matches!(error, LoraError::Decompose { .. }), "{error}");
        assert!(
            error.to_string().contains("32") && error.to_string().contains("33"),
            "{error}"
        );
        Adapter::init_as(how, &base(), DType::F32, config(32), 1).unwrap();
    }
    let flat = LoraConfig {
        lora_alpha: 0.0,
        ..config(4)
    };
    for how in [InitLoraWeights::Pissa, InitLoraWeights::PissaNiter(2)] {
        let error = Adapter::init_as(how, &base(), DType::F32, flat.clone(), 1).unwrap_err();
        assert!(error.to_string().contains("lora_alpha"), "{error}");
    }
}
