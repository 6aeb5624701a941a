//! Tensor element types and their block layouts.
//!
//! Ids, block lengths and block sizes are those of `GGML_QUANT_SIZES` in llama.cpp's `gguf-py`.

macro_rules! ggml_types {
    ($($variant:ident = $id:literal, $name:literal, $block:literal, $bytes:literal;)*) => {
        /// How a tensor's elements are stored.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types, missing_docs, reason = "ggml's own names")]
        #[non_exhaustive]
        pub enum GgmlType { $($variant,)* }

        impl GgmlType {
            /// Every type this reader knows.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The type with this id in the file, if it is known.
            pub fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$variant),)* _ => None }
            }

            /// The type's id in the file.
            pub fn id(self) -> u32 {
                match self { $(Self::$variant => $id,)* }
            }

            /// ggml's name, such as `Q4_K`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Elements in one block; 1 for plain number types.
            pub fn block_size(self) -> usize {
                match self { $(Self::$variant => $block,)* }
            }

            /// Bytes of one block.
            pub fn type_size(self) -> usize {
                match self { $(Self::$variant => $bytes,)* }
            }
        }
    };
}

ggml_types! {
    F32 = 0, "F32", 1, 4;
    F16 = 1, "F16", 1, 2;
    Q4_0 = 2, "Q4_0", 32, 18;
    Q4_1 = 3, "Q4_1", 32, 20;
    Q5_0 = 6, "Q5_0", 32, 22;
    Q5_1 = 7, "Q5_1", 32, 24;
    Q8_0 = 8, "Q8_0", 32, 34;
    Q8_1 = 9, "Q8_1", 32, 40;
    Q2K = 10, "Q2_K", 256, 84;
    Q3K = 11, "Q3_K", 256, 110;
    Q4K = 12, "Q4_K", 256, 144;
    Q5K = 13, "Q5_K", 256, 176;
    Q6K = 14, "Q6_K", 256, 210;
    Q8K = 15, "Q8_K", 256, 292;
    IQ2XXS = 16, "IQ2_XXS", 256, 66;
    IQ2XS = 17, "IQ2_XS", 256, 74;
    IQ3XXS = 18, "IQ3_XXS", 256, 98;
    IQ1S = 19, "IQ1_S", 256, 50;
    IQ4NL = 20, "IQ4_NL", 32, 18;
    IQ3S = 21, "IQ3_S", 256, 110;
    IQ2S = 22, "IQ2_S", 256, 82;
    IQ4XS = 23, "IQ4_XS", 256, 136;
    I8 = 24, "I8", 1, 1;
    I16 = 25, "I16", 1, 2;
    I32 = 26, "I32", 1, 4;
    I64 = 27, "I64", 1, 8;
    F64 = 28, "F64", 1, 8;
    IQ1M = 29, "IQ1_M", 256, 56;
    BF16 = 30, "BF16", 1, 2;
    TQ1_0 = 34, "TQ1_0", 256, 54;
    TQ2_0 = 35, "TQ2_0", 256, 66;
    MXFP4 = 39, "MXFP4", 32, 17;
}

impl GgmlType {
    /// Bytes of a tensor with these dimensions, innermost first; else what is wrong with them.
    pub(crate) fn n_bytes(self, dims: &[u64]) -> Result<usize, String> {
        let too_large = || "more elements than memory can address".to_owned();
        let mut elements: usize = 1;
        for &dim in dims {
            let dim = usize::try_from(dim).map_err(|_| too_large())?;
            elements = elements.checked_mul(dim).ok_or_else(too_large)?;
        }
        let block = self.block_size();
        let row = dims.first().copied().unwrap_or(1);
        if !row.is_multiple_of(block as u64) {
            let name = self.name();
            return Err(format!(
                "rows of {row} elements do not divide into {name} blocks of {block}"
            ));
        }
        (elements / block)
            .checked_mul(self.type_size())
            .ok_or_else(too_large)
    }

    /// The known names in one line, for error messages.
    pub(crate) fn known_names() -> String {
        Self::ALL
            .iter()
            .map(|t| t.name())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl std::fmt::Display for GgmlType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
