//! Explanations of predictions: the contribution of each word, in log-odds of a class. How a
//! network computes belongs to the backends.

mod alignment;
mod attribution;
mod encoded_models;
mod explainer;
mod integrated_gradients;
mod leave_one_out;
mod model;
mod ngrams;
pub mod page;
mod prefixes;

pub use attribution::{
    ExplainedNgram, ExplainedText, ExplainedWord, Explanation, Integration, Method, Segment, Side,
};
pub use explainer::Explainer;

#[cfg(test)]
mod tests;
