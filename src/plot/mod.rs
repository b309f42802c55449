//! Plots of a run: curves, per-word probabilities, hidden states, confusion matrices. Reading the data to
//! plot belongs in [`crate::cli`], [`crate::events`] and [`crate::run`].
//!
//! All plots are pure functions from data to files. [`curves`], [`states`] and [`words`] draw on a
//! [`Canvas`](canvas::Canvas), which is rendered as SVG and as PNG, with a light or a dark background
//! ([`Theme`]). [`matrix`] renders only a PNG, for TensorBoard.

mod axis;
mod canvas;
mod color;
pub mod curves;
mod font;
mod frame;
pub mod matrix;
mod series;
pub mod states;
pub mod words;

pub use canvas::Picture;
pub use color::Theme;
