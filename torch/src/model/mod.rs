//! The network: embedding → LSTM → pooling for each input, then one head. Losses, optimizers and
//! batches don't belong here.

mod branch;
mod lstm;
mod mode;
mod network;
mod pooling;
mod weights;

pub use mode::Mode;
pub use network::Model;

#[cfg(test)]
mod tests;
