//! Lengths of texts that are divided among processes.

use std::sync::Arc;

use crate::distributed::Shards;

/// Division of texts among processes, and the lengths that all processes know.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedLengths {
    /// Division of the rows in which the texts are.
    pub shards: Arc<Shards>,
    /// Number of tokens of each text.
    pub lengths: Vec<u32>,
}

impl SharedLengths {
    /// Number of tokens of the text at `index`.
    pub fn get(&self, index: usize) -> usize {
        self.lengths[index] as usize
    }
}
