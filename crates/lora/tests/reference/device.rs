//! The trace on an NVIDIA GPU; without one, nothing is seen and the test says so.

use crate::trace::{Followed, follow};
use crate::{checkpoint, golden};
use lora::{Adapter, Engine, Trainable};
use smollm_model::cuda::{DeviceTrainingLlama, Element, Gpu};
use smollm_model::{Checkpointing, TrainingModel};

fn followed(element: Element) -> Option<Followed> {
    if !Gpu::is_present() {
        println!("SKIPPED: no GPU");
        return None;
    }
    let gpu = Gpu::new(0).unwrap();
    let loaded = DeviceTrainingLlama::load(&gpu, &checkpoint(), element, Checkpointing::None);
    let mut model = loaded.unwrap();
    let start = Adapter::load(golden("init_adapter")).unwrap();
    let trainable = Trainable::beside(&start, model.config()).unwrap();
    Some(follow(Engine::Packed(&mut model), &trainable))
}

#[test]
fn a_gpu_follows_peft_in_f32() {
    if let Some(followed) = followed(Element::F32) {
        followed.assert_f32();
    }
}

#[test]
fn a_gpu_follows_peft_in_bf16() {
    if let Some(followed) = followed(Element::Bf16) {
        followed.assert_bf16();
    }
}
