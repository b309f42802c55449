//! Training or evaluation.

/// Whether dropout acts and gradients are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout acts, and backward will be called.
    Train,
    /// Everything is deterministic.
    Evaluate,
}

impl Mode {
    /// Whether dropout acts.
    pub fn training(self) -> bool {
        self == Self::Train
    }
}
