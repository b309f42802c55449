//! lstmtext trains, evaluates and reuses LSTM text classifiers.
//!
//! The library and the program `lstmtext` compute on the CPU, with their own kernel. The package
//! `lstmtext-torch` adds libtorch as a second backend, for CUDA devices.
//!
//! ## From a file to a prediction
//!
//! Letters in shapes: B batch, T time, E embedding, H hidden units of one direction, D pooled
//! features, C classes, V vocabulary.
//!
//! | step | result | where |
//! |---|---|---|
//! | file | examples: texts, one per input, and a target | [`data`] |
//! | tokens | words of a text | [`text`] |
//! | ids | PAD 0, START 1, OOV 2, words from 4 by falling frequency | [`text`] |
//! | plan | lengths → batches, a pure function of (lengths, seed, epoch) | [`data::batch_plan`] |
//! | batch | ids [B, T], lengths `[B]`, targets | [`backend`] |
//! | embedding | [B, T, E] | [`backend`] |
//! | LSTM | [B, T, H · directions] | [`backend::kernel`] |
//! | pooling | [B, D], over real tokens only | [`backend`] |
//! | head | logits `[B]` for a sigmoid over two classes, [B, C] for a softmax or a sigmoid for each label | [`backend`] |
//! | n-grams | rows of the n-grams of each text → logits, added to those of the head | [`text`], [`backend`] |
//! | objective | loss, its gradient, and what metrics count | [`objective`] |
//! | step | gradients → sum over processes → joint language model → clip → update → average | [`backend`], [`train`] |
//! | validation | early stopping, checkpoint | [`train`], [`run`] |
//! | before | word vectors and language models from texts without labels | [`pretrain`] |
//! | use | evaluate, predict, explain, serve, export | [`evaluation`], [`prediction`], [`explanation`], [`serve`], [`interchange`] |
//!
//! [`config`] describes all of it, and [`cli`] puts it behind a command line.
//!
//! ## Levels
//!
//! A directory imports only from directories on the lines above its own:
//!
//! - [`output`], [`random`]
//! - [`io`]
//! - [`subwords`], [`system`]
//! - [`config`]
//! - [`distributed`]
//! - [`text`]
//! - [`data`], [`events`]
//! - [`model`], [`objective`]
//! - [`backend`], [`run`]
//! - [`evaluation`], [`interchange`], [`plot`], [`prediction`], [`tables`]
//! - [`explanation`], [`fetch`], [`sweep`], [`tensorboard`]
//! - [`pretrain`], [`serve`]
//! - [`train`], [`tune`]
//! - [`cli`]

#![warn(missing_docs)]
// The commands use what a library for predictions alone does not.
#![cfg_attr(not(feature = "cli"), allow(dead_code, unused_imports))]
// Module docs explain how modules work, with links to private items.
#![allow(rustdoc::private_intra_doc_links)]

pub mod backend;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod data;
pub mod distributed;
pub mod evaluation;
#[cfg(feature = "train")]
pub mod events;
pub mod explanation;
#[cfg(feature = "cli")]
pub mod fetch;
#[cfg(feature = "cli")]
pub mod interchange;
pub mod io;
pub mod model;
pub mod objective;
pub mod output;
#[cfg(feature = "train")]
pub mod plot;
pub mod prediction;
#[cfg(feature = "train")]
pub mod pretrain;
pub mod random;
pub mod run;
#[cfg(feature = "serve")]
pub mod serve;
pub mod subwords;
#[cfg(feature = "train")]
pub mod sweep;
pub mod system;
#[cfg(feature = "cli")]
pub mod tables;
#[cfg(feature = "train")]
pub mod tensorboard;
pub mod text;
#[cfg(feature = "train")]
pub mod train;
#[cfg(feature = "train")]
pub mod tune;

pub use prediction::{Classifier, LabelProbability, Prediction};
