//! The libtorch backend of lstmtext.

#![warn(missing_docs)]

pub mod batch;
pub mod commands;
pub mod device_dataset;
pub mod engine;
pub mod keras;
pub mod learner;
pub mod libtorch;
pub mod loss;
pub mod loss_scale;
pub mod model;
pub mod optimizer;
pub mod token_budget;
pub mod training;
