//! Reader for the header, metadata and tensor table of GGUF files
