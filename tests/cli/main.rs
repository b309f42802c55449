//! Tests of the program: each runs the binary on synthetic data in a temporary directory.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "tests"
)]

mod averaging;
mod branch_scales;
mod cache;
mod calibrate;
mod character_ngrams;
mod check;
mod checkpoints;
mod common;
mod config;
mod data;
mod distillation;
mod ensemble;
mod escapes;
mod evaluate;
mod explain;
mod export;
mod faults;
mod fetch;
mod fine_tuning;
mod folds;
mod inputs;
mod interruption;
mod joint_language_model;
mod keras;
mod label_data;
mod label_sets;
mod learning;
mod lr_find;
mod memory;
mod metric;
mod newcomers;
mod ngrams;
#[cfg(feature = "parquet")]
mod parquet;
mod pipes;
mod plot;
mod pooling;
mod predict;
mod pretrain;
mod pretrained_vectors;
mod python;
mod quantize;
mod recipes;
mod reject_option;
mod resume;
mod resumed_settings;
mod run_directory;
mod runs;
mod serve;
mod serve_hostile;
mod several_labels;
mod special_files;
mod states;
mod subwords;
mod sweep;
mod tables;
mod tensorboard;
mod tensorboard_http;
mod terminals;
mod threads;
mod train;
mod training;
mod tune;
mod unicode;
mod unlabelled;
mod vectors;
mod without_libtorch;
