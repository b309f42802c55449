//! The states that a direction carries from one batch to the next. Those inside a batch don't belong here.

use std::ops::Range;

use crate::backend::kernel::{AlignedVec, ForwardCache};

/// States of all rows of a batch in one direction.
#[derive(Clone, Default)]
pub struct States {
    padded_units: usize,
    /// Hidden and cell state of each layer, [B, P] each.
    layers: Vec<[AlignedVec; 2]>,
}

impl States {
    /// Returns states of zero.
    pub fn zeros(layers: usize, rows: usize, padded_units: usize) -> Self {
        let zeros = || AlignedVec::zeros(rows * padded_units);
        Self { padded_units, layers: (0..layers).map(|_| [zeros(), zeros()]).collect() }
    }

    /// Number of rows, B.
    pub fn rows(&self) -> usize {
        self.layers.first().map_or(0, |[hidden, _]| hidden.len() / self.padded_units)
    }

    /// Sets all states to zero.
    pub fn reset(&mut self) {
        self.layers.iter_mut().flatten().for_each(|state| state.fill(0.0));
    }

    /// Copies the states of some rows of a layer to the initial states of a pass.
    pub fn load(&self, layer: usize, rows: Range<usize>, cache: &mut ForwardCache) {
        let range = self.range(&rows);
        let [hidden, cell] = &self.layers[layer];
        cache.hidden[..range.len()].copy_from_slice(&hidden[range.clone()]);
        cache.cell_state[..range.len()].copy_from_slice(&cell[range]);
    }

    /// Copies the final states of a pass to the states of some rows of a layer.
    pub fn store(&mut self, layer: usize, rows: Range<usize>, last: [&[f32]; 2]) {
        let range = self.range(&rows);
        for (state, last) in self.layers[layer].iter_mut().zip(last) {
            state[range.clone()].copy_from_slice(&last[..range.len()]);
        }
    }

    /// Returns the final hidden and cell states of a pass, at least [R, P] each.
    pub fn last(cache: &ForwardCache) -> [&[f32]; 2] {
        let ForwardCache { last_hidden, last_cell_state, cell_state, .. } = cache;
        let last_cell = if last_cell_state.is_empty() { cell_state } else { last_cell_state };
        [last_hidden, last_cell]
    }

    /// Returns the hidden (0) or cell (1) states of a layer without padding, [B, H].
    pub fn values(&self, layer: usize, kind: usize, units: usize) -> Vec<f32> {
        let rows = self.layers[layer][kind].chunks_exact(self.padded_units);
        rows.flat_map(|row| &row[..units]).copied().collect()
    }

    /// Sets the hidden (0) or cell (1) states of a layer, [B, H].
    pub fn set_values(&mut self, layer: usize, kind: usize, units: usize, values: &[f32]) {
        let rows = self.layers[layer][kind].chunks_exact_mut(self.padded_units);
        for (row, values) in rows.zip(values.chunks_exact(units)) {
            row[..units].copy_from_slice(values);
        }
    }

    fn range(&self, rows: &Range<usize>) -> Range<usize> {
        rows.start * self.padded_units..rows.end * self.padded_units
    }
}
