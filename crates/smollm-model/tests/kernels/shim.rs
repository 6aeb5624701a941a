//! The shim finds what it is there to find: each kernel of `kernels/shim/faults.cu` has one fault.

use std::process::Command;

use smollm_model::cuda::{Element, Kernel, KernelError, Machine, Memory, Plan, Shim, launch};

use crate::support::read_floats;

#[repr(C)]
struct Faulty {
    x: u64,
    n: u32,
}

/// Runs fault `name` over `n` floats and returns them.
fn run(name: &str, threads: u32, n: usize) -> Result<Vec<f32>, KernelError> {
    let memory = Memory::new(&Shim, n * 4)?;
    let args = Faulty {
        x: memory.address(),
        n: n as u32,
    };
    let plan = Plan {
        kernel: format!("fault_{name}_f32"),
        grid: [1, 1, 1],
        threads,
        shared: 0,
    };
    // SAFETY: the struct has the kernel's layout. What the kernel does wrong is the test's subject,
    // and where it leaves its memory the test is another process.
    unsafe { Shim.launch(&plan, std::ptr::from_ref(&args).cast(), size_of::<Faulty>())? };
    Ok(read_floats(&memory))
}

#[test]
fn threads_that_wait_for_ever_are_reported() {
    let error = run("barrier", 64, 8).unwrap_err().to_string();
    let expected = "32 threads wait at __syncthreads, 0 in a warp operation, 32 have left";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn unwritten_outputs_and_unset_shared_memory_are_nan() {
    let found = run("unwritten", 32, 9).unwrap();
    assert!(found[..8].iter().all(|x| *x == 1.0) && found[8].is_nan());
    assert!(run("shared", 32, 9).unwrap().iter().all(|x| x.is_nan()));
    let found = run("copy", 32, 9).unwrap();
    assert!(
        found.iter().all(|x| x.is_nan()),
        "a copy that nobody waited for: {found:?}"
    );
}

#[test]
fn a_write_past_the_end_kills_the_process() {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args([
            "--exact",
            "shim::writes_past_the_end",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && !text.contains("survived"),
        "{text}"
    );
}

#[test]
#[ignore = "dies on purpose: run by the test above, in a process of its own"]
fn writes_past_the_end() {
    run("write_past_end", 32, 32).unwrap();
    eprintln!("survived");
}

#[test]
fn arguments_of_the_wrong_size_and_unknown_kernels_are_errors() {
    struct Unknown;
    impl Kernel for Unknown {
        fn plan(&self, _: Element) -> Result<Plan, KernelError> {
            Ok(Plan {
                kernel: "no_such_kernel".into(),
                grid: [1, 1, 1],
                threads: 32,
                shared: 0,
            })
        }
    }
    // SAFETY: no such kernel, so nothing runs.
    let error = unsafe { launch(&Shim, Element::F32, &Unknown) }
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("no_such_kernel: no kernel of this name"),
        "{error}"
    );
}

#[test]
fn every_kernel_is_there_in_its_element_types() {
    let kernels = Shim::kernels();
    for stem in [
        "rms_norm_forward",
        "attention_keys",
        "lora_expand",
        "decode_attention_g3",
        "gemv_q4_1_b4",
    ] {
        for suffix in ["f32", "bf16", "f16"] {
            let name = format!("{stem}_{suffix}");
            assert!(
                kernels.contains(&name),
                "{name} is missing from {kernels:?}"
            );
        }
    }
}
