//! Labelled texts from files, in the formats people have them in, and their split.

mod cache;
mod formats;
mod load;
mod open;
mod source;
mod split;

pub use formats::{Rows, read_texts};
pub use load::{DataSplits, Examples, SplitName, load, read_labelled};
pub use open::{inner_extension, open};
pub use source::{Key, Source};
