//! Adapters made plain, measured and combined, against PEFT's `add_weighted_adapter`
//! (`fixtures/scripts/golden_lora_combined.py`) and against what the formulas say.

use std::collections::BTreeMap;

use crate::support::{adapter, distance, dolly_mini, fixture, last_logits, model, tensors, values};
use candle_core::{DType, Device, Tensor};
use lora::{Adapter, Combination, LoraConfig, Pair, Site};
use proptest::prelude::*;
use smollm_model::Projection;

fn variant(name: &str) -> Adapter {
    Adapter::load(fixture(&format!("goldens/lora_variants/{name}"))).unwrap()
}

fn logits(adapter: &Adapter) -> Tensor {
    let mut model = model(DType::F32);
    adapter.attach(&mut model).unwrap();
    last_logits(&model, &dolly_mini(2))
}

#[test]
fn combinations_are_pefts() {
    let golden = tensors("goldens/lora_combined.safetensors");
    let (first, second) = (variant("loraplus"), variant("rslora"));
    let parts = [(&first, 0.7), (&second, -0.4)];
    let cases = [
        ("cat", Combination::Cat, 4),
        ("linear", Combination::Linear, 2),
        ("svd", Combination::Svd { rank: Some(3) }, 3),
    ];
    for (name, how, rank) in cases {
        let combined = Adapter::combine(&parts, how).unwrap();
        let config = combined.config();
        assert_eq!((config.r, config.scale()), (rank, 1.0), "{name}");
        assert_eq!(config.target_modules, first.config().target_modules);
        let far = distance(&logits(&combined), &golden[name]);
        assert!(far < 5e-5, "{name}: {far}");
        let dir = tempfile::tempdir().unwrap();
        combined.save(dir.path()).unwrap();
        Adapter::load(dir.path()).unwrap();
    }
}

#[test]
fn sizes_and_products_are_those_of_the_whole_updates() {
    let golden = tensors("goldens/lora_combined.safetensors");
    let (first, second) = (variant("loraplus"), variant("rslora"));
    let of = |name: &str| golden[name].to_vec1::<f64>().unwrap();
    let (ones, twos, products) = (of("first"), of("second"), of("product"));
    for (i, (site, _)) in first.pairs().enumerate() {
        let close = |found: f64, expected: f64| (found - expected).abs() < 1e-12 * expected.abs();
        assert!(close(first.update_norm(site).unwrap().powi(2), ones[i]));
        assert!(close(second.update_norm(site).unwrap().powi(2), twos[i]));
        let product = first.update_product(&second, site).unwrap();
        assert!(close(product, products[i]), "{product} {}", products[i]);
    }
    let nowhere = Site::new(0, Projection::Down);
    assert_eq!(first.update_norm(nowhere).unwrap(), 0.0);
}

#[test]
fn plain_adapters_keep_their_bits_where_one_alpha_says_it() {
    let plain = |name: &str| variant(name).portable(2).unwrap();
    // alpha 4, r 2: scale 2 stays.
    let (before, after) = (variant("layers"), plain("layers"));
    assert_eq!(after.config().lora_alpha, 4.0);
    for ((_, before), (_, after)) in before.pairs().zip(after.pairs()) {
        assert_eq!(values(&before.a), values(&after.a));
        assert_eq!(values(&before.b), values(&after.b));
    }
    let names = after.config().target_modules.to_string();
    assert_eq!(
        names,
        "model.layers.1.self_attn.q_proj,model.layers.1.self_attn.v_proj"
    );
    // alpha 4 over sqrt 2 is no whole alpha over 2: the scale goes into B.
    let config = plain("rslora").config().clone();
    assert_eq!((config.lora_alpha, config.r), (2.0, 2));
    assert_eq!(config.target_modules.to_string(), "q_proj,v_proj");
    // Ranks 1, 2 and 4 become 4.
    assert_eq!(plain("patterns").config().r, 4);
}

#[test]
fn adapters_that_do_not_go_together_are_refused() {
    let (small, large) = (variant("rslora"), adapter(&model(DType::F32), true));
    let cases = [
        Adapter::combine(&[], Combination::Cat),
        Adapter::combine(&[(&small, f64::NAN)], Combination::Cat),
        Adapter::combine(&[(&small, 1.0), (&large, 1.0)], Combination::Linear),
        Adapter::combine(&[(&small, 1.0)], Combination::Svd { rank: Some(0) }),
        Adapter::combine(&[(&small, 1.0), (&other_model(), 1.0)], Combination::Cat),
    ];
    let expected = [
        "no adapter",
        "a weight is NaN",
        "has rank 4 in one adapter and 2 in another",
        "the rank is 0",
        "the two belong to different models",
    ];
    for (case, expected) in cases.into_iter().zip(expected) {
        let text = case.unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

/// An adapter of a model with other widths.
fn other_model() -> Adapter {
    let config = LoraConfig {
        target_modules: "q_proj".parse().unwrap(),
        ..LoraConfig::default()
    };
    let wide = smollm_model::ModelConfig {
        hidden_size: 192,
        ..model(DType::F32).config().clone()
    };
    Adapter::init(&wide, config, 1).unwrap()
}

#[test]
fn places_that_differ_are_listed() {
    let (first, second) = (variant("layers"), variant("endings"));
    let sum = Adapter::combine(&[(&first, 1.0), (&second, 2.0)], Combination::Cat).unwrap();
    assert_eq!(
        sum.pairs().count(),
        first.pairs().count() + second.pairs().count()
    );
    for (site, _) in second.pairs() {
        let (found, alone) = (
            sum.update_norm(site).unwrap(),
            second.update_norm(site).unwrap(),
        );
        assert!((found - 2.0 * alone).abs() < 1e-6 * found, "{site:?}");
    }
    sum.check(model(DType::F32).config()).unwrap();
}

/// An adapter on one module with these factors.
fn one(a: Vec<f32>, b: Vec<f32>, rank: usize, alpha: f64) -> Adapter {
    let config = LoraConfig {
        r: rank,
        lora_alpha: alpha,
        target_modules: "model.layers.0.self_attn.q_proj"
            .parse::<lora::TargetModules>()
            .or_else(|_| lora::TargetModules::from_names(["model.layers.0.self_attn.q_proj"]))
            .unwrap(),
        ..LoraConfig::default()
    };
    let (inputs, out) = (a.len() / rank, b.len() / rank);
    let pair = Pair {
        a: Tensor::from_vec(a, (rank, inputs), &Device::Cpu).unwrap(),
        b: Tensor::from_vec(b, (out, rank), &Device::Cpu).unwrap(),
        magnitude: None,
    };
    let pairs = BTreeMap::from([(Site::new(0, Projection::Q), pair)]);
    Adapter::new(config, pairs).unwrap()
}

proptest! {
    /// What a cut leaves out is orthogonal to what it keeps, more ranks keep more, and all of them
    /// keep everything, columns that depend on others included.
    #[test]
    fn a_cut_is_a_projection(
        a in prop::collection::vec(-1f32..1.0, 4 * 7), b in prop::collection::vec(-1f32..1.0, 9 * 4),
        twice in any::<bool>(),
    ) {
        let whole = one(a, b, 4, 6.0);
        let site = Site::new(0, Projection::Q);
        let parts = [(&whole, 1.0), (&whole, 1.0)];
        let parts = if twice { &parts[..] } else { &parts[..1] };
        let factor = parts.len() as f64;
        let total = (factor * whole.update_norm(site).unwrap()).powi(2);
        let mut before = 0.0;
        for rank in 1..=4 {
            let how = Combination::Svd { rank: Some(rank) };
            let cut = Adapter::combine(parts, how).unwrap();
            prop_assert_eq!(cut.config().r, rank);
            let kept = cut.update_norm(site).unwrap().powi(2);
            let product = factor * cut.update_product(&whole, site).unwrap();
            prop_assert!((kept - product).abs() < 1e-5 * total, "{kept} {product} {total}");
            prop_assert!(kept >= before - 1e-6 * total);
            before = kept;
        }
        prop_assert!((before - total).abs() < 1e-5 * total, "{before} {total}");
    }
}
