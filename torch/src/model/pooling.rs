//! A sequence of hidden states as one vector.

use tch::{Kind, Tensor};

use crate::batch::{Direction, Positions};
use lstmtext::config::Pooling;

/// Pools the states of one direction over its real tokens, [B, T, H] → [B, H] in fp32.
///
/// `Last` is the state after everything was read; where padding stands in front, the backward
/// direction reads that padding last, as in Keras without masking.
pub fn pool(kind: Pooling, states: &Tensor, positions: &Positions, direction: Direction) -> Tensor {
    match kind {
        Pooling::Last => positions.last(states).to_kind(Kind::Float),
        Pooling::Mean => {
            let real = positions.real(direction).to_kind(Kind::Float).unsqueeze(1); // [B, 1, T]
            real.bmm(&states.to_kind(Kind::Float)).squeeze_dim(1) / positions.lengths.unsqueeze(1)
        }
        Pooling::Max => {
            let padding = positions.real(direction).logical_not().unsqueeze(2); // [B, T, 1]
            states.masked_fill(&padding, f64::NEG_INFINITY).max_dim(1, false).0.to_kind(Kind::Float)
        }
    }
}
