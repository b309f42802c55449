//! Pooling of hidden states over time.

use tch::{Kind, Tensor};

use crate::batch::{Direction, Padding};
use lstmtext::config::Pooling;

/// Pools the hidden states of one direction over its real tokens, [B, T, H] → [B, H] in fp32.
///
/// `Last` is the state after the last time step. If padding is in front, the backward direction
/// reads it last, as in Keras without masking.
pub fn pool(kind: Pooling, states: &Tensor, padding: &Padding, direction: Direction) -> Tensor {
    match kind {
        Pooling::Last => padding.last(states).to_kind(Kind::Float),
        Pooling::Mean => {
            let mask = padding.mask(direction).to_kind(Kind::Float).unsqueeze(1); // [B, 1, T]
            mask.bmm(&states.to_kind(Kind::Float)).squeeze_dim(1) / padding.lengths.unsqueeze(1)
        }
        Pooling::Max => {
            let padded = padding.mask(direction).logical_not().unsqueeze(2); // [B, T, 1]
            states.masked_fill(&padded, f64::NEG_INFINITY).max_dim(1, false).0.to_kind(Kind::Float)
        }
    }
}
