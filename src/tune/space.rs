//! Points of the space that a search explores: a coordinate for each field that varies.

use serde::{Deserialize, Serialize};

use crate::config::{Axis, Override, SearchSpace};
use crate::random::Sequence;

/// A dimension of the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// A distribution, or numbers in order: neighbours resemble each other.
    Ordered,
    /// This number of values without order.
    Categorical(usize),
}

/// A point of the space: quantiles in units of 2^-32, so that files have them exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordinates(Vec<u32>);

const UNITS: f64 = (1_u64 << u32::BITS) as f64;

impl Coordinates {
    /// Returns the point closest to coordinates in [0, 1).
    pub fn at(coordinates: &[f64]) -> Self {
        // Larger numbers become the largest integer.
        Self(coordinates.iter().map(|coordinate| (coordinate * UNITS) as u32).collect())
    }

    /// Draws a point.
    pub fn draw(dimensions: usize, random: &mut Sequence) -> Self {
        Self((0..dimensions).map(|_| (random.draw() >> 32) as u32).collect())
    }

    /// Coordinates in [0, 1).
    pub fn values(&self) -> Vec<f64> {
        self.0.iter().map(|units| f64::from(*units) / UNITS).collect()
    }

    /// Number of dimensions.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Settings of the fields.
    pub fn settings(&self, space: &SearchSpace) -> Vec<Override> {
        let axes = space.axes.iter().zip(self.values());
        axes.flat_map(|(axis, coordinate)| axis.quantile(coordinate)).collect()
    }
}

/// Returns the dimensions of a space.
pub fn dimensions(space: &SearchSpace) -> Vec<Dimension> {
    let dimension =
        |axis: &Axis| axis.unordered_values().map_or(Dimension::Ordered, Dimension::Categorical);
    space.axes.iter().map(dimension).collect()
}

/// Index of the part of [0, 1) that has a coordinate, if it is divided into this number of parts.
pub fn part_at(coordinate: f64, parts: usize) -> usize {
    ((coordinate * parts as f64) as usize).min(parts - 1)
}
