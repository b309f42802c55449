//! Weights as 8-bit integers with scales.

mod file;
mod hashes;
mod tensor;
mod weights;

pub use file::{parse, write};
pub use hashes::ShortHashes;
pub use tensor::{NGRAM_BLOCK, QuantizedTensor, StoredTensor, quantize};
pub use weights::{dequantized, in_order, quantized};
