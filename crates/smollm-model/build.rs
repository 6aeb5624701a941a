//! Compiles `kernels/*.cu` when a feature asks for it: with nvcc for a GPU (`cuda`), with the C++
//! compiler for the CPU (`cuda-shim`). Without these features it does nothing. Nothing is fetched.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "kernels")]
    println!("cargo::rerun-if-changed=kernels");
    #[cfg(feature = "cuda")]
    gpu::compile();
    #[cfg(feature = "cuda-shim")]
    shim::compile();
}

#[cfg(feature = "cuda")]
mod gpu {
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::{env, fs};

    /// Machine code for Ampere and Hopper, and PTX that the driver compiles for what comes after.
    const TARGETS: [&str; 3] = [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=sm_90",
        "-gencode=arch=compute_90,code=compute_90",
    ];

    const NO_NVCC: &str = "feature `cuda` needs NVIDIA's compiler, and no nvcc was found: not in $NVCC, \
        $CUDA_HOME/bin, $CUDA_PATH/bin, $PATH or /usr/local/cuda/bin. Install the CUDA toolkit 12 or 13, or \
        run `crates/smollm-model/kernels/toolkit`, which puts one together from PyPI's packages and prints \
        what to export (docs/cuda.md). Without the feature nothing of CUDA is needed.";

    pub(super) fn compile() {
        for name in ["NVCC", "CUDA_HOME", "CUDA_PATH", "PATH"] {
            println!("cargo::rerun-if-env-changed={name}");
        }
        let nvcc = find().unwrap_or_else(|| panic!("{NO_NVCC}"));
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        let mut images = Vec::new();
        for source in sources() {
            let name = source
                .file_stem()
                .and_then(|name| name.to_str())
                .expect("a file name");
            let image = out.join(format!("{name}.fatbin"));
            run(&nvcc, &source, &image);
            let path = format!("concat!(env!(\"OUT_DIR\"), \"/{name}.fatbin\")");
            images.push(format!("(\"{name}\", include_bytes!({path}))"));
        }
        let list = format!("&[{}]", images.join(",\n"));
        fs::write(out.join("images.rs"), list).expect("OUT_DIR can be written");
    }

    fn find() -> Option<PathBuf> {
        let in_home = |name| env::var_os(name).map(|home| PathBuf::from(home).join("bin/nvcc"));
        let path = env::var_os("PATH").unwrap_or_default();
        let in_path = env::split_paths(&path).map(|folder| folder.join("nvcc"));
        env::var_os("NVCC")
            .map(PathBuf::from)
            .into_iter()
            .chain(in_home("CUDA_HOME"))
            .chain(in_home("CUDA_PATH"))
            .chain(in_path)
            .chain([PathBuf::from("/usr/local/cuda/bin/nvcc")])
            .find(|nvcc| nvcc.is_file())
    }

    fn sources() -> Vec<PathBuf> {
        let mut sources: Vec<PathBuf> = fs::read_dir("kernels")
            .expect("the crate has a folder `kernels`")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "cu"))
            .collect();
        sources.sort();
        sources
    }

    fn run(nvcc: &Path, source: &Path, image: &Path) {
        let output = Command::new(nvcc)
            .args(["-std=c++17", "-O3", "-fatbin"])
            .args(TARGETS)
            .arg("-o")
            .args([image, source])
            .output()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", nvcc.display()));
        assert!(
            output.status.success(),
            "{} could not compile {}:\n{}",
            nvcc.display(),
            source.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[cfg(feature = "cuda-shim")]
mod shim {
    /// The sanitisers of addresses and of undefined behaviour (which knows misaligned 16-byte
    /// accesses), when `SMOLTUNE_SHIM_ASAN` is set.
    const SANITISE: &str = "-fsanitize=address,undefined";

    pub(super) fn compile() {
        println!("cargo::rerun-if-env-changed=SMOLTUNE_SHIM_ASAN");
        let mut build = cc::Build::new();
        build
            .cpp(true)
            .std("c++17")
            .opt_level(2)
            .flag("-fno-strict-aliasing")
            .flag("-Wno-unknown-pragmas")
            .flag("-Wno-unused-function")
            .file("kernels/shim/all.cpp");
        if std::env::var_os("SMOLTUNE_SHIM_ASAN").is_some() {
            build
                .opt_level(1)
                .flag(SANITISE)
                .flag("-fno-sanitize-recover=all")
                .flag("-g");
            // rustc links with -nodefaultlibs, so the runtimes are named. Linked statically, they do
            // not mind coming last.
            for arg in [
                "-Wl,--whole-archive",
                "-l:libasan.a",
                "-Wl,--no-whole-archive",
                "-l:libubsan.a",
                "-lm",
            ] {
                println!("cargo::rustc-link-arg={arg}");
            }
        }
        build.compile("smollm_kernels");
    }
}
