//! The optimizer state of language models: Adam's moments, and the states that rows carry from one batch to the next.
//! All backends use the same tensors, so that each can continue from the state of another.

use crate::backend::optimizer_state::tensors_in_order;
use crate::model::{LanguageModelSpec, NamedTensor};

/// Decay rates of Adam's moments (Kingma and Ba 2015). A shorter memory of squared gradients than usual suits
/// gradients of rare words.
pub const BETAS: [f64; 2] = [0.9, 0.99];
/// Term that Adam adds to the denominator.
pub const EPSILON: f64 = 1e-8;
/// Names in `torch.optim` of the moments.
const MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];
/// Names of the kinds of carried states.
const KINDS: [&str; 2] = ["hidden", "cell"];
/// Start of the names of carried states.
const PREFIX: &str = "state.";

/// Returns the names and shapes of Adam's state of weights with these names and shapes: the first moments of all
/// weights, the second moments, and the numbers of steps.
pub fn adam_layout(weights: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
    let moments = MOMENTS.iter().flat_map(|moment| {
        weights.iter().map(move |(name, shape)| (format!("{moment}.{name}"), shape.to_vec()))
    });
    let steps = weights.iter().map(|(name, _)| (format!("step.{name}"), Vec::new()));
    moments.chain(steps).collect()
}

/// A tensor of states that rows carry from one batch to the next, [B, H].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarriedState {
    /// Direction that the states belong to.
    pub direction: usize,
    /// Layer that the states belong to.
    pub layer: usize,
    /// 0 for hidden states, 1 for cell states.
    pub kind: usize,
    /// Name in the optimizer state.
    pub name: String,
    /// B and H.
    pub shape: [usize; 2],
}

/// Returns the tensors of carried states of a model that reads this number of rows, in the order in which the
/// optimizer state has them.
pub fn carried_states(spec: &LanguageModelSpec, rows: usize) -> Vec<CarriedState> {
    let (prefix, shape) = (spec.input.prefix(), [rows, spec.input.lstm.units]);
    let mut states = Vec::new();
    for direction in 0..spec.input.lstm.directions() {
        let suffix = if direction == 0 { "" } else { "_reverse" };
        for layer in 0..spec.layers() {
            for (kind, name) in KINDS.iter().enumerate() {
                let name = format!("{PREFIX}{prefix}{name}_l{layer}{suffix}");
                states.push(CarriedState { direction, layer, kind, name, shape });
            }
        }
    }
    states
}

/// Splits an optimizer state into the carried states, in the order of `expected`, and the state of Adam.
///
/// # Errors
/// Returns an error if a carried state is missing or has another shape.
pub fn split_state(
    expected: &[CarriedState],
    state: Vec<NamedTensor>,
) -> anyhow::Result<(Vec<NamedTensor>, Vec<NamedTensor>)> {
    let layout: Vec<_> =
        expected.iter().map(|state| (state.name.clone(), state.shape.to_vec())).collect();
    let (carried, of_adam) =
        state.into_iter().partition(|tensor: &NamedTensor| tensor.name.starts_with(PREFIX));
    Ok((tensors_in_order(&layout, carried)?, of_adam))
}
