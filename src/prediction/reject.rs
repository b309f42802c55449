//! The reject option: an uncertain prediction is replaced by a label of its own.

/// Label of predictions that are too uncertain.
#[derive(Clone, Debug, PartialEq)]
pub struct RejectOption {
    /// The label, which is not that of a class.
    pub label: String,
    /// Probability that the most probable class of an example needs, so that its prediction is kept.
    pub min_probability: f64,
}
