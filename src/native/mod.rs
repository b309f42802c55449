//! The network on the CPU without libtorch, on the [`kernel`](crate::kernel).

mod branch;
mod dropout;
mod head;
mod learner;
mod network;
mod optimizer;
mod reading;
#[cfg(test)]
mod tests;

pub use learner::{NativeBatch, NativeClassifier, NativeLearner};
