//! The trace beside packed weights.

use crate::trace::{Followed, follow};
use crate::{checkpoint, golden};
use candle_core::DType;
use lora::{Adapter, Trainable};
use smollm_model::{TrainingLlama, TrainingOptions, WeightFormat};

fn followed(dtype: DType, format: WeightFormat) -> Followed {
    let options = TrainingOptions {
        dtype,
        format,
        ..TrainingOptions::default()
    };
    let mut model = TrainingLlama::load(&checkpoint(), options).unwrap();
    let start = Adapter::load(golden("init_adapter")).unwrap();
    let trainable = Trainable::beside(&start, model.config()).unwrap();
    follow(&mut model, &trainable)
}

#[test]
fn packed_weights_follow_peft_in_f32() {
    followed(DType::F32, WeightFormat::Stored).assert_f32();
}

#[test]
fn packed_weights_follow_peft_in_bf16() {
    followed(DType::BF16, WeightFormat::Bf16).assert_bf16();
}
