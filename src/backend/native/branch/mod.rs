//! What reads one input: table of words → LSTM layers → pooling, forward; backward in its module.

mod backward;

use std::borrow::Cow;

use super::dropout::{Dropout, Place};
use super::sharding::{SequenceBlock, Texts};
use crate::backend::kernel::{Cell, Floats, Forward, ForwardCache, Instructions, Project};
use crate::config::{Input, Pooling};

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
    traces: Vec<ForwardCache>,
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
        strip: &SequenceBlock,
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
    fn collect(&self, strip: &SequenceBlock, below: &Layer, inputs: &mut Floats) {
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
    fn look_up(&self, strip: &SequenceBlock, table: &[f32], inputs: &mut Floats) {
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
        strip: &SequenceBlock,
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
    fn counted(
        &self,
        strip: &SequenceBlock,
        direction: usize,
        row: usize,
    ) -> std::ops::Range<usize> {
        let (length, pads) = (strip.lengths[row], strip.pads[row]);
        if direction == 0 { pads..length } else { 0..length - pads }
    }

    fn pool(
        &self,
        strip: &SequenceBlock,
        direction: usize,
        trace: &ForwardCache,
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
}

/// Calls `visit` with step, row, token and the state [P] after it, for all tokens of a strip.
fn states(
    strip: &SequenceBlock,
    trace: &ForwardCache,
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
fn rows(strip: &SequenceBlock, direction: usize, dense: bool) -> Cow<'_, [u32]> {
    match (dense, direction) {
        (false, 0) => Cow::Borrowed(&strip.rows),
        (false, _) => Cow::Owned(strip.rows_reversed()),
        (true, 0) => (0..strip.layout.tokens() as u32).collect(),
        (true, _) => Cow::Borrowed(&strip.reversed),
    }
}

/// Where the token that a direction reads as number `token` stands in the text.
fn in_text(strip: &SequenceBlock, direction: usize, token: usize) -> usize {
    match direction {
        0 => token,
        _ => strip.reversed[token] as usize,
    }
}

/// Hidden and cell state after step `step` of the only row of a trace.
fn after(trace: &ForwardCache, step: usize, places: usize) -> (&[f32], &[f32]) {
    let at = (step + 1) * places;
    match at < trace.hidden.len() {
        true => (&trace.hidden[at..at + places], &trace.memory[at..at + places]),
        false => (&trace.last_hidden[..places], &trace.last_memory[..places]),
    }
}
