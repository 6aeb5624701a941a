//! How much arithmetic training takes at the least: what a rate is measured against.

use super::Checkpointing;
use crate::{ModelConfig, Projection, Ragged};

/// Floating-point operations (a multiplication and an addition are two) that loss and gradients of a batch take, frozen
/// weights without a gradient:
///
/// ```text
/// linear layers   2 in·out forward and 2 in·out for dX, a token
/// adapters        2 n forward and 4 n backward, a token, of n = r (in + out) numbers each
/// attention       2 products forward and 5 backward, of S (S + 1) / 2 · head_dim multiplications, a head
/// lm_head         2 vocab·hidden forward and as many for dX, a supervised token
/// ```
///
/// `adapter_parameters` are those of all adapters together. With [`Checkpointing::Block`] the forward pass of all blocks counts twice. Norms, rotations and activations are left
/// out; so is the walk back below the lowest adapter, although it is not taken.
pub fn training_flops(
    config: &ModelConfig,
    sequences: &Ragged,
    supervised: usize,
    adapter_parameters: usize,
    checkpointing: Checkpointing,
) -> f64 {
    let tokens = sequences.tokens() as f64;
    let size = |(out, inputs): (usize, usize)| (out * inputs) as f64;
    let block: f64 = Projection::ALL.map(|p| size(p.dims(config))).iter().sum();
    let linear = 2.0 * tokens * block * config.num_hidden_layers as f64;
    let adapters = 2.0 * tokens * adapter_parameters as f64;
    let pairs = |segment: &std::ops::Range<usize>| {
        let length = segment.len() as f64;
        length * (length + 1.0) / 2.0
    };
    let pairs: f64 = sequences.segments().iter().map(pairs).sum();
    let product = 2.0 * pairs * config.query_width() as f64 * config.num_hidden_layers as f64;
    let head = 2.0 * supervised as f64 * size((config.vocab_size, config.hidden_size));
    let blocks_forward = linear + adapters + 2.0 * product;
    let again = match checkpointing {
        Checkpointing::None => 0.0,
        Checkpointing::Block => blocks_forward,
    };
    blocks_forward + again + linear + 2.0 * adapters + 5.0 * product + 2.0 * head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_sum_of_its_parts() {
        let path = std::path::Path::new("../../fixtures/tiny-model");
        let config = ModelConfig::from_dir(path).unwrap();
        let count = |lengths: &[usize], supervised, adapters, keep| {
            let ids: Vec<Vec<u32>> = lengths.iter().map(|n| vec![1; *n]).collect();
            let ragged = Ragged::new(&ids).unwrap();
            training_flops(&config, &ragged, supervised, adapters, keep)
        };
        let none = Checkpointing::None;
        let plain = count(&[3, 5], 0, 0, none);
        let head = (config.vocab_size * config.hidden_size) as f64;
        assert_eq!(count(&[3, 5], 2, 0, none) - plain, 2.0 * 4.0 * head);
        assert_eq!(count(&[3, 5], 0, 20, none) - plain, 8.0 * 6.0 * 20.0);
        // Two sequences see less of each other than one of their length.
        let pairs = (8.0 * 9.0 - 3.0 * 4.0 - 5.0 * 6.0) / 2.0;
        let attention = 14.0 * pairs * (config.query_width() * config.num_hidden_layers) as f64;
        assert_eq!(count(&[8], 0, 0, none) - plain, attention);
        assert!(count(&[3, 5], 0, 0, Checkpointing::Block) > 1.4 * plain);
    }
}
