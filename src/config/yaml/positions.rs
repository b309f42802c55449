//! The positions of the keys of a document.

use std::collections::HashMap;

/// A line and a column, starting at 1.
pub type Position = (usize, usize);

/// Positions of the keys of a document.
#[derive(Clone, Debug, Default)]
pub struct Positions(HashMap<Vec<String>, Key>);

/// The position of a key. A key that comes from a merge (`<<`) yields to one that does not.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub position: Position,
    pub is_merged: bool,
}

impl Positions {
    /// Returns the line and column of the key at `path`, if the key exists.
    pub fn get(&self, path: &[String]) -> Option<Position> {
        self.0.get(path).map(|key| key.position)
    }

    /// Adds the key at `path`.
    pub fn add(&mut self, path: &[String], key: Key) {
        match self.0.get(path) {
            Some(other) if key.is_merged || !other.is_merged => {}
            _ => {
                self.0.insert(path.to_owned(), key);
            }
        }
    }
}
