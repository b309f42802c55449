//! Downloading and extracting a published archive: downloads are verified and resumable, and
//! nothing in the archive is trusted. Nothing here knows a data set or prints: progress goes to a
//! callback.

mod archive;
mod content_range;
mod download;
mod files;

pub use archive::{Extracted, Limits, extract_tar_gz};
pub use download::{Download, Timeouts, download};
