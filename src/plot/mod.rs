//! Plots of a run: curves, per-word probabilities, reliability diagrams, hidden states, confusion matrices; and of a
//! search. Reading the data to plot belongs in [`crate::cli`], [`crate::events`] and [`crate::run`].
//!
//! Each plot is a pure function from data to a picture. [`curves`], [`learning_rates`],
//! [`reliability`], [`search`], [`states`] and [`words`] draw on a [`Canvas`](canvas::Canvas), which is rendered as SVG and as PNG, with a light or a dark background
//! ([`Theme`]). [`matrix`] renders only a PNG, for TensorBoard.

mod axis;
mod canvas;
mod color;
pub mod curves;
mod font;
mod frame;
mod geometry;
pub mod learning_rates;
pub mod matrix;
pub mod reliability;
pub mod search;
mod series;
pub mod states;
mod text;
pub mod words;

pub use canvas::Picture;
pub use color::Theme;
