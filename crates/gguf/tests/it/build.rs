//! A few bytes of GGUF, put together by hand so that they can also be wrong.

/// Builds a header entry by entry.
#[derive(Clone)]
pub(crate) struct Builder {
    pub(crate) version: u32,
    entries: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: Vec<u8>,
}

pub(crate) fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            version: 3,
            entries: vec![],
            tensors: vec![],
            data: vec![],
        }
    }

    pub(crate) fn raw(mut self, key: &str, value_type: u32, value: &[u8]) -> Self {
        self.entries.push(
            [
                &string(key.as_bytes()),
                &value_type.to_le_bytes()[..],
                value,
            ]
            .concat(),
        );
        self
    }

    pub(crate) fn str(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &string(value.as_bytes()))
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn tensor(mut self, name: &str, dims: &[u64], id: u32, offset: u64) -> Self {
        let mut bytes = string(name.as_bytes());
        bytes.extend((dims.len() as u32).to_le_bytes());
        bytes.extend(dims.iter().flat_map(|d| d.to_le_bytes()));
        bytes.extend(id.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        self.tensors.push(bytes);
        self
    }

    pub(crate) fn data(mut self, n: usize) -> Self {
        self.data = (0..n).map(|i| i as u8).collect();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        out.extend(self.entries.concat());
        out.extend(self.tensors.concat());
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }

    /// The message of the error that parsing gives.
    pub(crate) fn error(&self) -> String {
        gguf::Header::parse(&self.bytes())
            .expect_err("must be refused")
            .to_string()
    }
}
