//! Pooling of hidden states over time.

use tch::{Kind, Tensor};

use super::lstm::{HiddenStates, concatenate};
use crate::batch::{Direction, Padding};
use lstmtext::config::Pooling;

/// Pools the hidden states of all directions over their real tokens, in fp32, and concatenates the
/// poolings: [B, D]. Each has the features of the forward direction, then those of the backward one.
///
/// `query` `[H · directions]` is that of attention.
pub fn pool(
    poolings: &[Pooling],
    directions: &[HiddenStates],
    query: Option<&Tensor>,
    padding: &Padding,
) -> Tensor {
    let each = |pool: fn(&HiddenStates, &Padding) -> Tensor| -> Vec<Tensor> {
        directions.iter().map(|states| pool(states, padding)).collect()
    };
    let pooled = poolings.iter().flat_map(|pooling| match pooling {
        Pooling::Last => each(last),
        Pooling::Mean => each(mean),
        Pooling::Max => each(max),
        Pooling::Attention => {
            query.iter().map(|query| attend(directions, query, padding)).collect()
        }
    });
    Tensor::cat(&pooled.collect::<Vec<_>>(), 1)
}

/// Returns the states after the last time step, [B, H]. If padding is in front, the backward
/// direction reads it last, as in Keras without masking.
fn last(HiddenStates { states, .. }: &HiddenStates, padding: &Padding) -> Tensor {
    padding.last(states).to_kind(Kind::Float)
}

/// Returns the means of the states, [B, H].
fn mean(HiddenStates { direction, states }: &HiddenStates, padding: &Padding) -> Tensor {
    let mask = padding.mask(*direction).to_kind(Kind::Float).unsqueeze(1); // [B, 1, T]
    mask.bmm(&states.to_kind(Kind::Float)).squeeze_dim(1) / padding.lengths.unsqueeze(1)
}

/// Returns the maxima of the states, [B, H].
fn max(HiddenStates { direction, states }: &HiddenStates, padding: &Padding) -> Tensor {
    let padded = padding.mask(*direction).logical_not().unsqueeze(2); // [B, T, 1]
    states.masked_fill(&padded, f64::NEG_INFINITY).max_dim(1, false).0.to_kind(Kind::Float)
}

/// Returns the means of the states, weighted by the softmax of their products with the query:
/// [B, H · directions].
fn attend(directions: &[HiddenStates], query: &Tensor, padding: &Padding) -> Tensor {
    let states = concatenate(directions, padding).to_kind(Kind::Float); // [B, T, H · directions]
    let padded = padding.mask(Direction::Forward).logical_not(); // [B, T]
    let scores = states.matmul(query).masked_fill(&padded, f64::NEG_INFINITY);
    scores.softmax(1, Kind::Float).unsqueeze(1).bmm(&states).squeeze_dim(1)
}
