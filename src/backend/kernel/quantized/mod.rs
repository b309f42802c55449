//! Products of 8-bit weights and 8-bit activations, for prediction with quantized models.
//!
//! A row of weights, those of one gate of one unit, has the values w = s q with integers q from −127 to 127 and a
//! scale s of its own. An activation vector, a word vector or a hidden state, likewise is x = t p. So the
//! product of both is
//!
//! ```text
//! Σ w x = s t Σ q p
//! ```
//!
//! in which the sum is one of integers: exact in 32 bits for up to 130,000 terms, and therefore the same with all
//! instructions and in any order. Word vectors are quantized in the model. Hidden states are between −1 and 1, and
//! are rounded to multiples of t = 1/127. Everything else (scaling, bias, gates and cell state) is computed in single
//! precision, by the same code as for other models.
//!
//! # Instructions
//!
//! A 32-bit word has a few consecutive activations of a row. A vector of weights has the same number of
//! weights for each of its lanes, which belong to different units:
//!
//! - AVX-512 VNNI multiplies four unsigned by four signed bytes and adds the products to a 32-bit sum. Activations are
//!   p + 128, and each sum starts at −128 Σ q.
//! - AVX2 and AVX-512 without VNNI multiply two pairs of 16-bit integers. The instruction for bytes saturates
//!   sums of two products, so it is not used: bytes are widened to 16 bits when the weights are packed.
//! - All other processors multiply floats, which are exact for integers below 2^24: for up to 1,040 terms. Longer sums are
//!   rounded.
//!
//! Products of bytes are 1.1 to 3 times as fast as those of floats, those of 16-bit integers 1.0 to 1.8 times, from 8
//! hidden units on (`benchmarks/RESULTS.md`). So all LSTMs of quantized models compute with them.

mod cell;
mod instructions;
mod product;
mod projection;
mod recurrence;

pub use cell::{QuantizedCell, QuantizedRows};
pub use instructions::IntegerInstructions;
pub use projection::{InputScales, QuantizedProjection};
pub use recurrence::QuantizedForward;

#[cfg(test)]
mod tests;
