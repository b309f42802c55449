//! The network: embedding → LSTM → pooling and n-grams for each input, then one head. Losses, optimizers and
//! batches don't belong here.

mod branch;
mod cell;
mod lstm;
mod mode;
mod network;
mod ngrams;
mod pooling;
mod weights;

pub use cell::CellWeights;
pub use mode::Mode;
pub use network::Model;
pub use ngrams::NgramBranch;

#[cfg(test)]
mod tests;
