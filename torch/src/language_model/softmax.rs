//! The softmax over words: sampled in training, and over the whole vocabulary in scores. The layers below don't belong
//! here; lstmtext's native backend describes the loss.

use tch::{Kind, Reduction, Tensor};

use super::batch::{DirectionBatch, StepBatch};
use super::model::LanguageModel;

/// Number of tokens and of words of the vocabulary whose logits are computed at a time: 32 MB of them.
const TOKENS: i64 = 1024;
const WORDS: i64 = 8192;

/// Computes the mean loss of the sampled softmax over all tokens of a direction, [], from their queries [T·B, E], the
/// vectors of the words of the step, [U, E], and the output biases of the direction's words, [O].
///
/// A negative that is the target is left out. The logits of large products have the precision of the queries; the
/// softmax over them is computed in 32 bits.
pub fn sampled_loss(
    queries: &Tensor,
    vectors: &Tensor,
    output_bias: &Tensor,
    step: &StepBatch,
    tokens: &DirectionBatch,
) -> Tensor {
    let bias = output_bias.unsqueeze(1);
    let look_up_bias = |rows| look_up(&bias, rows).squeeze_dim(1);
    let of_target = queries.to_kind(Kind::Float) * look_up(vectors, &tokens.targets);
    let of_target = of_target.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)
        + look_up_bias(&tokens.output_targets)
        + &tokens.target_terms; // [T·B]
    let negatives = look_up(vectors, &step.negatives).to_kind(queries.kind()); // [N, E]
    let terms = look_up_bias(&tokens.output_negatives) + &step.negative_terms;
    let is_target = tokens.targets.unsqueeze(1).eq_tensor(&step.negatives.unsqueeze(0));
    let of_negatives = queries.matmul(&negatives.tr()).to_kind(Kind::Float) + terms;
    let of_negatives = of_negatives.masked_fill(&is_target, f64::NEG_INFINITY); // [T·B, N]
    let logits = Tensor::cat(&[of_target.unsqueeze(1), of_negatives], 1);
    let first = tokens.targets.zeros_like();
    logits.cross_entropy_loss::<Tensor>(&first, None, Reduction::Mean, -100, 0.0)
}

/// Computes the negative log-probabilities of the targets, ids [T·B], with the softmax over the whole vocabulary, from
/// their queries [T·B, E]: double [T·B].
pub fn negative_log_probabilities(
    model: &LanguageModel,
    direction: usize,
    queries: &Tensor,
    targets: &Tensor,
) -> Tensor {
    let (vectors, bias) = (&model.embedding, &model.directions[direction].output_bias);
    let of_tokens = |queries: &Tensor, targets: &Tensor| {
        let of_target = queries * vectors.index_select(0, targets);
        let of_target = of_target.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)
            + bias.index_select(0, targets);
        let tiles = vectors.split(WORDS, 0).into_iter().zip(bias.split(WORDS, 0));
        let sums = tiles.map(|(vectors, bias)| {
            let logits = queries.linear(&vectors, Some(&bias)); // [tokens, words]
            logits.logsumexp([1_i64].as_slice(), false).to_kind(Kind::Double)
        });
        let sum = sums.reduce(|sum, tile| sum.logaddexp(&tile));
        sum.map_or_else(|| of_target.to_kind(Kind::Double), |sum| sum - &of_target)
    };
    let tokens = queries.split(TOKENS, 0).into_iter().zip(targets.split(TOKENS, 0));
    let scores: Vec<Tensor> =
        tokens.map(|(queries, targets)| of_tokens(&queries, &targets)).collect();
    Tensor::cat(&scores, 0)
}

/// Returns the rows of a table at these indices, of any shape. The gradient is deterministic on all devices.
pub fn look_up(table: &Tensor, rows: &Tensor) -> Tensor {
    Tensor::embedding(table, rows, -1, false, false)
}
