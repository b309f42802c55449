//! Labelled texts from files, in the formats people have them in, and their split.

pub mod batch_plan;
mod cache;
mod dataset;
mod formats;
mod load;
pub mod prepared;
mod source;
mod split;
pub mod stats;
mod targets;

pub use dataset::Dataset;
pub use formats::{Rows, read_texts};
pub use load::{DataSplits, Examples, SplitName, load, read_labelled};
pub use source::{Key, Source};
pub use targets::{LabelSets, Target, Targets};
