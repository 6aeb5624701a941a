//! The products of a low-rank adapter with dropout, one adapter and several stacked ones.

use smollm_model::cuda::Memory;
use smollm_model::cuda::args::{LoraExpand, LoraGradient, LoraProject, LoraReduce, Mask};

use crate::reference::{product, transposed};
use crate::support::{Bench, assert_close, mix, on_every_element, read_floats, values, wide};

/// One layer: `adapters` of `rank` beside a weight `[out, inputs]`, `tokens` rows.
#[derive(Clone, Copy)]
struct Layer {
    tokens: usize,
    inputs: usize,
    out: usize,
    rank: usize,
    adapters: usize,
    p: f64,
}

const LAYERS: [Layer; 4] = [
    Layer {
        tokens: 1,
        inputs: 64,
        out: 64,
        rank: 8,
        adapters: 1,
        p: 0.0,
    },
    Layer {
        tokens: 37,
        inputs: 576,
        out: 192,
        rank: 8,
        adapters: 1,
        p: 0.1,
    },
    Layer {
        tokens: 130,
        inputs: 96,
        out: 1032,
        rank: 16,
        adapters: 1,
        p: 0.5,
    },
    Layer {
        tokens: 19,
        inputs: 320,
        out: 64,
        rank: 8,
        adapters: 3,
        p: 0.25,
    },
];
const SCALE: f32 = 4.0;

impl Layer {
    fn keys(self) -> Vec<u64> {
        (0..self.adapters as u64)
            .map(|adapter| mix(5, adapter))
            .collect()
    }

    fn mask(self, keys: &Memory<'_>) -> Mask {
        Mask {
            keys: keys.address(),
            threshold: (self.p * (1u64 << 32) as f64) as u64,
            keep: (1.0 / (1.0 - self.p)) as f32,
        }
    }

    /// `D_a(x)` for each adapter.
    fn dropped(self, x: &[f64]) -> Vec<Vec<f64>> {
        let threshold = (self.p * (1u64 << 32) as f64) as u64;
        let factor = |key: u64, i: usize| match mix(key, i as u64) >> 32 {
            draw if draw < threshold => 0.0,
            _ => 1.0 / (1.0 - self.p),
        };
        let of = |key: u64| {
            x.iter()
                .enumerate()
                .map(|(i, x)| x * factor(key, i))
                .collect()
        };
        self.keys().into_iter().map(of).collect()
    }

    fn keys_in(self, b: Bench<'_>) -> Memory<'_> {
        b.bytes(
            &self
                .keys()
                .iter()
                .flat_map(|key| key.to_le_bytes())
                .collect::<Vec<_>>(),
        )
    }

    /// Matrices of the adapters side by side: `[tokens, adapters · rank]`.
    fn beside(self, parts: &[Vec<f64>]) -> Vec<f64> {
        let row = |t: usize| {
            parts
                .iter()
                .flat_map(move |part| part[t * self.rank..][..self.rank].to_vec())
        };
        (0..self.tokens).flat_map(row).collect()
    }
}

fn for_every_layer(body: impl Fn(Bench<'_>, Layer, &str)) {
    on_every_element(|b| {
        for layer in LAYERS {
            let Layer {
                tokens,
                inputs,
                out,
                rank,
                adapters,
                p,
            } = layer;
            let shape =
                format!("{tokens} tokens, {inputs} to {out}, {adapters} x rank {rank}, p {p}");
            body(b, layer, &b.named(&shape));
        }
    });
}

#[test]
fn projecting_down_drops_out_and_multiplies_by_a() {
    for_every_layer(|b, layer, name| {
        let Layer {
            tokens,
            inputs,
            rank,
            adapters,
            ..
        } = layer;
        let (x, a) = (
            b.values(tokens * inputs, 1),
            values(adapters * rank * inputs, 2),
        );
        let (xs, weights, keys) = (b.tensor(&x), b.floats(&a), layer.keys_in(b));
        let u = b.unset_floats(tokens * adapters * rank);
        b.run(&LoraProject {
            x: xs.address(),
            w: weights.address(),
            u: u.address(),
            mask: layer.mask(&keys),
            tokens: tokens as u32,
            width: inputs as u32,
            x_stride: inputs as u32,
            rank: rank as u32,
            adapters: adapters as u32,
            scale: 1.0,
        });
        let of = |(x, a): (&Vec<f64>, &[f64])| {
            product(x, &transposed(a, rank, inputs), (tokens, inputs, rank))
        };
        let a = wide(&a);
        let parts: Vec<Vec<f64>> = layer
            .dropped(&wide(&x))
            .iter()
            .zip(a.chunks_exact(rank * inputs))
            .map(of)
            .collect();
        assert_close(name, &read_floats(&u), &layer.beside(&parts), 2e-6);
    });
}

#[test]
fn the_gradient_of_u_is_the_output_gradient_times_b() {
    for_every_layer(|b, layer, name| {
        let Layer {
            tokens, out, rank, ..
        } = layer;
        let (dy, weight) = (b.values(tokens * out, 1), values(rank * out, 2));
        let (dys, weights, u) = (
            b.tensor(&dy),
            b.floats(&weight),
            b.unset_floats(tokens * rank),
        );
        b.run(&LoraProject {
            x: dys.address(),
            w: weights.address(),
            u: u.address(),
            mask: Mask::default(),
            tokens: tokens as u32,
            width: out as u32,
            x_stride: out as u32,
            rank: rank as u32,
            adapters: 1,
            scale: SCALE,
        });
        let mut expected = product(
            &wide(&dy),
            &transposed(&wide(&weight), rank, out),
            (tokens, out, rank),
        );
        for x in &mut expected {
            *x *= f64::from(SCALE);
        }
        assert_close(name, &read_floats(&u), &expected, 2e-6);
    });
}

#[test]
fn expanding_adds_to_what_is_there() {
    for_every_layer(|b, layer, name| {
        let Layer {
            tokens, out, rank, ..
        } = layer;
        let (u, weight, y) = (
            values(tokens * rank, 1),
            values(rank * out, 2),
            b.values(tokens * out, 3),
        );
        let (us, weights, ys) = (b.floats(&u), b.floats(&weight), b.tensor(&y));
        b.run(&LoraExpand {
            u: us.address(),
            w: weights.address(),
            y: ys.address(),
            mask: Mask::default(),
            tokens: tokens as u32,
            width: out as u32,
            y_stride: out as u32,
            rank: rank as u32,
            adapters: 1,
            scale: SCALE,
        });
        let mut expected = product(&wide(&u), &wide(&weight), (tokens, rank, out));
        expected
            .iter_mut()
            .zip(&y)
            .for_each(|(e, y)| *e = f64::from(SCALE) * *e + f64::from(*y));
        assert_close(name, &b.read(&ys), &expected, b.once());
    });
}

#[test]
fn the_input_gradient_has_each_adapters_mask() {
    for_every_layer(|b, layer, name| {
        let Layer {
            tokens,
            inputs,
            rank,
            adapters,
            ..
        } = layer;
        let (du, a) = (
            values(tokens * adapters * rank, 1),
            values(adapters * rank * inputs, 2),
        );
        let dx = b.values(tokens * inputs, 3);
        let (dus, weights, dxs, keys) =
            (b.floats(&du), b.floats(&a), b.tensor(&dx), layer.keys_in(b));
        b.run(&LoraExpand {
            u: dus.address(),
            w: weights.address(),
            y: dxs.address(),
            mask: layer.mask(&keys),
            tokens: tokens as u32,
            width: inputs as u32,
            y_stride: inputs as u32,
            rank: rank as u32,
            adapters: adapters as u32,
            scale: 1.0,
        });
        let (du, a, masks) = (
            wide(&du),
            wide(&a),
            layer.dropped(&vec![1.0; tokens * inputs]),
        );
        let mut expected = wide(&dx);
        for adapter in 0..adapters {
            let row = |t: usize| du[(t * adapters + adapter) * rank..][..rank].to_vec();
            let part: Vec<f64> = (0..tokens).flat_map(row).collect();
            let weight = &a[adapter * rank * inputs..][..rank * inputs];
            let added = product(&part, weight, (tokens, rank, inputs));
            for (i, e) in expected.iter_mut().enumerate() {
                *e += masks[adapter][i] * added[i];
            }
        }
        assert_close(name, &b.read(&dxs), &expected, b.once());
    });
}

/// `partial` sums and their reduction, added to a gradient that holds ones.
fn gradient(b: Bench<'_>, x: &Memory<'_>, u: &Memory<'_>, args: LoraGradient) -> Vec<f32> {
    let (ranks, width) = ((args.adapters * args.rank) as usize, args.width as usize);
    let pieces = LoraGradient::pieces(args.tokens);
    let (partial, sum) = (
        b.unset_floats(pieces as usize * ranks * width),
        b.floats(&vec![1.0; ranks * width]),
    );
    b.run(&LoraGradient {
        x: x.address(),
        u: u.address(),
        partial: partial.address(),
        ..args
    });
    b.run(&LoraReduce {
        partial: partial.address(),
        gradient: sum.address(),
        pieces,
        width: width as u32,
        ranks: ranks as u32,
        scale: SCALE,
    });
    read_floats(&sum)
}

#[test]
fn the_gradients_of_a_and_b_sum_over_tokens_and_accumulate() {
    for_every_layer(|b, layer, name| {
        let Layer {
            tokens,
            inputs,
            out,
            rank,
            adapters,
            ..
        } = layer;
        let scaled = |x: &mut f64| *x = 1.0 + f64::from(SCALE) * *x;
        let (x, du) = (
            b.values(tokens * inputs, 1),
            values(tokens * adapters * rank, 2),
        );
        let keys = layer.keys_in(b);
        let args = LoraGradient {
            mask: layer.mask(&keys),
            tokens: tokens as u32,
            width: inputs as u32,
            x_stride: inputs as u32,
            rank: rank as u32,
            adapters: adapters as u32,
            ..LoraGradient::default()
        };
        let found = gradient(b, &b.tensor(&x), &b.floats(&du), args);
        let du_t = transposed(&wide(&du), tokens, adapters * rank);
        let mut expected: Vec<f64> = (layer
            .dropped(&wide(&x))
            .iter()
            .zip(du_t.chunks_exact(rank * tokens)))
        .flat_map(|(x, du_t)| product(du_t, x, (rank, tokens, inputs)))
        .collect();
        expected.iter_mut().for_each(scaled);
        assert_close(&format!("dA, {name}"), &found, &expected, 2e-6);

        let (dy, u) = (b.values(tokens * out, 3), values(tokens * rank, 4));
        let args = LoraGradient {
            tokens: tokens as u32,
            width: out as u32,
            x_stride: out as u32,
            rank: rank as u32,
            adapters: 1,
            ..LoraGradient::default()
        };
        let found = gradient(b, &b.tensor(&dy), &b.floats(&u), args);
        let mut expected = product(
            &transposed(&wide(&u), tokens, rank),
            &wide(&dy),
            (rank, tokens, out),
        );
        expected.iter_mut().for_each(scaled);
        assert_close(&format!("dB, {name}"), &found, &expected, 2e-6);
    });
}
