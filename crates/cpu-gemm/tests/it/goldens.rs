//! Blocks and values that llama.cpp's Python package made.

use cpu_gemm::{Format, PackedMatrix};
use safetensors::SafeTensors;

const QUANTISED: &[u8] = include_bytes!("../golden/quantised.safetensors");
const BLOCKS: &[u8] = include_bytes!("../../../../fixtures/goldens/quant_blocks.safetensors");

fn floats(file: &SafeTensors, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).unwrap().data();
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect()
}

fn rows(matrix: &PackedMatrix) -> Vec<f32> {
    let mut out = vec![0.0; matrix.n() * matrix.k()];
    for (i, row) in out.chunks_exact_mut(matrix.k()).enumerate() {
        matrix.row(i, row);
    }
    out
}

#[test]
fn blocks_mean_what_ggml_says() {
    let file = SafeTensors::deserialize(BLOCKS).unwrap();
    for (name, format) in [
        ("Q8_0", Format::Q8_0),
        ("Q4_0", Format::Q4_0),
        ("Q4_1", Format::Q4_1),
        ("Q5_0", Format::Q5_0),
        ("Q5_1", Format::Q5_1),
        ("Q4_K", Format::Q4_K),
        ("Q5_K", Format::Q5_K),
        ("Q6_K", Format::Q6_K),
        ("BF16", Format::Bf16),
    ] {
        let raw = file.tensor(&format!("{name}.raw")).unwrap();
        let expected = floats(&file, &format!("{name}.f32"));
        let n = if format == Format::Bf16 { 2 } else { 3 };
        let k = expected.len() / n;
        let matrix = PackedMatrix::from_ggml(format, raw.data(), n, k, &|i| i).unwrap();
        assert_eq!(rows(&matrix), expected, "{name}");
    }
}

#[test]
fn floats_are_quantised_as_ggml_does() {
    let file = SafeTensors::deserialize(QUANTISED).unwrap();
    let x = floats(&file, "x");
    for (name, format) in [
        ("Q8_0", Format::Q8_0),
        ("Q4_0", Format::Q4_0),
        ("Q4_1", Format::Q4_1),
        ("Q5_0", Format::Q5_0),
        ("Q5_1", Format::Q5_1),
    ] {
        let blocks = file.tensor(name).unwrap();
        let ours = PackedMatrix::from_f32(&x, 24, 64, format).unwrap();
        let theirs = PackedMatrix::from_ggml(format, blocks.data(), 24, 64, &|i| i).unwrap();
        assert_eq!(rows(&ours), rows(&theirs), "{name}");
    }
}
