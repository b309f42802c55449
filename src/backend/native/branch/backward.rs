//! The backward pass over a branch: from its pooled features to its weights and words.

use super::{Branch, Layer, Mode, Workspace, in_text, rows, states};
use crate::backend::kernel::{
    Backproject, Backward, Cell, Floats, ForwardCache, Outer, Scatter, SumRows, Upstream,
};
use crate::backend::native::sharding::{SequenceBlock, Texts};
use crate::config::Pooling;

impl Branch {
    /// The backward pass over the block whose forward pass came last. `features` are the pooled
    /// states and `gradients` those with respect to them, [examples, stride], from `offset` on.
    pub fn backward(
        &self,
        texts: &Texts,
        block: usize,
        places: &[u32],
        work: &mut Workspace,
        mode: Mode,
        features: (&[f32], &[f32], usize, usize),
    ) {
        let strip = &texts.blocks[block];
        let mut layers = std::mem::take(&mut work.block);
        let Some(top) = layers.last_mut() else { return };
        let (features, gradients, stride, offset) = features;
        for direction in 0..top.traces.len() {
            let from = offset + direction * self.input.lstm.units;
            let (trace, upstream) = (&top.traces[direction], &mut top.upstream[direction]);
            self.spread(strip, direction, trace, (features, gradients, stride, from), upstream);
        }
        self.write_back(strip, Some(places), &mut layers, work, mode, self.spreads(strip));
        work.block = layers;
    }

    fn spreads(&self, strip: &SequenceBlock) -> Pooled {
        match self.input.pooling {
            Pooling::Last => Pooled::Last,
            Pooling::Mean if strip.pads.iter().all(|pads| *pads == 0) => Pooled::Every,
            _ => Pooled::Each,
        }
    }

    /// The gradient of the pooled states as that of the states.
    fn spread(
        &self,
        strip: &SequenceBlock,
        direction: usize,
        trace: &ForwardCache,
        features: (&[f32], &[f32], usize, usize),
        upstream: &mut Floats,
    ) {
        let (features, gradients, stride, from) = features;
        let units = self.input.lstm.units;
        let places = self.cells[0][0].places;
        let feature = |row: usize| strip.order[row] * stride + from;
        let spreads = self.spreads(strip);
        if spreads != Pooled::Each {
            upstream.clear(strip.order.len() * places);
            for row in 0..strip.order.len() {
                let share = match spreads {
                    Pooled::Last => 1.0,
                    _ => 1.0 / strip.lengths[row] as f32,
                };
                let to = &mut upstream[row * places..][..units];
                let gradient = &gradients[feature(row)..][..units];
                to.iter_mut().zip(gradient).for_each(|(to, gradient)| *to = gradient * share);
            }
            return;
        }
        upstream.clear(strip.layout.tokens() * places);
        // Of equal maxima the first alone gets the gradient.
        let mut given = vec![false; strip.order.len() * units];
        states(strip, trace, places, |step, row, token, state| {
            let counted = self.counted(strip, direction, row);
            if !counted.contains(&step) {
                return;
            }
            let to = &mut upstream[token * places..][..units];
            let gradient = &gradients[feature(row)..][..units];
            if self.input.pooling == Pooling::Mean {
                let share = 1.0 / counted.len() as f32;
                to.iter_mut().zip(gradient).for_each(|(to, gradient)| *to = gradient * share);
                return;
            }
            let most = &features[feature(row)..][..units];
            let given = &mut given[row * units..][..units];
            for unit in 0..units {
                if !given[unit] && state[unit] == most[unit] {
                    given[unit] = true;
                    to[unit] = gradient[unit];
                }
            }
        });
    }

    /// The backward pass of all layers over a strip; `pooled` says what the top layer's upstream
    /// is.
    fn write_back(
        &self,
        strip: &SequenceBlock,
        places: Option<&[u32]>,
        layers: &mut [Layer],
        work: &mut Workspace,
        mode: Mode,
        pooled: Pooled,
    ) {
        let tokens = strip.layout.tokens();
        let is_lead = places.is_none();
        for number in (0..layers.len()).rev() {
            let top = number + 1 == layers.len();
            let dense = number > 0 || !self.reads_table(mode);
            let (below, here) = layers.split_at_mut(number);
            let layer = &mut here[0];
            let cells = &self.cells[number];
            for (direction, cell) in cells.iter().enumerate() {
                let trace = &mut layer.traces[direction];
                if is_lead {
                    // What blocks that go on from the padding sent back, besides the layer above.
                    let upstream = &mut layer.upstream[direction];
                    match top {
                        true => upstream.clear(tokens * cell.places),
                        false => debug_assert_eq!(upstream.len(), tokens * cell.places),
                    }
                    for (to, from) in upstream.iter_mut().zip(&*work.lead_hidden[number]) {
                        *to += from;
                    }
                }
                let upstream = &layer.upstream[direction];
                let upstream = match pooled {
                    _ if !top || is_lead => Upstream::Each(upstream),
                    Pooled::Last => Upstream::Last(upstream),
                    Pooled::Every => Upstream::Every(upstream),
                    Pooled::Each => Upstream::Each(upstream),
                };
                work.carry.clear(strip.order.len() * cell.places);
                self.instructions.run(Backward {
                    cell,
                    layout: &strip.layout,
                    upstream,
                    memory_upstream: is_lead.then_some(&work.lead_memory[number]),
                    trace,
                    carry: &mut work.carry,
                });
                if !is_lead && strip.leads.iter().any(|lead| *lead > 0) {
                    self.hand_to_lead(strip, number, cell, trace, work);
                }
                let gradient = &mut work.gradients[number][direction];
                self.instructions.run(Outer {
                    sum: &mut gradient.recurrent,
                    left: &trace.hidden,
                    left_row: cell.places,
                    right: &trace.gates,
                    depth: cell.units,
                    columns: cell.wide(),
                });
                if !dense {
                    let rows = rows(strip, direction, false);
                    let sum = &mut work.projected_gradient[direction];
                    let (gradients, columns) = (&*trace.gates, cell.wide());
                    self.instructions.run(Scatter { sum, rows: &rows, gradients, columns });
                    continue;
                }
                self.instructions.run(SumRows { sum: &mut gradient.bias, rows: &trace.gates });
                let in_text_order = match direction {
                    0 => &trace.gates,
                    _ => {
                        let sum = &mut layer.projected_gradient;
                        sum.clear(trace.gates.len());
                        let (gradients, columns) = (&*trace.gates, cell.wide());
                        self.instructions.run(Scatter {
                            sum,
                            rows: &strip.reversed,
                            gradients,
                            columns,
                        });
                        &layer.projected_gradient
                    }
                };
                let columns = cell.inputs.next_multiple_of(self.lanes());
                self.instructions.run(Outer {
                    sum: &mut gradient.input,
                    left: &layer.inputs,
                    left_row: columns,
                    right: in_text_order,
                    depth: cell.inputs,
                    columns: cell.wide(),
                });
                let inputs =
                    if direction == 0 { &mut layer.inputs_gradient } else { &mut layer.more };
                inputs.resize(tokens * columns);
                let (packed, gradients) = (&*cell.input_back, &**in_text_order);
                self.instructions.run(Backproject { cell, packed, gradients, inputs, columns });
                if direction > 0 {
                    let sums = layer.inputs_gradient.iter_mut();
                    sums.zip(&*layer.more).for_each(|(sum, more)| *sum += more);
                }
            }
            if !dense {
                continue;
            }
            self.mask(number, strip, places, mode, &mut layer.inputs_gradient);
            match below.last_mut() {
                Some(below) => self.pass_down(strip, &layer.inputs_gradient, below),
                None => {
                    let columns = self.row();
                    self.instructions.run(Scatter {
                        sum: &mut work.rows,
                        rows: &strip.rows,
                        gradients: &layer.inputs_gradient,
                        columns,
                    });
                }
            }
        }
    }

    /// The gradient of a layer's inputs as that of the states of the layer below.
    fn pass_down(&self, strip: &SequenceBlock, gradients: &[f32], below: &mut Layer) {
        let (units, tokens) = (self.input.lstm.units, strip.layout.tokens());
        let places = self.cells[0][0].places;
        let row = gradients.len() / tokens;
        for (direction, upstream) in below.upstream.iter_mut().enumerate() {
            upstream.clear(tokens * places);
            for (token, to) in upstream.chunks_exact_mut(places).enumerate() {
                let from = in_text(strip, direction, token) * row + direction * units;
                to[..units].copy_from_slice(&gradients[from..][..units]);
            }
        }
    }

    /// Adds the gradients of the first states of rows to those of the padding that they go on from.
    fn hand_to_lead(
        &self,
        strip: &SequenceBlock,
        number: usize,
        cell: &Cell,
        trace: &ForwardCache,
        work: &mut Workspace,
    ) {
        let (rows, places) = (strip.order.len(), cell.places);
        work.first.resize(rows * places);
        self.instructions.run(Backproject {
            cell,
            packed: &cell.recurrent_back,
            gradients: &trace.gates[..rows * cell.wide()],
            inputs: &mut work.first,
            columns: places,
        });
        for (row, lead) in strip.leads.iter().enumerate().filter(|(_, lead)| **lead > 0) {
            let to = (lead - 1) * places;
            for (sums, from) in [
                (&mut work.lead_hidden[number], &work.first),
                (&mut work.lead_memory[number], &work.carry),
            ] {
                let from = &from[row * places..][..places];
                sums[to..to + places].iter_mut().zip(from).for_each(|(sum, from)| *sum += from);
            }
        }
    }

    /// Ends a shard: gradients of the shared padding, of the input weights and of the words.
    pub fn end(&self, texts: &Texts, work: &mut Workspace, mode: Mode) {
        if let Some(lead) = &texts.lead {
            let mut layers = std::mem::take(&mut work.lead);
            self.write_back(lead, None, &mut layers, work, mode, Pooled::Each);
            work.lead = layers;
        }
        let scale = self.word_scale(mode);
        if self.reads_table(mode) {
            let mut more = Floats::default();
            for (direction, cell) in self.cells[0].iter().enumerate() {
                let projected = &*work.projected_gradient[direction];
                let gradient = &mut work.gradients[0][direction];
                self.instructions.run(SumRows { sum: &mut gradient.bias, rows: projected });
                self.instructions.run(Outer {
                    sum: &mut gradient.input,
                    left: &work.table,
                    left_row: cell.inputs,
                    right: projected,
                    depth: cell.inputs,
                    columns: cell.wide(),
                });
                if !self.input.embedding.trainable {
                    continue;
                }
                let inputs = if direction == 0 { &mut work.rows } else { &mut more };
                inputs.resize(projected.len() / cell.wide() * self.row());
                let (packed, columns) = (&*cell.input_back, self.row());
                self.instructions.run(Backproject {
                    cell,
                    packed,
                    gradients: projected,
                    inputs,
                    columns,
                });
            }
            work.rows.iter_mut().zip(&*more).for_each(|(sum, more)| *sum += more);
        }
        if scale != 1.0 {
            work.rows.iter_mut().for_each(|value| *value *= scale);
        }
    }
}

/// How the gradient of the pooled states reaches the states.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pooled {
    Last,
    Every,
    Each,
}
