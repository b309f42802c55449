//! Training or evaluation.

/// Mode of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With dropout, and followed by a backward pass.
    Train,
    /// Deterministic.
    Evaluate,
}

impl Mode {
    /// Returns true if dropout is active.
    pub fn training(self) -> bool {
        self == Self::Train
    }
}
