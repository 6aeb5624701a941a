//! The real SmolLM2-135M-Instruct `Q4_1` file; needs the variable `SMOLTUNE_GGUF`.

use gguf::GgufFile;

#[test]
fn smollm2_135m() {
    let path = std::env::var("SMOLTUNE_GGUF")
        .expect("set SMOLTUNE_GGUF to the path of SmolLM2-135M-Instruct.Q4_1.gguf");
    let file = GgufFile::open(path).unwrap();
    assert_eq!(file.str("general.architecture").unwrap(), "llama");
    assert_eq!(file.str("tokenizer.ggml.pre").unwrap(), "smollm");
    assert_eq!(file.u32("llama.block_count").unwrap(), 30);
    assert_eq!(
        file.str_array("tokenizer.ggml.tokens").unwrap().len(),
        49152
    );
    assert_eq!(file.tensors().len(), 272);
    let embedding = file.tensor("token_embd.weight").unwrap();
    assert_eq!(embedding.shape, [49152, 576]);
    let key = file.tensor("blk.0.attn_k.weight").unwrap();
    assert_eq!(key.shape, [192, 576]);
}
