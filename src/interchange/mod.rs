//! Models and word vectors in the formats of other programs. Computing with models and the formats of this program don't
//! belong here.

mod description;
pub mod keras;
pub mod numpy;
pub mod onnx;
pub mod pytorch;
pub mod word_vectors;
