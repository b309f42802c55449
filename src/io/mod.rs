//! Reading and writing files: atomic replacement, checksums, decompression and size limits. The
//! formats of the files and the configuration belong elsewhere.

pub mod files;
pub mod input;
pub mod replace;
pub mod spool;
