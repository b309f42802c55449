//! An LSTM layer on the CPU, forward and backward, several times as fast as libtorch's.
//!
//! Letters: B rows (texts), T steps, E inputs of a step, H hidden units, P places for them.
//!
//! # Equations
//!
//! Forward, for each row and step, with gates in PyTorch's order i, f, g, o:
//!
//! ```text
//! z = W x + U h + b                                     [4H]
//! i = σ(z_i)   f = σ(z_f)   g = tanh(z_g)   o = σ(z_o)
//! c ← f ⊙ c + i ⊙ g
//! h ← o ⊙ tanh(c)
//! ```
//!
//! Backward, from the last step to the first, with dh what comes from above plus what the step
//! behind sends back, and dc what that step sends back:
//!
//! ```text
//! dc ← dc + dh ⊙ o ⊙ (1 − tanh²(c))
//! dz_i = dc ⊙ g ⊙ i(1 − i)         dz_f = dc ⊙ c₋₁ ⊙ f(1 − f)
//! dz_g = dc ⊙ i ⊙ (1 − g²)         dz_o = dh ⊙ tanh(c) ⊙ o(1 − o)
//! dc₋₁ = dc ⊙ f                    dh₋₁ = Uᵀ dz
//! dU += dz h₋₁ᵀ        dW += dz xᵀ        db += dz        dx = Wᵀ dz
//! ```
//!
//! # Why it is fast, and why each trick is exact
//!
//! **Input products once per distinct word** ([`Project`], [`Scatter`]). x is a row of the embedding,
//! so W x + b depends on the word alone. It is computed for each distinct word of a thread's share of a
//! batch, of which there are several times fewer than positions, and looked up from then on. Backward, dz is
//! added up for each word first: Σ Wᵀ dz = Wᵀ Σ dz and Σ dz xᵀ = (Σ dz) xᵀ, so that two products
//! with as many rows as there are words do for all positions. A word that is dropped out whole is
//! one more row, of zeros. Where inputs differ from position to position (upper layers, dropout of
//! single numbers), every position is a row of its own.
//!
//! **One fused step** ([`Forward`], [`Backward`]). A register tile holds the four gates of one
//! vector of units for up to six rows: it begins with W x + b, is multiplied through U, and goes
//! through the activations before anything is written. For that U is packed as
//! [P/lanes, H, i f g o, lanes], so that the tile reads it from front to back, and the halves that
//! σ(z) = ½ + ½ tanh(z/2) needs stand in the packed weights. Backward the tile is dh₋₁, multiplied
//! from dz of the step behind, and dz takes the place of the gates in memory.
//!
//! **Activations as ratios of polynomials**, without branches, and four gates share one division: see
//! `activation.rs` for the fit and its error. c and tanh(c) are computed again in the backward pass
//! instead of being kept: memory is slower than a few multiplications.
//!
//! **The weight gradient last** ([`Outer`]). dU is a sum over all steps and rows, so it waits until
//! the block is done and is one product [H, n] · [n, 4P], where registers are used best. `hidden`
//! holds h₋₁ of each step, in the order of dz, for that.
//!
//! **No work on padding** ([`Layout`]). Rows are sorted by falling length; step t of the rows that are
//! not over lies behind step t − 1, so that a finished row takes neither time nor memory, and n is
//! the number of real tokens. Padding in front, which Keras's models read as text, is the same for
//! all rows: its states are computed once, rows go on from them, and since the backward pass is
//! linear in the gradients, so is what the rows send back added up and carried through once.
//!
//! **Threads own rows.** Nobody waits inside a sequence; the gradients of the threads are added up
//! in their order, so that results depend on the number of threads alone, and not on timing.
//!
//! **Padded vectors.** H units stand in P places, the next multiple of the vector's lanes; weights of
//! padding places are zero, so that their gates are ½, ½, 0, ½ and their states stay zero.
//!
//! # What it costs
//!
//! A step of a row takes 8H² multiplications and additions forward, 8H² backward and 8H² for dU
//! (those of W are spread over the repetitions of a word), some 90 vector instructions for each
//! vector of units forward and 40 backward, and 6P floats of memory until the backward pass.
//!
//! All of it is written once over [`pulp::Simd`] and compiled for every instruction set in
//! [`Instructions`].

#![allow(clippy::needless_range_loop, reason = "tiles are indexed as matrices are")]

mod activation;
mod cell;
mod dense;
mod instructions;
mod memory;
mod product;
mod recurrence;

pub(crate) use cell::{Cell, place};
pub(crate) use dense::{Backproject, Outer, Project, Scatter, SumRows};
pub use instructions::Instructions;
pub(crate) use memory::Floats;
pub(crate) use recurrence::{Backward, Forward, ForwardCache, Layout, Upstream};
