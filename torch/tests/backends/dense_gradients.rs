//! Gradients of the native backend in PyTorch's layout.

use lstmtext::backend::native::{Gradients, Network};

/// Returns the dense gradient of every parameter, in PyTorch's layout.
pub fn dense_gradients(network: &Network, gradients: &Gradients) -> Vec<(String, Vec<f32>)> {
    let mut all: Vec<(String, Vec<f32>)> = network
        .weights()
        .iter()
        .zip(&gradients.dense)
        .map(|(parameter, dense)| (parameter.tensor.name.clone(), dense.clone()))
        .collect();
    for rows in &gradients.rows {
        let weight = &network.weights()[rows.parameter].tensor;
        let mut dense = vec![0.0; weight.values.len()];
        for (word, row) in rows.words.iter().zip(rows.values.chunks_exact(weight.shape[1])) {
            dense[*word as usize * row.len()..][..row.len()].copy_from_slice(row);
        }
        all[rows.parameter].1 = dense;
    }
    all
}
