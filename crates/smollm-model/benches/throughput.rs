//! Tokens per second of prefill, decode and a LoRA training step on a real model.
//!
//! ```text
//! cargo bench -p smollm-model --bench throughput -- MODEL [f32|bf16]
//! ```
//! MODEL is a hub id, a folder or a `.gguf` file. Prints the median of three runs of each, and the
//! share of the arithmetic peak that a 2·N·tokens FLOP count of the linear layers implies is left to
//! the reader: the peak is the machine's own.

use std::ops::ControlFlow;
use std::time::Instant;

use candle_core::{DType, Device, Var};
use smollm_model::{
    Checkpoint, GenerationConfig, Llama, LowRank, Mode, ModelSource, Projection, Ragged, generate,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let Some(name) = args.first() else {
        eprintln!("no MODEL given: nothing to measure");
        return Ok(());
    };
    let dtype = if args.get(1).is_some_and(|d| d == "bf16") {
        DType::BF16
    } else {
        DType::F32
    };
    let checkpoint = Checkpoint::open(&ModelSource::parse(name)?.resolve()?)?;
    let mut model = Llama::load(&checkpoint, dtype, &Device::Cpu)?;
    let ids: Vec<u32> = (0..512).map(|i| 100 + i * 37 % 20_000).collect();

    report("prefill 512", 512, || {
        model.hidden(&Ragged::new(&[&ids])?, Mode::Eval)?;
        Ok(())
    })?;
    for rows in [1, 15] {
        let prompts = vec![ids[..16].to_vec(); rows];
        let config = GenerationConfig {
            max_new_tokens: 48,
            ..GenerationConfig::default()
        };
        report(&format!("decode, {rows} rows"), rows * 48, || {
            generate(
                &model,
                &prompts,
                &config,
                &mut |_| ControlFlow::Continue(()),
            )?;
            Ok(())
        })?;
    }
    attach(&mut model, 8)?;
    let rows: Vec<u32> = (100..511).collect();
    let targets: Vec<u32> = rows.iter().map(|&row| ids[row as usize + 1]).collect();
    report("LoRA step 512", 512, || {
        let mode = Mode::Train { dropout_seed: 0 };
        let hidden = model.hidden(&Ragged::new(&[&ids])?, mode)?;
        model.nll(&hidden, (&rows, &targets), mode)?.backward()?;
        Ok(())
    })?;
    Ok(())
}

fn report(name: &str, tokens: usize, mut run: impl FnMut() -> Result<()>) -> Result<()> {
    run()?;
    let mut seconds = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    println!("{name:<16} {:8.1} tokens/s", tokens as f64 / seconds[1]);
    Ok(())
}

/// Adapters of `rank` on q, k, v and o.
fn attach(model: &mut Llama, rank: usize) -> Result<()> {
    let config = model.config().clone();
    for layer in 0..config.num_hidden_layers {
        for projection in [Projection::Q, Projection::K, Projection::V, Projection::O] {
            let (out, inputs) = projection.dims(&config);
            let a = Var::randn(0f32, 0.02, (rank, inputs), &Device::Cpu)?;
            let b = Var::randn(0f32, 0.02, (out, rank), &Device::Cpu)?;
            model.linear_mut(layer, projection).low_rank = Some(LowRank {
                a: a.as_tensor().clone(),
                b: b.as_tensor().clone(),
                scale: 4.0,
                dropout: 0.0,
                magnitude: None,
            });
        }
    }
    Ok(())
}
