//! The interface of the steps that `lstmtext bench` measures.

use super::report::{Amount, Round};
use crate::backend::Backend;

/// Trains for a round, and measures it.
pub type RunRound<'a> = Box<dyn FnMut() -> anyhow::Result<Round> + 'a>;

/// Steps on which all backends train.
pub trait Workload {
    /// Creates a model on a backend.
    fn start<'a>(&'a self, backend: &'a dyn Backend) -> anyhow::Result<RunRound<'a>>;

    /// Returns the number of steps, tokens and operations of a round.
    fn amount(&self) -> Amount;
}
