//! Dropout masks as pure functions of seed and position: they do not depend on the order of
//! computation.

use crate::random::uniform;

/// Dropout masks of one training step.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    seed: u64,
}

/// Position of a token in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// Index of the input.
    pub input: usize,
    /// Index of the example in the batch.
    pub example: u32,
    /// Step of the text, from 0.
    pub step: usize,
}

/// Start of the random sequence of each kind of mask.
const WORDS: u64 = 0;
const EMBEDDING: u64 = 1;
const HEAD: u64 = 2;
const LAYERS: u64 = 3;

impl Position {
    /// Returns a number that is unique to the position. Texts have at most a million tokens.
    fn index(self) -> u64 {
        ((u64::from(self.example) << 8) | self.input as u64) << 20 | self.step as u64
    }
}

impl Dropout {
    /// Returns the masks of this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Returns true if word dropout keeps a word.
    pub fn keeps_word(&self, position: Position, rate: f64) -> bool {
        rate == 0.0 || self.draw(WORDS, position.index(), 0) >= rate as f32
    }

    /// Multiplies each component of a word vector by 0 or 1/(1 − rate).
    pub fn embedding(&self, position: Position, rate: f64, values: &mut [f32]) {
        self.mask(EMBEDDING, position.index(), rate, values);
    }

    /// Multiplies each input of a layer by 0 or 1/(1 − rate).
    pub fn layer(&self, layer: usize, position: Position, rate: f64, values: &mut [f32]) {
        self.mask(LAYERS + layer as u64, position.index(), rate, values);
    }

    /// Multiplies each pooled feature of an example by 0 or 1/(1 − rate).
    pub fn head(&self, example: u32, rate: f64, values: &mut [f32]) {
        self.mask(HEAD, u64::from(example), rate, values);
    }

    fn mask(&self, kind: u64, position: u64, rate: f64, values: &mut [f32]) {
        if rate == 0.0 {
            return;
        }
        let scale = (1.0 / (1.0 - rate)) as f32;
        for (index, value) in values.iter_mut().enumerate() {
            *value = match self.draw(kind, position, index as u64) >= rate as f32 {
                true => *value * scale,
                false => 0.0,
            };
        }
    }

    fn draw(&self, kind: u64, position: u64, index: u64) -> f32 {
        uniform(self.seed.wrapping_add(kind << 32).wrapping_add(index), position)
    }
}
