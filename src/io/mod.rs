//! Files: atomic replacement, and reading of compressed or encoded input within limits. What a file
//! means is decided elsewhere.

pub mod files;
pub mod input;
