//! Order of the tokens of a block, and the results of the forward pass in this order.

use super::aligned_vec::AlignedVec;
use super::cell::GATES;

/// Order of the tokens of a block in memory, as in PyTorch's `PackedSequence`: texts sorted by
/// decreasing length are the rows, and step t of all rows that are still active directly follows
/// step t − 1. Nothing is padded.
#[derive(Clone, Debug)]
pub struct Layout {
    /// First token of each step, and the number of tokens at the end.
    offsets: Vec<usize>,
}

impl Layout {
    /// Returns the layout of rows with these lengths, in decreasing order.
    pub fn new(lengths: &[usize]) -> Self {
        debug_assert!(lengths.is_sorted_by(|a, b| a >= b));
        let steps = lengths.first().copied().unwrap_or(0);
        let mut offsets = Vec::with_capacity(steps + 1);
        let mut active = lengths.len();
        let mut offset = 0;
        offsets.push(offset);
        for step in 0..steps {
            while lengths[active - 1] <= step {
                active -= 1;
            }
            offset += active;
            offsets.push(offset);
        }
        Self { offsets }
    }

    /// Number of steps of the longest row.
    pub fn steps(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of steps of all rows together.
    pub fn tokens(&self) -> usize {
        self.offsets[self.steps()]
    }

    /// Index of the first row's token at a step. The other rows follow.
    pub fn offset(&self, step: usize) -> usize {
        self.offsets[step]
    }

    /// Number of rows that have this step.
    pub fn active_rows(&self, step: usize) -> usize {
        match step < self.steps() {
            true => self.offsets[step + 1] - self.offsets[step],
            false => 0,
        }
    }
}

impl Default for Layout {
    /// Returns the layout of no rows.
    fn default() -> Self {
        Self::new(&[])
    }
}

/// Results of the forward pass that the backward pass needs.
#[derive(Default)]
pub struct ForwardCache {
    /// Gates, [tokens, P/lanes, i f g o, lanes]; the backward pass overwrites them with the
    /// gradients of z. Empty if there is no backward pass.
    pub gates: AlignedVec,
    /// Hidden state before each step, [tokens, P].
    pub hidden: AlignedVec,
    /// Cell state before each step, [tokens, P]. Without gates only the latest, [rows, P].
    pub cell_state: AlignedVec,
    /// Hidden state after the last step of each row, [rows, P].
    pub last_hidden: AlignedVec,
    /// Cell state after the last step of each row, [rows, P]. Without gates it is in `cell_state`.
    pub last_cell_state: AlignedVec,
}

impl ForwardCache {
    /// Resizes the buffers for a block, and sets the initial states to zero.
    pub fn prepare(&mut self, layout: &Layout, padded_units: usize, backward: bool) {
        let (tokens, rows) = (layout.tokens(), layout.active_rows(0));
        self.gates.resize(if backward { tokens * GATES * padded_units } else { 0 });
        self.hidden.resize(tokens * padded_units);
        self.cell_state.resize(if backward { tokens * padded_units } else { rows * padded_units });
        self.last_hidden.resize(rows * padded_units);
        self.last_cell_state.resize(if backward { rows * padded_units } else { 0 });
        self.hidden[..rows * padded_units].fill(0.0);
        self.cell_state[..rows * padded_units].fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_rows_take_no_memory() {
        let layout = Layout::new(&[4, 2, 2, 1]);
        assert_eq!((layout.steps(), layout.tokens()), (4, 9));
        assert_eq!([0, 1, 2, 3, 4].map(|step| layout.active_rows(step)), [4, 3, 1, 1, 0]);
        assert_eq!([0, 1, 2, 3, 4].map(|step| layout.offset(step)), [0, 4, 7, 8, 9]);
        let empty = Layout::new(&[]);
        assert_eq!((empty.steps(), empty.tokens(), empty.active_rows(0)), (0, 0, 0));
    }
}
