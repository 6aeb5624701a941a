//! What makes a run fit that does not.

use lora::Load;
use smollm_model::Checkpointing;

use super::{Plan, Planning, options};
use crate::choices::{BatchingArg, Precision, QuantizeArg};
use crate::device::Device;
use crate::machine::Bytes;
use crate::start;

impl Plan {
    /// What makes it fit: the mildest of a few changes that does.
    pub(super) fn remedy(&self, planning: &Planning<'_>, limit: usize) -> String {
        let rows = planning.rows.iter().chain(planning.eval_rows);
        let loads = rows.map(|row| Load::of([row]));
        let longest = loads.max_by_key(|load| load.inputs).unwrap_or_default();
        let largest = Load {
            inputs: self.largest_batch,
            supervised: self.largest_batch,
            ..Load::default()
        };
        let one = match planning.args.batching {
            BatchingArg::Packed => "--batching shuffled --bs 1",
            BatchingArg::Shuffled | BatchingArg::Bucketed => "--bs 1",
        };
        let block = "--checkpointing block";
        for (load, how, flags) in [
            (largest, Checkpointing::Block, block.to_owned()),
            (longest, Checkpointing::None, one.to_owned()),
            (longest, Checkpointing::Block, format!("{one} {block}")),
        ] {
            let total = planning.memory(load, how).total;
            if total <= limit {
                return format!("{flags} needs {}", Bytes(total as u64));
            }
        }
        let fits = |tokens: &usize| {
            let load = Load {
                inputs: *tokens,
                supervised: *tokens,
                ..Load::default()
            };
            planning.memory(load, Checkpointing::Block).total <= limit
        };
        // In steps that people would try.
        let tokens = (1..=longest.inputs / 32).rev().map(|n| 32 * n).find(fits);
        match tokens {
            Some(tokens) => format!("{one} {block} --max-seq-len {tokens} fits"),
            None if matches!(planning.device, Device::Card(_)) => on_a_gpu(planning),
            None => match smaller_weights(planning) {
                Some(flag) => format!("not even short rows fit; {flag} makes the weights smaller"),
                None => "not even short rows fit; take a smaller model".to_owned(),
            },
        }
    }
}

fn on_a_gpu(planning: &Planning<'_>) -> String {
    let smaller = match planning.args.dtype {
        Precision::F32 => "--dtype bf16 halves it, ",
        Precision::Bf16 => "",
    };
    format!("not even short rows fit; {smaller}--device cpu has the machine's memory")
}

/// The flag with which the weights take the least memory, if that is less than they take now.
fn smaller_weights(planning: &Planning<'_>) -> Option<&'static str> {
    let flags = [
        (QuantizeArg::Stored, "--quantize stored"),
        (QuantizeArg::Q8_0, "--quantize q8_0"),
    ];
    let changed = start::changed(planning.args, planning.start);
    let sizes = flags.into_iter().filter_map(|(quantize, flag)| {
        let mut options = options(planning.args, Checkpointing::None);
        options.format = quantize.format();
        let bytes = planning.opened.training_weight_bytes(options, &changed);
        let bytes = bytes.ok()?;
        Some((bytes, flag))
    });
    let least = sizes.min_by_key(|(bytes, _)| *bytes);
    let less = least.filter(|(bytes, _)| *bytes < planning.weight_bytes);
    less.map(|(_, flag)| flag)
}
