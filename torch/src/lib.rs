//! The libtorch backend of lstmtext, and the program `lstmtext-torch`.
//!
//! [`backend`] implements the traits of [`lstmtext::backend`]: [`batch`] makes ids [B, T] and lengths
//! `[B]` of a batch, [`model`] computes its logits, [`loss`] the loss, [`optimizer`] the update;
//! [`learner`] puts them together. [`libtorch`] is what tch lacks.
//!
//! ## Levels
//!
//! A module imports only from modules on the lines above its own:
//!
//! - [`libtorch`], [`tensors`], [`batch`]
//! - [`device_dataset`], [`loss`], [`loss_scale`], [`model`], [`optimizer`]
//! - [`learner`], [`token_budget`]
//! - [`backend`]

#![warn(missing_docs)]

pub mod backend;
pub mod batch;
pub mod device_dataset;
pub mod learner;
pub mod libtorch;
pub mod loss;
pub mod loss_scale;
pub mod model;
pub mod optimizer;
pub mod tensors;
pub mod token_budget;
