//! The libtorch backend of lstmtext, and the program `lstmtext-torch`.
//!
//! [`backend`] implements the traits of [`lstmtext::backend`]. A training step passes through
//! [`batch`] (ids [B, T] and lengths `[B]`), [`model`] (logits), [`loss`] and [`optimizer`], in the
//! order that [`learner`] defines. [`language_model`] trains language models. [`process_group`] connects
//! the processes that train together.
//! [`libtorch`] covers what tch lacks.
//!
//! ## Levels
//!
//! A module imports only from modules on the lines above its own:
//!
//! - [`libtorch`], [`tensors`], [`batch`]
//! - [`process_group`]
//! - [`sum_buffer`]
//! - [`average`], [`device_dataset`], [`loss`], [`loss_scale`], [`model`], [`optimizer`]
//! - [`language_model`], [`token_budget`]
//! - [`learner`]
//! - [`backend`]

#![warn(missing_docs)]

pub mod average;
pub mod backend;
pub mod batch;
pub mod device_dataset;
pub mod language_model;
pub mod learner;
pub mod libtorch;
pub mod loss;
pub mod loss_scale;
pub mod model;
pub mod optimizer;
pub mod process_group;
pub mod sum_buffer;
pub mod tensors;
pub mod token_budget;
