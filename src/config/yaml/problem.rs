//! Faults of YAML.

use super::positions::Position;

/// Maximum depth of nested values.
pub const MAX_DEPTH: usize = 128;

/// A fault of a document, with its position if it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub position: Option<Position>,
    pub message: String,
}

impl Problem {
    /// Creates a problem at a position.
    pub fn new(position: Position, message: impl Into<String>) -> Self {
        Self { position: Some(position), message: message.into() }
    }

    /// The problem of a value that is nested too deeply.
    pub fn too_deep(position: Position) -> Self {
        Self::new(position, format!("values are nested more than {MAX_DEPTH} levels deep"))
    }
}
