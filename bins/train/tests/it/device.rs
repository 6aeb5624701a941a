//! `--device` in a build that knows no GPUs; `tests/device` has the others.

use serde_json::Value;

use crate::support::{folder, manifest, train};

#[test]
fn a_gpu_is_refused_by_a_build_without_the_feature_before_anything_is_read() {
    if cfg!(feature = "device") {
        return;
    }
    let (_dir, out) = folder();
    for device in ["cuda", "cuda:1"] {
        let failed = train(&out, "1")
            .args(["--device", device, "--init-adapter", "nowhere"])
            .assert()
            .code(2);
        let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        for named in [device, "feature `cuda`", "smoltune/cuda", "--device cpu"] {
            assert!(message.contains(named), "{message}");
        }
    }
    assert!(!out.exists());
    let failed = train(&out, "1").args(["--device", "gpu"]).assert().code(2);
    let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(message.contains("cuda:N"), "{message}");
}

#[test]
fn without_a_gpu_auto_is_the_cpu_without_a_word_and_the_record_says_so() {
    let (_dir, out) = folder();
    let done = train(&out, "1").arg("--json").assert().success();
    let summary: Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
    assert_eq!(summary["device"], "cpu");
    assert!(summary["device_memory"].is_null());
    assert_eq!(manifest(&out)["arguments"]["device"], "cpu");
    if !cfg!(feature = "device") {
        let said = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(!said.contains("device"), "{said}");
    }
}
