//! Dropout masks of a step in the memory of the device, the same as those of the native backend.

use std::ops::Range;

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::batch::to_device;
use lstmtext::backend::language_model::DropoutMasks;

/// Masks of a direction. `None` stands for a mask of ones.
pub struct DirectionMasks {
    /// Masks of each layer.
    pub layers: Vec<LayerMasks>,
    /// Mask of the hidden states of the top layer, float [T, B, H].
    pub outputs: Option<Tensor>,
}

/// Masks of a layer.
pub struct LayerMasks {
    /// Mask of the inputs at all time steps, float [B, inputs].
    pub inputs: Option<Tensor>,
    /// Mask of the recurrent weights, float [4H, H].
    pub weights: Option<Tensor>,
}

/// Shape of a direction and of the rows of a batch.
#[derive(Clone)]
pub struct MaskShape {
    /// Number of layers.
    pub layers: usize,
    /// Number of inputs of the lowest layer, E.
    pub inputs: usize,
    /// Number of units, H.
    pub units: usize,
    /// Rows of the batch, B of them.
    pub rows: Range<usize>,
    /// Number of time steps, T.
    pub steps: usize,
}

impl DirectionMasks {
    /// Draws the masks of a direction.
    pub fn draw(masks: &DropoutMasks, direction: usize, shape: MaskShape, device: Device) -> Self {
        let MaskShape { layers, inputs, units, rows, steps } = shape;
        let layer = |layer: usize| LayerMasks {
            inputs: masks.drops_inputs(layer).then(|| {
                let width = if layer == 0 { inputs } else { units };
                let fill = |row: usize, mask: &mut [f32]| {
                    masks.inputs(direction, layer, rows.start + row, mask);
                };
                upload(&draw([rows.len(), width], fill), width, device)
            }),
            weights: masks.drops_weights().then(|| {
                let fill = |row, mask: &mut [f32]| masks.weights(direction, layer, row, mask);
                upload(&draw([4 * units, units], fill), units, device)
            }),
        };
        let outputs = || {
            let fill = |token: usize, mask: &mut [f32]| {
                let (row, step) = (rows.start + token % rows.len(), token / rows.len());
                masks.outputs(direction, row, step, mask);
            };
            // A byte for each value takes a quarter of the time to copy.
            let kept: Vec<bool> = draw([steps * rows.len(), units], fill)
                .par_iter()
                .map(|factor| *factor > 0.0)
                .collect();
            let kept = to_device(&kept, device).to_kind(Kind::Float);
            kept.view([steps as i64, rows.len() as i64, -1]) * f64::from(masks.output_factor())
        };
        Self {
            layers: (0..layers).map(layer).collect(),
            outputs: masks.drops_outputs().then(outputs),
        }
    }
}

/// Draws each row of a mask with all threads.
fn draw([rows, width]: [usize; 2], fill: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut mask = vec![0.0; rows * width];
    mask.par_chunks_exact_mut(width).enumerate().for_each(|(row, mask)| fill(row, mask));
    mask
}

/// Copies a mask to a device, [rows, width].
fn upload(mask: &[f32], width: usize, device: Device) -> Tensor {
    to_device(mask, device).view([-1, width as i64])
}
