//! Machines, tensors and tolerances.

use std::ops::Range;

use half::{bf16, f16};
use smollm_model::cuda::{Element, Kernel, Machine, Memory, launch};

pub(crate) const ELEMENTS: [Element; 3] = [Element::F32, Element::Bf16, Element::F16];

/// Runs `body` on the shim and on the GPU, as far as the build has them and the GPU is there.
pub(crate) fn on_every_machine(body: impl Fn(&dyn Machine)) {
    #[cfg(feature = "cuda-shim")]
    body(&smollm_model::cuda::Shim);
    #[cfg(feature = "cuda")]
    match gpu() {
        Some(gpu) => body(gpu),
        None => eprintln!("SKIPPED on CUDA: no NVIDIA driver, or it sees no GPU"),
    }
}

#[cfg(feature = "cuda")]
fn gpu() -> Option<&'static smollm_model::cuda::Gpu> {
    use smollm_model::cuda::Gpu;
    static GPU: std::sync::OnceLock<Option<Gpu>> = std::sync::OnceLock::new();
    GPU.get_or_init(|| Gpu::is_present().then(|| Gpu::new(0).expect("GPU 0 opens")))
        .as_ref()
}

/// Runs `body` for every machine and element type.
pub(crate) fn on_every_element(body: impl Fn(Bench<'_>)) {
    on_every_machine(|machine| {
        for element in ELEMENTS {
            body(Bench { machine, element });
        }
    });
}

/// A machine and the element type of its tensors.
#[derive(Clone, Copy)]
pub(crate) struct Bench<'m> {
    pub(crate) machine: &'m dyn Machine,
    pub(crate) element: Element,
}

impl<'m> Bench<'m> {
    pub(crate) fn f32(machine: &'m dyn Machine) -> Self {
        Self {
            machine,
            element: Element::F32,
        }
    }

    /// A tensor of this element type.
    pub(crate) fn tensor(self, values: &[f32]) -> Memory<'m> {
        self.bytes(&self.element.encode(values))
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Memory<'m> {
        Memory::of(self.machine, bytes).unwrap()
    }

    pub(crate) fn floats(self, values: &[f32]) -> Memory<'m> {
        Self::f32(self.machine).tensor(values)
    }

    pub(crate) fn ids(self, values: &[u32]) -> Memory<'m> {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.bytes(&bytes)
    }

    /// `count` elements that nobody has written: NaN.
    pub(crate) fn unset(self, count: usize) -> Memory<'m> {
        Memory::new(self.machine, count * self.element.bytes()).unwrap()
    }

    pub(crate) fn unset_floats(self, count: usize) -> Memory<'m> {
        Memory::new(self.machine, count * 4).unwrap()
    }

    pub(crate) fn run(self, kernel: &impl Kernel) {
        // SAFETY: every test gives addresses of `Memory` that outlive the read of the results and
        // are as large as the kernel's file asks; the shim and the sanitisers check that.
        unsafe { launch(self.machine, self.element, kernel) }.unwrap();
    }

    pub(crate) fn read(self, memory: &Memory<'_>) -> Vec<f32> {
        let mut values = Vec::new();
        self.element.decode(&memory.read().unwrap(), &mut values);
        values
    }

    /// What `values` become when they are stored.
    pub(crate) fn rounded(self, values: &[f32]) -> Vec<f32> {
        let round = |x: &f32| match self.element {
            Element::F32 => *x,
            Element::Bf16 => bf16::from_f32(*x).to_f32(),
            Element::F16 => f16::from_f32(*x).to_f32(),
        };
        values.iter().map(round).collect()
    }

    /// `n` reproducible values in (−1, 1) that this element type holds exactly.
    pub(crate) fn values(self, n: usize, key: u64) -> Vec<f32> {
        self.rounded(&values(n, key))
    }

    /// Tolerance for results rounded once to this type.
    pub(crate) fn once(self) -> f64 {
        match self.element {
            Element::F32 => 2e-6,
            Element::Bf16 => 3e-3,
            Element::F16 => 4e-4,
        }
    }

    /// `name`, element and machine, for messages.
    pub(crate) fn named(self, name: &str) -> String {
        format!("{name}, {:?} on {}", self.element, self.machine.name())
    }
}

pub(crate) fn read_floats(memory: &Memory<'_>) -> Vec<f32> {
    let bytes = memory.read().unwrap();
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

pub(crate) fn read_ids(memory: &Memory<'_>) -> Vec<u32> {
    read_floats(memory).iter().map(|x| x.to_bits()).collect()
}

/// Element `index` of the `SplitMix64` stream `key`, written again from its paper.
pub(crate) fn mix(key: u64, index: u64) -> u64 {
    let mut z = key.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(crate) fn values(n: usize, key: u64) -> Vec<f32> {
    (0..n as u64)
        .map(|i| (mix(key, i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        .collect()
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

/// Sequences of these lengths, one after the other.
pub(crate) fn segments(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut start = 0;
    let place = |&n: &usize| {
        start += n;
        start - n..start
    };
    lengths.iter().map(place).collect()
}

/// Asserts ‖found − expected‖ ≤ tolerance · ‖expected‖, and for single elements ten times that of
/// the largest. NaN never passes.
pub(crate) fn assert_close(name: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{name}: lengths");
    if let Some(i) = found.iter().position(|x| !x.is_finite()) {
        panic!("{name}: element {i} of {} is {}", found.len(), found[i]);
    }
    let difference = || found.iter().zip(expected).map(|(a, b)| f64::from(*a) - b);
    let norm = |x: f64| if x > 0.0 { x } else { 1e-30 };
    let size = norm(expected.iter().map(|x| x * x).sum::<f64>().sqrt());
    let error = difference().map(|x| x * x).sum::<f64>().sqrt() / size;
    assert!(
        error <= tolerance,
        "{name}: off by {error:e} of the norm, allowed {tolerance:e}"
    );
    let largest = norm(expected.iter().fold(0.0, |m: f64, x| m.max(x.abs())));
    let worst = difference().fold(0.0, |m: f64, x| m.max(x.abs())) / largest;
    assert!(
        worst <= 10.0 * tolerance,
        "{name}: an element is off by {worst:e} of the largest"
    );
}
