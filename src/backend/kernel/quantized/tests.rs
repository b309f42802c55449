use proptest::prelude::*;

use super::super::cell::{Cell, GATES, packed_index};
use super::super::layout::{ForwardCache, Layout};
use super::super::{AlignedVec, Forward, InputProjection, Instructions, OperandFormat};
use super::instructions::IntegerOperation;
use super::product::{Activations, IntegerProduct, lanes, multiply};
use super::*;

/// Computes the sums of all units for some rows of activations, with 1, 2, 4 or 6 rows at a time.
struct Sums<'a> {
    cell: &'a QuantizedCell,
    activations: &'a [i32],
    rows: usize,
    /// [rows, P/lanes, i f g o, lanes].
    sums: &'a mut [f32],
}

impl Sums<'_> {
    fn tile<P: IntegerProduct, const M: usize>(&mut self, product: P, first: usize) {
        let (lanes, width) = (lanes::<P>(), self.cell.shape.gates_width());
        let row_stride = self.cell.words(self.cell.shape.inputs);
        let activations = Activations { words: self.activations, row_stride };
        for vector in 0..width / (GATES * lanes) {
            let weights = self.cell.input.vector(vector, lanes);
            let sums = multiply::<P, M>(product, activations, first, weights);
            for (m, gates) in sums.into_iter().enumerate() {
                for (gate, sum) in gates.into_iter().enumerate() {
                    let at = (first + m) * width + (vector * GATES + gate) * lanes;
                    let floats = product.to_floats(sum);
                    pulp::Simd::partial_store_f32s(
                        product.simd(),
                        &mut self.sums[at..at + lanes],
                        floats,
                    );
                }
            }
        }
    }
}

impl IntegerOperation for Sums<'_> {
    fn run<P: IntegerProduct>(mut self, product: P) {
        let mut row = 0;
        while row < self.rows {
            match self.rows - row {
                6.. => self.tile::<P, 6>(product, row),
                4.. => self.tile::<P, 4>(product, row),
                2.. => self.tile::<P, 2>(product, row),
                _ => self.tile::<P, 1>(product, row),
            }
            row += [1, 1, 2, 2, 4, 4, 6][(self.rows - row).min(6)];
        }
    }
}

/// Returns numbers from −127 to 127 that look random.
fn values(count: usize, seed: u64) -> Vec<i8> {
    let value = |index: u64| (crate::random::mix(seed << 32 | index) % 255) as i32 - 127;
    (0..count as u64).map(|index| value(index) as i8).collect()
}

fn scales(count: usize, seed: u64) -> Vec<f32> {
    values(count, seed).iter().map(|value| (f32::from(*value) + 129.0) * 2e-5).collect()
}

/// Weights of a cell.
struct Weights {
    inputs: usize,
    units: usize,
    ih: (Vec<i8>, Vec<f32>),
    hh: (Vec<i8>, Vec<f32>),
    bias: Vec<f32>,
}

impl Weights {
    fn new(inputs: usize, units: usize, seed: u64) -> Self {
        let gates = GATES * units;
        let bias = scales(gates, seed + 4).iter().map(|scale| scale * 100.0 - 0.2).collect();
        Self {
            inputs,
            units,
            ih: (values(gates * inputs, seed), scales(gates, seed + 1)),
            hh: (values(gates * units, seed + 2), scales(gates, seed + 3)),
            bias,
        }
    }

    fn cell(&self, instructions: (Instructions, IntegerInstructions)) -> QuantizedCell {
        fn rows((values, scales): &(Vec<i8>, Vec<f32>)) -> QuantizedRows<'_> {
            QuantizedRows { values, scales }
        }
        QuantizedCell::new(
            (self.inputs, self.units),
            instructions.0.lanes(),
            instructions.1,
            (rows(&self.ih), rows(&self.hh)),
            &self.bias,
        )
    }

    /// Returns the same cell in single precision.
    fn float_cell(&self, instructions: Instructions) -> Cell {
        let dequantize = |(values, scales): &(Vec<i8>, Vec<f32>)| -> Vec<f32> {
            let columns = values.len() / scales.len();
            let values = values.iter().enumerate();
            values.map(|(at, value)| f32::from(*value) * scales[at / columns]).collect()
        };
        let format = [OperandFormat::Float; 2];
        let mut cell = Cell::new(self.inputs, self.units, instructions.lanes(), format);
        cell.pack(&dequantize(&self.ih), &dequantize(&self.hh), &self.bias);
        cell
    }
}

/// Packs rows of values as activations.
fn pack(cell: &QuantizedCell, rows: &[i8]) -> Vec<i32> {
    let words = cell.words(cell.shape.inputs);
    let mut packed = vec![0; rows.len() / cell.shape.inputs * words];
    for (row, packed) in rows.chunks(cell.shape.inputs).zip(packed.chunks_mut(words)) {
        cell.instructions.pack(row, packed);
    }
    packed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// All instructions compute the sums of the definition, to the bit.
    #[test]
    fn sums_are_exact(
        inputs in 1_usize..70, units in 1_usize..40, rows in 1_usize..14, seed in 0_u64..1 << 20,
    ) {
        let weights = Weights::new(inputs, units, seed);
        let activations = values(rows * inputs, seed + 9);
        for instructions in IntegerInstructions::available() {
            let cell = weights.cell(instructions);
            let width = cell.shape.gates_width();
            let mut sums = vec![f32::NAN; rows * width];
            let packed = pack(&cell, &activations);
            let operation = Sums { cell: &cell, activations: &packed, rows, sums: &mut sums };
            cell.instructions.run(operation);
            for (row, sums) in activations.chunks(inputs).zip(sums.chunks(width)) {
                for gate in 0..GATES {
                    for unit in 0..units {
                        let from = &weights.ih.0[(gate * units + unit) * inputs..][..inputs];
                        let terms = from.iter().zip(row);
                        let exact: i32 = terms.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
                        let at = packed_index(gate, unit, cell.shape.lanes);
                        prop_assert_eq!(sums[at], exact as f32, "{:?}", instructions);
                    }
                }
            }
        }
    }

    /// Projection and recurrence agree with those in single precision, up to the rounding of hidden states.
    /// A text gives the same states alone and in a block, and rows of padding units are zero.
    #[test]
    fn the_forward_pass_is_close_to_single_precision(
        inputs in 1_usize..40, units in 1_usize..40, seed in 0_u64..1 << 20,
        mut lengths in prop::collection::vec(1_usize..9, 1..14),
    ) {
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let weights = Weights::new(inputs, units, seed);
        let words = 5;
        let (table, table_scales) = (values(words * inputs, seed + 9), scales(words, seed + 10));
        for instructions in IntegerInstructions::available() {
            let cell = weights.cell(instructions);
            let float_cell = weights.float_cell(instructions.0);
            let width = cell.shape.gates_width();

            let mut projected = AlignedVec::zeros(words * width);
            let packed = pack(&cell, &table);
            let scales = InputScales::Rows(&table_scales);
            QuantizedProjection { cell: &cell, inputs: &packed, scales, projected: &mut projected }.run();
            let floats: Vec<f32> = (table.iter().enumerate())
                .map(|(at, value)| f32::from(*value) * table_scales[at / inputs])
                .collect();
            let mut float_projected = AlignedVec::zeros(words * width);
            instructions.0.multiply(InputProjection {
                cell: &float_cell,
                inputs: &floats,
                row_stride: inputs,
                projected: &mut float_projected,
            });
            for (a, b) in projected.iter().zip(&*float_projected) {
                prop_assert!((a - b).abs() < 1e-5, "{a} {b}");
            }

            let run = |lengths: &[usize], keep: bool| -> (Vec<f32>, Vec<f32>) {
                let layout = Layout::new(lengths);
                let mut rows = Vec::new();
                for step in 0..layout.steps() {
                    rows.extend((0..layout.active_rows(step)).map(|_| (step % words) as u32));
                }
                let (mut quantized, mut float) = (ForwardCache::default(), ForwardCache::default());
                quantized.prepare(&layout, cell.shape.padded_units, keep);
                float.prepare(&layout, cell.shape.padded_units, keep);
                let forward = Forward {
                    cell: &cell.shape,
                    layout: &layout,
                    input_rows: &rows,
                    projected: &projected,
                    cache: &mut quantized,
                    zero_initial_state: true,
                };
                let states = &mut AlignedVec::default();
                QuantizedForward { cell: &cell, forward, states }.run();
                instructions.0.multiply(Forward {
                    cell: &float_cell,
                    layout: &layout,
                    input_rows: &rows,
                    projected: &float_projected,
                    cache: &mut float,
                    zero_initial_state: true,
                });
                (quantized.last_hidden.to_vec(), float.last_hidden.to_vec())
            };
            let (block, float) = run(&lengths, false);
            for (a, b) in block.iter().zip(&float) {
                prop_assert!((a - b).abs() < 0.02, "{instructions:?}: {a} {b}");
            }
            prop_assert_eq!(&run(&lengths, true).0, &block);
            for (row, length) in lengths.iter().enumerate() {
                let padded_units = cell.shape.padded_units;
                let row = &block[row * padded_units..][..padded_units];
                prop_assert_eq!(&run(&[*length], false).0[..], row);
                prop_assert!(row[units..].iter().all(|state| *state == 0.0));
            }
        }
    }
}
