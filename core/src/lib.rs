//! What lstmtext does without libtorch: everything but the second backend. The crate `lstmtext` has
//! the whole of it, and its first page shows how the parts belong together.

#![warn(missing_docs)]
// The pages of modules explain how they work inside.
#![allow(rustdoc::private_intra_doc_links)]

pub mod arrays;
pub mod backend;
pub mod bucketing;
pub mod characters;
pub mod checkpoint;
pub mod classifier;
pub mod columns;
pub mod commands;
pub mod config;
pub mod console;
pub mod data;
pub mod device;
pub mod evaluation;
pub mod events;
pub mod experiment;
pub mod explanation;
pub mod export;
pub mod fetch;
pub mod files;
pub mod interrupt;
pub mod kernel;
pub mod metrics;
pub mod native;
pub mod numbers;
pub mod plot;
pub mod process;
pub mod progress;
pub mod run;
pub mod runs;
pub mod schedule;
pub mod seed;
pub mod stats;
pub mod summary;
pub mod sweep;
pub mod tensorboard;
pub mod text;
pub mod trainer;

pub use classifier::{Classifier, LabelProbability, Prediction};
