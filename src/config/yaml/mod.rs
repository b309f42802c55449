//! Parses YAML into values, the position of every key, and text as it is spelled.
//!
//! serde_yaml reads the plain scalars `1.10`, `True` and `~` as a number, a boolean and null, and drops
//! their spelling and the positions. The events of the same grammar, libyaml's, have both, and allow
//! limits to be checked before memory is spent.

mod builder;
mod events;
mod positions;
mod problem;
mod scalar;

use serde_yaml::Value;

pub use positions::Positions;
pub use problem::Problem;
pub use scalar::plain;

/// A parsed document.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    pub root: Value,
    pub positions: Positions,
}

/// Parses a document whose value belongs to the field at `path`; empty for a whole configuration.
///
/// # Errors
/// Returns the error of the grammar or of a limit, or all duplicate keys.
pub fn parse(yaml: &str, path: &[String]) -> Result<Parsed, Vec<Problem>> {
    let events = events::events(yaml).map_err(|problem| vec![problem])?;
    let (mut root, positions) = builder::build(&events, path)?;
    let merged = root.apply_merge();
    merged.map_err(|error| vec![Problem { position: None, message: error.to_string() }])?;
    Ok(Parsed { root, positions })
}

#[cfg(test)]
mod tests;
