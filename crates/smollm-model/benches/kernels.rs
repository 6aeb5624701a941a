//! Each kernel alone on the GPU, at the sizes of SmolLM2-1.7B: time, and the bandwidth or rate that
//! its least bytes or operations make of it. `benches/gpu.sh` runs it beside other programs.
//!
//! Bytes count each input read once and each output written once; operations count what the formula
//! needs. Inputs are random; a figure is the median of ten groups of launches, timed on the GPU.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run is a panic")]

mod kernels {
    pub(super) mod cases;
}

use smollm_model::cuda::{Element, Gpu, Kernel, KernelError, Machine, Memory, launch};

/// What a kernel must do at the least.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    pub(crate) bytes: f64,
    pub(crate) operations: f64,
}

pub(crate) struct Bench {
    gpu: Gpu,
}

impl Bench {
    /// `count` elements with random values in (−1, 1).
    pub(crate) fn random(&self, element: Element, count: usize) -> Memory<'_> {
        let period = 1 << 20;
        let values = (0..period.min(count) as u64).map(|i| {
            let mixed = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32
                / (1u64 << 23) as f32
                - 1.0
        });
        let bytes: Vec<u8> = match element {
            Element::F32 => values.flat_map(f32::to_le_bytes).collect(),
            Element::Bf16 => values
                .flat_map(|x| half::bf16::from_f32(x).to_le_bytes())
                .collect(),
            Element::F16 => values
                .flat_map(|x| half::f16::from_f32(x).to_le_bytes())
                .collect(),
        };
        let total = count * element.bytes();
        let data: Vec<u8> = bytes.iter().copied().cycle().take(total).collect();
        Memory::of(&self.gpu, &data).unwrap()
    }

    pub(crate) fn ids(&self, ids: impl Iterator<Item = u32>) -> Memory<'_> {
        Memory::of(
            &self.gpu,
            &ids.flat_map(u32::to_le_bytes).collect::<Vec<_>>(),
        )
        .unwrap()
    }

    pub(crate) fn unset(&self, element: Element, count: usize) -> Memory<'_> {
        Memory::new(&self.gpu, count * element.bytes()).unwrap()
    }

    /// Prints one row of the table.
    pub(crate) fn row(&self, name: &str, work: Work, element: Element, kernel: &impl Kernel) {
        // SAFETY: the cases give memory as large as each kernel's file asks, alive until the time
        // has been taken.
        self.timed(name, work, || unsafe { launch(&self.gpu, element, kernel) });
    }

    fn timed(&self, name: &str, work: Work, launch: impl Fn() -> Result<(), KernelError>) {
        let group = |launches: u32| -> f64 {
            let span = self.gpu.start().unwrap();
            for _ in 0..launches {
                launch().unwrap();
            }
            span.seconds().unwrap() / f64::from(launches)
        };
        group(2);
        // Groups of about 2 ms, so that gaps between launches weigh as they do in a step.
        let launches = (2e-3 / group(3)).clamp(1.0, 200.0) as u32;
        let mut times: Vec<f64> = (0..10).map(|_| group(launches)).collect();
        times.sort_by(f64::total_cmp);
        let seconds = f64::midpoint(times[4], times[5]);
        let or_dash = |value: f64| match value {
            v if v > 0.0 => format!("{v:.2}"),
            _ => "-".into(),
        };
        println!(
            "{name:46} {:>10.1} {:>8} {:>8}",
            seconds * 1e6,
            or_dash(work.bytes / seconds / 1e12),
            or_dash(work.operations / seconds / 1e12)
        );
    }

    fn copy(&self) {
        let bytes = 1usize << 30;
        let (from, to) = (
            self.random(Element::F32, bytes / 4),
            self.unset(Element::F32, bytes / 4),
        );
        let work = Work {
            bytes: 2.0 * bytes as f64,
            operations: 0.0,
        };
        // SAFETY: both allocations have `bytes` bytes.
        self.timed("the driver's copy, 1 GiB", work, || unsafe {
            self.gpu.copy(to.address(), from.address(), bytes)
        });
    }
}

fn main() {
    // `cargo test --benches` passes --test: nothing to check here.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    if !Gpu::is_present() {
        println!("SKIPPED: no NVIDIA driver, or it sees no GPU");
        return;
    }
    let bench = Bench {
        gpu: Gpu::new(0).unwrap(),
    };
    println!("{}", smollm_model::cuda::Machine::name(&bench.gpu));
    println!(
        "{:46} {:>10} {:>8} {:>8}",
        "kernel", "us", "TB/s", "TFLOP/s"
    );
    bench.copy();
    kernels::cases::all(&bench);
}
