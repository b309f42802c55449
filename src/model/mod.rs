//! What a network is before anything computes: its named tensors and its summary. No arithmetic of a
//! forward or backward pass belongs here.

pub mod named_tensors;
pub mod summary;
