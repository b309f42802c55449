//! What reads one input: table of words → LSTM layers → pooling, forward and backward.

use std::borrow::Cow;

use super::dropout::{Dropout, Place};
use super::reading::{Strip, Texts};
use crate::config::{Input, Pooling};
use crate::kernel::{
    Backproject, Backward, Cell, Floats, Forward, Instructions, Outer, Project, Scatter, SumRows,
    Trace, Upstream,
};

/// The layers of one input, packed for the kernel.
pub struct Branch {
    pub input: Input,
    /// The number of the input.
    pub number: usize,
    instructions: Instructions,
    /// For each layer a cell for each direction.
    pub cells: Vec<Vec<Cell>>,
}

/// Whether a pass is followed by a backward pass, and with which masks.
#[derive(Clone, Copy)]
pub struct Mode<'a> {
    pub backward: bool,
    pub dropout: Option<&'a Dropout>,
}

/// What a branch works with in one thread; kept from step to step, for its memory.
#[derive(Default)]
pub struct Workspace {
    /// The word vectors of the shard, scaled where words are dropped, and a row of zeros: [n + 1, E].
    table: Floats,
    /// For each direction the input products of the table, and their gradients.
    projected: Vec<Floats>,
    projected_gradient: Vec<Floats>,
    /// The layers over a block, and over the shared padding in front.
    block: Vec<Layer>,
    lead: Vec<Layer>,
    /// For each layer the gradients of the states after each step of the shared padding.
    lead_hidden: Vec<Floats>,
    lead_memory: Vec<Floats>,
    carry: Floats,
    first: Floats,
    /// For each layer and direction.
    pub gradients: Vec<Vec<CellGradient>>,
    /// The gradient of the word vectors, [n + 1, E in whole vectors].
    pub rows: Floats,
}

/// What a layer made of a strip.
#[derive(Default)]
struct Layer {
    /// A trace for each direction.
    traces: Vec<Trace>,
    /// What it read where that is not the table of words: [tokens, inputs in whole vectors].
    inputs: Floats,
    projected: Vec<Floats>,
    projected_gradient: Floats,
    inputs_gradient: Floats,
    more: Floats,
    /// For each direction the gradient of what it passed on, [tokens, P] or [rows, P].
    upstream: Vec<Floats>,
}

/// The gradients of a cell in packed order.
#[derive(Default)]
pub struct CellGradient {
    /// [inputs, P/lanes, i f g o, lanes]
    pub input: Floats,
    /// [H, P/lanes, i f g o, lanes]
    pub recurrent: Floats,
    /// [P/lanes, i f g o, lanes]
    pub bias: Floats,
}

fn resized<T: Default>(values: &mut Vec<T>, length: usize) {
    values.resize_with(length, T::default);
}

impl Workspace {
    /// Room for a branch.
    fn prepare(&mut self, branch: &Branch, backward: bool) {
        let (layers, directions) = (branch.cells.len(), branch.cells[0].len());
        resized(&mut self.projected, directions);
        resized(&mut self.projected_gradient, directions);
        resized(&mut self.lead_hidden, layers);
        resized(&mut self.lead_memory, layers);
        for strip in [&mut self.block, &mut self.lead] {
            resized(strip, layers);
            for layer in strip {
                resized(&mut layer.traces, directions);
                resized(&mut layer.projected, directions);
                resized(&mut layer.upstream, directions);
            }
        }
        if !backward {
            return;
        }
        resized(&mut self.gradients, layers);
        for (gradients, cells) in self.gradients.iter_mut().zip(&branch.cells) {
            resized(gradients, directions);
            for (gradient, cell) in gradients.iter_mut().zip(cells) {
                gradient.input.clear(cell.inputs * cell.wide());
                gradient.recurrent.clear(cell.units * cell.wide());
                gradient.bias.clear(cell.wide());
            }
        }
    }
}

impl Branch {
    /// The layers of `input`, without weights.
    pub fn new(input: &Input, number: usize, instructions: Instructions) -> Self {
        let directions = if input.lstm.bidirectional { 2 } else { 1 };
        let layer = |layer: usize| {
            let inputs = match layer {
                0 => input.embedding.size,
                _ => input.lstm.units * directions,
            };
            let cell = |_| Cell::new(inputs, input.lstm.units, instructions.lanes());
            (0..directions).map(cell).collect()
        };
        let cells = (0..input.lstm.layers).map(layer).collect();
        Self { input: input.clone(), number, instructions, cells }
    }

    /// The features that it contributes.
    pub fn features(&self) -> usize {
        self.cells[0].len() * self.input.lstm.units
    }

    fn lanes(&self) -> usize {
        self.instructions.lanes()
    }

    /// The embedding dimension in whole vectors.
    pub fn row(&self) -> usize {
        self.input.embedding.size.next_multiple_of(self.lanes())
    }

    /// Whether the bottom layer reads words as they stand in the table, each projected once.
    fn reads_table(&self, mode: Mode) -> bool {
        mode.dropout.is_none() || self.input.embedding.dropout == 0.0
    }

    /// What a kept word is multiplied by where others are dropped.
    pub fn word_scale(&self, mode: Mode) -> f32 {
        match mode.dropout {
            Some(_) => (1.0 / (1.0 - self.input.embedding.word_dropout)) as f32,
            None => 1.0,
        }
    }

    /// Begins a shard: gathers its words and multiplies each with the input weights, once.
    pub fn begin(&self, texts: &Texts, embedding: &[f32], work: &mut Workspace, mode: Mode) {
        work.prepare(self, mode.backward);
        let (size, count) = (self.input.embedding.size, texts.words.len() + 1);
        let scale = self.word_scale(mode);
        work.table.resize(count * size);
        let (rows, zero) = work.table.split_at_mut((count - 1) * size);
        for (row, word) in rows.chunks_exact_mut(size).zip(&texts.words) {
            let vector = &embedding[*word as usize * size..][..size];
            for (to, from) in row.iter_mut().zip(vector) {
                *to = from * scale;
            }
        }
        zero.fill(0.0);
        if self.reads_table(mode) {
            for (direction, cell) in self.cells[0].iter().enumerate() {
                let projected = &mut work.projected[direction];
                projected.resize(count * cell.wide());
                self.instructions.run(Project { cell, inputs: &work.table, row: size, projected });
                if mode.backward {
                    work.projected_gradient[direction].clear(count * cell.wide());
                }
            }
        }
        if mode.backward {
            work.rows.clear(count * self.row());
        }
        if let Some(lead) = &texts.lead {
            for (layer, cells) in self.cells.iter().enumerate() {
                let size = lead.layout.tokens() * cells[0].places;
                if mode.backward {
                    work.lead_hidden[layer].clear(size);
                    work.lead_memory[layer].clear(size);
                }
            }
            let mut layers = std::mem::take(&mut work.lead);
            self.read(lead, None, &mut layers, None, work, mode);
            work.lead = layers;
        }
    }

    /// Runs the layers over block number `block`; puts the pooled states of each of its examples
    /// into `features`, [examples, stride], from `offset` on.
    pub fn forward(
        &self,
        texts: &Texts,
        block: usize,
        places: &[u32],
        work: &mut Workspace,
        mode: Mode,
        features: (&mut [f32], usize, usize),
    ) {
        let strip = &texts.blocks[block];
        let mut layers = std::mem::take(&mut work.block);
        let lead = std::mem::take(&mut work.lead);
        self.read(strip, Some(places), &mut layers, Some(&lead), work, mode);
        (work.block, work.lead) = (layers, lead);
        let Some(top) = work.block.last() else { return };
        let (features, stride, offset) = features;
        for (direction, trace) in top.traces.iter().enumerate() {
            let from = offset + direction * self.input.lstm.units;
            self.pool(strip, direction, trace, features, stride, from);
        }
    }

    /// All layers over a strip. `lead` has the layers over the shared padding, from which rows go
    /// on.
    fn read(
        &self,
        strip: &Strip,
        places: Option<&[u32]>,
        layers: &mut [Layer],
        lead: Option<&[Layer]>,
        work: &Workspace,
        mode: Mode,
    ) {
        for number in 0..layers.len() {
            let (below, here) = layers.split_at_mut(number);
            let layer = &mut here[0];
            let cells = &self.cells[number];
            let dense = number > 0 || !self.reads_table(mode);
            if dense {
                match below.last() {
                    Some(below) => self.collect(strip, below, &mut layer.inputs),
                    None => self.look_up(strip, &work.table, &mut layer.inputs),
                }
                self.mask(number, strip, places, mode, &mut layer.inputs);
            }
            for (direction, cell) in cells.iter().enumerate() {
                if dense {
                    let projected = &mut layer.projected[direction];
                    projected.resize(strip.layout.tokens() * cell.wide());
                    let row = cell.inputs.next_multiple_of(self.lanes());
                    self.instructions.run(Project { cell, inputs: &layer.inputs, row, projected });
                }
                let trace = &mut layer.traces[direction];
                // Of the padding every state is needed, from whichever a text goes on.
                trace.prepare(&strip.layout, cell.places, mode.backward || places.is_none());
                let mut fresh = true;
                if let Some(lead) = lead {
                    for (row, length) in
                        strip.leads.iter().enumerate().filter(|(_, lead)| **lead > 0)
                    {
                        let (hidden, memory) =
                            after(&lead[number].traces[direction], length - 1, cell.places);
                        trace.hidden[row * cell.places..][..cell.places].copy_from_slice(hidden);
                        trace.memory[row * cell.places..][..cell.places].copy_from_slice(memory);
                        fresh = false;
                    }
                }
                let rows = rows(strip, direction, dense);
                let projected =
                    if dense { &layer.projected[direction] } else { &work.projected[direction] };
                self.instructions.run(Forward {
                    cell,
                    layout: &strip.layout,
                    rows: &rows,
                    projected,
                    trace,
                    fresh,
                });
            }
        }
    }

    /// The states of the layer below, both directions side by side, in the order of the text.
    fn collect(&self, strip: &Strip, below: &Layer, inputs: &mut Floats) {
        let units = self.input.lstm.units;
        let places = self.cells[0][0].places;
        let row = (units * below.traces.len()).next_multiple_of(self.lanes());
        inputs.resize(strip.layout.tokens() * row);
        for (direction, trace) in below.traces.iter().enumerate() {
            states(strip, trace, places, |_, _, token, state| {
                let token = in_text(strip, direction, token);
                inputs[token * row + direction * units..][..units].copy_from_slice(&state[..units]);
            });
        }
    }

    /// The word vector of each step.
    fn look_up(&self, strip: &Strip, table: &[f32], inputs: &mut Floats) {
        let (size, row) = (self.input.embedding.size, self.row());
        inputs.resize(strip.layout.tokens() * row);
        for (to, word) in inputs.chunks_exact_mut(row).zip(&strip.rows) {
            to[..size].copy_from_slice(&table[*word as usize * size..][..size]);
        }
    }

    /// Applies dropout to what goes into layer `number`, or to its gradient.
    fn mask(
        &self,
        number: usize,
        strip: &Strip,
        places: Option<&[u32]>,
        mode: Mode,
        values: &mut [f32],
    ) {
        let (Some(dropout), Some(places)) = (mode.dropout, places) else { return };
        let rate = if number == 0 { self.input.embedding.dropout } else { self.input.lstm.dropout };
        if rate == 0.0 {
            return;
        }
        let row = values.len() / strip.layout.tokens();
        let width = self.cells[number][0].inputs;
        for step in 0..strip.layout.steps() {
            for index in 0..strip.layout.active(step) {
                let token = strip.layout.start(step) + index;
                let values = &mut values[token * row..][..width];
                let place = Place { input: self.number, example: places[strip.order[index]], step };
                match number {
                    0 => dropout.embedding(place, rate, values),
                    _ => dropout.layer(number, place, rate, values),
                }
            }
        }
    }

    /// Which steps of a row count when states are pooled.
    fn counted(&self, strip: &Strip, direction: usize, row: usize) -> std::ops::Range<usize> {
        let (length, pads) = (strip.lengths[row], strip.pads[row]);
        if direction == 0 { pads..length } else { 0..length - pads }
    }

    fn pool(
        &self,
        strip: &Strip,
        direction: usize,
        trace: &Trace,
        features: &mut [f32],
        stride: usize,
        from: usize,
    ) {
        let units = self.input.lstm.units;
        let places = self.cells[0][0].places;
        let feature = |row: usize| strip.order[row] * stride + from;
        match self.input.pooling {
            Pooling::Last => {
                for row in 0..strip.order.len() {
                    let last = &trace.last_hidden[row * places..][..units];
                    features[feature(row)..][..units].copy_from_slice(last);
                }
            }
            Pooling::Mean => {
                for row in 0..strip.order.len() {
                    features[feature(row)..][..units].fill(0.0);
                }
                states(strip, trace, places, |step, row, _, state| {
                    if self.counted(strip, direction, row).contains(&step) {
                        let sum = &mut features[feature(row)..][..units];
                        sum.iter_mut().zip(state).for_each(|(sum, state)| *sum += state);
                    }
                });
                for row in 0..strip.order.len() {
                    let share = 1.0 / self.counted(strip, direction, row).len() as f32;
                    features[feature(row)..][..units].iter_mut().for_each(|sum| *sum *= share);
                }
            }
            Pooling::Max => {
                for row in 0..strip.order.len() {
                    features[feature(row)..][..units].fill(f32::NEG_INFINITY);
                }
                states(strip, trace, places, |step, row, _, state| {
                    if self.counted(strip, direction, row).contains(&step) {
                        let most = &mut features[feature(row)..][..units];
                        // A NaN stays one.
                        most.iter_mut().zip(state).for_each(|(most, state)| {
                            if *state > *most || state.is_nan() {
                                *most = *state;
                            }
                        });
                    }
                });
            }
        }
    }

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

    fn spreads(&self, strip: &Strip) -> Pooled {
        match self.input.pooling {
            Pooling::Last => Pooled::Last,
            Pooling::Mean if strip.pads.iter().all(|pads| *pads == 0) => Pooled::Every,
            _ => Pooled::Each,
        }
    }

    /// The gradient of the pooled states as that of the states.
    fn spread(
        &self,
        strip: &Strip,
        direction: usize,
        trace: &Trace,
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
        strip: &Strip,
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
    fn pass_down(&self, strip: &Strip, gradients: &[f32], below: &mut Layer) {
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
        strip: &Strip,
        number: usize,
        cell: &Cell,
        trace: &Trace,
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

/// Calls `visit` with step, row, token and the state [P] after it, for all tokens of a strip.
fn states(
    strip: &Strip,
    trace: &Trace,
    places: usize,
    mut visit: impl FnMut(usize, usize, usize, &[f32]),
) {
    let layout = &strip.layout;
    for step in 0..layout.steps() {
        let next = layout.active(step + 1);
        for row in 0..layout.active(step) {
            let state = match row < next {
                true => &trace.hidden[(layout.start(step + 1) + row) * places..][..places],
                false => &trace.last_hidden[row * places..][..places],
            };
            visit(step, row, layout.start(step) + row, state);
        }
    }
}

/// The row of the projected inputs for each step, in the order in which a direction reads; where
/// the inputs are dense, each step has a row of its own.
fn rows(strip: &Strip, direction: usize, dense: bool) -> Cow<'_, [u32]> {
    match (dense, direction) {
        (false, 0) => Cow::Borrowed(&strip.rows),
        (false, _) => Cow::Owned(strip.rows_reversed()),
        (true, 0) => (0..strip.layout.tokens() as u32).collect(),
        (true, _) => Cow::Borrowed(&strip.reversed),
    }
}

/// Where the token that a direction reads as number `token` stands in the text.
fn in_text(strip: &Strip, direction: usize, token: usize) -> usize {
    match direction {
        0 => token,
        _ => strip.reversed[token] as usize,
    }
}

/// Hidden and cell state after step `step` of the only row of a trace.
fn after(trace: &Trace, step: usize, places: usize) -> (&[f32], &[f32]) {
    let at = (step + 1) * places;
    match at < trace.hidden.len() {
        true => (&trace.hidden[at..at + places], &trace.memory[at..at + places]),
        false => (&trace.last_hidden[..places], &trace.last_memory[..places]),
    }
}
