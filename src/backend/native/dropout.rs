//! Dropout masks as functions of place: no order of computing changes them.

use crate::random::uniform;

/// The masks of one step.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    seed: u64,
}

/// A step of a text.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The number of the input.
    pub input: usize,
    /// The example's place in the batch.
    pub example: u32,
    /// From 0.
    pub step: usize,
}

/// What each kind of mask begins its sequence with.
const WORDS: u64 = 0;
const EMBEDDING: u64 = 1;
const HEAD: u64 = 2;
const LAYERS: u64 = 3;

impl Place {
    /// A number of its own for each place; texts have at most a million tokens.
    fn number(self) -> u64 {
        ((u64::from(self.example) << 8) | self.input as u64) << 20 | self.step as u64
    }
}

impl Dropout {
    /// The masks that this seed begins.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Whether a word is kept.
    pub fn keeps_word(&self, place: Place, rate: f64) -> bool {
        rate == 0.0 || self.draw(WORDS, place.number(), 0) >= rate as f32
    }

    /// Multiplies the numbers of a word vector by 0 or 1/(1 − rate).
    pub fn embedding(&self, place: Place, rate: f64, values: &mut [f32]) {
        self.mask(EMBEDDING, place.number(), rate, values);
    }

    /// Likewise what goes into layer `layer`.
    pub fn layer(&self, layer: usize, place: Place, rate: f64, values: &mut [f32]) {
        self.mask(LAYERS + layer as u64, place.number(), rate, values);
    }

    /// Likewise the pooled vector of an example.
    pub fn head(&self, example: u32, rate: f64, values: &mut [f32]) {
        self.mask(HEAD, u64::from(example), rate, values);
    }

    fn mask(&self, kind: u64, place: u64, rate: f64, values: &mut [f32]) {
        if rate == 0.0 {
            return;
        }
        let scale = (1.0 / (1.0 - rate)) as f32;
        for (index, value) in values.iter_mut().enumerate() {
            *value = match self.draw(kind, place, index as u64) >= rate as f32 {
                true => *value * scale,
                false => 0.0,
            };
        }
    }

    fn draw(&self, kind: u64, place: u64, index: u64) -> f32 {
        uniform(self.seed.wrapping_add(kind << 32).wrapping_add(index), place)
    }
}
