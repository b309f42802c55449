//! Models in the formats of other programs. Nothing here computes with them.

pub mod keras;
pub mod numpy;
pub mod pytorch;
