//! Labelled texts from files, in the formats people have them in, and their split.

mod formats;
mod load;
mod open;
mod split;

pub use formats::{LabelledTexts, read};
pub use load::{DataSplits, Examples, SplitName, load, read_labelled};
pub use open::{inner_extension, open};
