//! From data files to encoded examples and batches: formats, splits, targets, the token cache and the
//! batch plan. Models and training belong elsewhere.

mod appearance;
pub mod batch_plan;
mod cache;
pub mod check;
mod data_splits;
mod dataset;
mod examples;
mod finding;
mod fingerprint;
mod formats;
pub mod guess;
mod iterative_stratification;
mod labels;
mod load;
mod metric_check;
pub mod prepared;
mod sharding;
mod source;
mod split;
mod split_name;
pub mod stats;
mod targets;
mod text_faults;

pub use cache::uses_cache;
pub use data_splits::DataSplits;
pub use dataset::Dataset;
pub use examples::{Examples, read_examples};
pub use finding::{Check, Finding, Level};
pub use fingerprint::{Fingerprint, SplitFingerprints, Usage};
#[cfg(feature = "parquet")]
pub use formats::ParquetFile;
#[cfg(not(feature = "parquet"))]
pub use formats::WITHOUT_PARQUET;
pub use formats::{
    Cell, DataFile, Labels, Recognizer, Record, RecordColumns, Rows, expand_pattern, format_of,
    json_object, json_text, limits, read_records, read_texts, spelled, suggestion,
};
pub use load::{
    FileExamples, TrainingData, has_several_labels, load, load_split, load_texts, load_training,
    load_unlabelled, training_overlap,
};
pub use sharding::{Sharing, agree};
pub use source::{Source, TextHash};
pub use split_name::SplitName;
pub use targets::{LabelSets, Target, Targets};
