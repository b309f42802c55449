//! Reading and writing files: atomic replacement, checksums, decompression, encodings and size limits. The
//! formats of the files and the configuration belong elsewhere.

pub mod decoding;
mod encoding;
pub mod files;
mod incomplete_file;
pub mod input;
mod limits;
pub mod replace;
pub mod spool;
