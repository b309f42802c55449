//! Products in all numbers, of matrices of odd sizes.

use super::operands::{OperandFormat, rounded};
use super::*;

/// Sizes of a product: rows, terms, and units or columns.
const SIZES: [[usize; 3]; 4] = [[1, 1, 1], [13, 5, 7], [7, 67, 50], [131, 33, 20]];

/// Returns values between -1 and 1 that bf16 does not represent.
fn values(count: usize, seed: usize) -> Vec<f32> {
    let value = |at: usize| ((at * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0;
    (0..count).map(value).collect()
}

fn assert_close(actual: &[f32], expected: &[f32], tolerance: f32, context: &str) {
    assert_eq!(actual.len(), expected.len(), "{context}");
    for (actual, expected) in actual.iter().zip(expected) {
        assert!((actual - expected).abs() <= tolerance, "{context}: {actual} {expected}");
    }
}

/// Calls `check` with each set of instructions and the numbers for bf16 that it can multiply.
fn for_each_kind_of_bf16(mut check: impl FnMut(Instructions, OperandFormat)) {
    for instructions in Instructions::available() {
        check(instructions, OperandFormat::RoundedFloat);
        if instructions.multiply_pairs() {
            check(instructions, OperandFormat::Bf16Pairs);
        }
    }
}

fn cell([inputs, units]: [usize; 2], lanes: usize, format: OperandFormat, rounds: bool) -> Cell {
    let mut cell = Cell::new(inputs, units, lanes, [format; 2]);
    let weights = |count, seed| {
        let values = values(count, seed).into_iter();
        values.map(|value| if rounds { rounded(value) } else { value }).collect::<Vec<f32>>()
    };
    let (input, recurrent) = (weights(4 * units * inputs, 1), weights(4 * units * units, 2));
    cell.pack(&input, &recurrent, &values(4 * units, 3));
    cell
}

fn all_rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| rounded(*value)).collect()
}

/// Products in bf16 are those of the rounded operands in single precision.
#[test]
fn products_in_bf16_are_those_of_rounded_operands() {
    for_each_kind_of_bf16(|instructions, format| {
        let lanes = instructions.lanes();
        for [rows, inputs, units] in SIZES {
            let context = format!("{instructions} {format:?} {rows} {inputs} {units}");
            let tolerance = 1e-5 * (4 * units).max(inputs) as f32;
            let in_bf16 = cell([inputs, units], lanes, format, false);
            let in_floats = cell([inputs, units], lanes, OperandFormat::Float, true);
            let width = in_bf16.gates_width();

            let stride = inputs + 3;
            let left = values(rows * stride, 4);
            let project = |cell: &Cell, inputs: &[f32]| {
                let mut projected = vec![0.0; rows * width];
                let row_stride = stride;
                let projected_rows = &mut projected[..];
                instructions.multiply(InputProjection {
                    cell,
                    inputs,
                    row_stride,
                    projected: projected_rows,
                });
                projected
            };
            let expected = project(&in_floats, &all_rounded(&left));
            assert_close(&project(&in_bf16, &left), &expected, tolerance, &context);

            let mut gradients = values(rows * width, 5);
            for row in gradients.chunks_exact_mut(width) {
                // Padding has no gradient.
                for gate in 0..GATES {
                    for unit in units..in_bf16.padded_units {
                        row[packed_index(gate, unit, lanes)] = 0.0;
                    }
                }
            }
            let columns = inputs.next_multiple_of(lanes);
            let gradient = |cell: &Cell, gradients: &[f32]| {
                let mut inputs = vec![0.0; rows * columns];
                let (packed, of_inputs) = (&cell.input_transposed, &mut inputs[..]);
                instructions.multiply(InputGradient {
                    cell,
                    packed,
                    gradients,
                    inputs: of_inputs,
                    columns,
                });
                inputs
            };
            let expected = gradient(&in_floats, &all_rounded(&gradients));
            assert_close(&gradient(&in_bf16, &gradients), &expected, tolerance, &context);

            let weight_gradient = |format: OperandFormat, left: &[f32], right: &[f32]| {
                let mut sum = vec![0.5; inputs * width];
                instructions.multiply(WeightGradient {
                    sum: &mut sum,
                    left,
                    left_stride: stride,
                    right,
                    depth: inputs,
                    columns: width,
                    format,
                });
                sum
            };
            let expected = weight_gradient(
                OperandFormat::Float,
                &all_rounded(&left),
                &all_rounded(&gradients),
            );
            let actual = weight_gradient(format, &left, &gradients);
            assert_close(&actual, &expected, 1e-5 * rows as f32, &context);

            let right = values(inputs * units, 6);
            let product = |format: OperandFormat, left: &[f32], right: &[f32]| {
                let mut matrix = PackedMatrix::new(format);
                matrix.pack_rows([inputs, units, lanes], 1.0, |k| &right[k * units..][..units]);
                let out_stride = matrix.padded_columns();
                let mut out = vec![0.0; rows * out_stride];
                instructions.multiply(Product {
                    left,
                    left_stride: stride,
                    right: &matrix,
                    bias: &[],
                    out: &mut out,
                    stride: out_stride,
                    rows,
                });
                out
            };
            let expected = product(OperandFormat::Float, &all_rounded(&left), &all_rounded(&right));
            assert_close(&product(format, &left, &right), &expected, tolerance, &context);
        }
    });
}

/// The hidden states and gate gradients of texts of several lengths.
fn passes(instructions: Instructions, format: OperandFormat, units: usize) -> [Vec<f32>; 2] {
    let mut cell = Cell::new(1, units, instructions.lanes(), [format; 2]);
    let weights = |count: usize, seed| -> Vec<f32> {
        values(count, seed).iter().map(|value| value / (units as f32).sqrt()).collect()
    };
    cell.pack(&weights(4 * units, 1), &weights(4 * units * units, 2), &values(4 * units, 3));
    let layout = Layout::new(&[9, 9, 6, 5, 5, 2, 1]);
    let (tokens, rows) = (layout.tokens(), layout.active_rows(0));
    let mut projected = vec![0.0; tokens * cell.gates_width()];
    let inputs = values(tokens, 4);
    let projected_rows = &mut projected[..];
    instructions.multiply(InputProjection {
        cell: &cell,
        inputs: &inputs,
        row_stride: 1,
        projected: projected_rows,
    });
    let mut cache = ForwardCache::default();
    cache.prepare(&layout, cell.padded_units, true);
    let input_rows: Vec<u32> = (0..tokens as u32).collect();
    instructions.multiply(Forward {
        cell: &cell,
        layout: &layout,
        input_rows: &input_rows,
        projected: &projected,
        cache: &mut cache,
        zero_initial_state: true,
    });
    let mut gradient = vec![0.0; rows * cell.padded_units];
    for (row, values) in gradient.chunks_exact_mut(cell.padded_units).zip(values(rows, 5)) {
        row[..units].fill(values);
    }
    let mut carry = vec![0.0; rows * cell.padded_units];
    instructions.multiply(Backward {
        cell: &cell,
        layout: &layout,
        hidden_gradient: HiddenGradient::LastStep(&gradient),
        cache: &mut cache,
        cell_gradient: None,
        carry: &mut carry,
    });
    let plain = |values: &[f32], width: usize| -> Vec<f32> {
        // Other vectors have other padding.
        let units = 0..units;
        let index = |gate, unit| packed_index(gate, unit, instructions.lanes());
        let rows = values.chunks_exact(width);
        let gates = if width == cell.gates_width() { GATES } else { 1 };
        rows.flat_map(|row| {
            units.clone().flat_map(move |unit| {
                (0..gates).map(move |gate| row[if gates == 1 { unit } else { index(gate, unit) }])
            })
        })
        .collect()
    };
    [plain(&cache.last_hidden, cell.padded_units), plain(&cache.gates, cell.gates_width())]
}

/// All processors compute bf16 alike, and close to single precision.
#[test]
fn passes_in_bf16_agree_everywhere() {
    for units in [5, 16, 33] {
        let floats = passes(Instructions::Portable, OperandFormat::Float, units);
        let expected = passes(Instructions::Portable, OperandFormat::RoundedFloat, units);
        assert_ne!(floats, expected);
        for_each_kind_of_bf16(|instructions, format| {
            let actual = passes(instructions, format, units);
            for ((actual, expected), floats) in actual.iter().zip(&expected).zip(&floats) {
                let context = format!("{instructions} {format:?} {units}");
                // A state that is rounded to the other neighbour changes the following ones.
                assert_close(actual, expected, 2e-3, &context);
                assert_close(actual, floats, 1e-2, &context);
            }
        });
    }
}
