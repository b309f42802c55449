//! An LSTM layer and a softmax over many words on the CPU, forward and backward, several times as fast as libtorch's.
//! Equations, packing and vector instructions belong here; embeddings, pooling and threads do not.
//!
//! Notation: B rows (texts), T steps, E inputs per step, H hidden units, P hidden units with padding.
//!
//! # Equations
//!
//! Forward pass, for each row and step, with the gates in PyTorch's order i, f, g, o:
//!
//! ```text
//! z = W x + U h + b                                     [4H]
//! i = σ(z_i)   f = σ(z_f)   g = tanh(z_g)   o = σ(z_o)
//! c ← f ⊙ c + i ⊙ g
//! h ← o ⊙ tanh(c)
//! ```
//!
//! Backward pass, from the last step to the first. Here dh is the gradient from the layer above plus
//! the gradient that step t + 1 sends back, and dc is the gradient that step t + 1 sends back:
//!
//! ```text
//! dc ← dc + dh ⊙ o ⊙ (1 − tanh²(c))
//! dz_i = dc ⊙ g ⊙ i(1 − i)         dz_f = dc ⊙ c₋₁ ⊙ f(1 − f)
//! dz_g = dc ⊙ i ⊙ (1 − g²)         dz_o = dh ⊙ tanh(c) ⊙ o(1 − o)
//! dc₋₁ = dc ⊙ f                    dh₋₁ = Uᵀ dz
//! dU += dz h₋₁ᵀ        dW += dz xᵀ        db += dz        dx = Wᵀ dz
//! ```
//!
//! # Optimizations, and why each is exact
//!
//! **One input projection per distinct word** ([`InputProjection`], [`ScatterAdd`]). x is a row of
//! the embedding, so W x + b depends only on the word. It is computed once for each distinct word in
//! a shard of a batch, and then looked up. There are several times fewer distinct words
//! than tokens. The backward pass first sums dz over the occurrences of each word. Since
//! Σ Wᵀ dz = Wᵀ Σ dz and Σ dz xᵀ = (Σ dz) xᵀ, two products with one row per distinct word then
//! suffice for all tokens. A word removed by word dropout maps to one more row, of zeros. If inputs
//! differ from token to token (upper layers, dropout of single components), every token has its own
//! row.
//!
//! **One fused step** ([`Forward`], [`Backward`]). A register tile holds the four gates of one
//! vector of units for up to six rows. It starts as W x + b, accumulates the product with U, and
//! passes through the activations before anything is written to memory. U is packed as
//! [P/lanes, H, i f g o, lanes], so the tile reads it sequentially. Since
//! σ(z) = ½ + ½ tanh(z/2), the packed weights of i, f and o are already halved. In the backward pass,
//! the tile is dh₋₁, the product of Uᵀ with dz of step t + 1, and dz overwrites the gates in memory.
//!
//! **Activations are ratios of polynomials**, without branches; four gates share one division. See
//! `activation.rs` for the fit and its error. The backward pass recomputes c and tanh(c) instead of
//! storing them: memory is slower than a few multiplications.
//!
//! **The weight gradient comes last** ([`WeightGradient`]). dU is a sum over all steps and rows, so
//! it waits for the end of the block and becomes a single product [H, n] · [n, 4P], which makes the
//! best use of the registers. For this product, `hidden` holds h₋₁ of every step in the order of dz.
//!
//! **No work on padding** ([`Layout`]). OperandRows are sorted by decreasing length. Step t of the rows
//! that are still active directly follows step t − 1 in memory, so a finished row costs neither time
//! nor memory, and n is the number of real tokens. Padding in front, which Keras models process like
//! text, is the same for all rows: its states are computed once, and every row continues from them.
//! The backward pass is linear in the gradients, so the gradients that the rows send back are summed
//! and propagated through the padding once.
//!
//! **Shards own rows.** A thread computes whole shards of a batch and never waits inside a sequence.
//! The gradients of the shards are added in a fixed order, so results depend on the number of shards,
//! but neither on the number of threads nor on timing.
//!
//! **Whole vectors.** H units are padded to P, the next multiple of the number of lanes. The weights
//! of padding units are zero, so their gates are ½, ½, 0, ½ and their states stay zero.
//!
//! # bf16
//!
//! Products can have operands in bf16 ([`OperandFormat`]), which has the 8 bits of the exponent and the sign of a float, and
//! 8 significant bits. An instruction of AVX-512 BF16 (VDPBF16PS) multiplies two pairs in each of 16 lanes and adds both
//! products to a float, twice as many as a multiplication of floats. So a word of 32 bits has two successive terms of
//! the sum: weights are packed with two rows in one, [K/2, columns], and a left operand is converted when an operation
//! starts, or the step of a recurrence: its rows to pairs of neighbours, and for a weight gradient, whose terms are the
//! rows, two successive rows to one row of pairs. That costs one pass over the operand, which the product reads dozens of
//! times. Everything else is the code for floats: [`product`] is written once for words.
//!
//! Operands are rounded to the nearest bf16, with a relative error of at most 2⁻⁹, and with independent
//! errors, the error of a sum of n products grows like 2⁻⁹ √n. Products of bf16 are exact in a float, and sums are rounded as floats are.
//! Without these instructions, and on Intel's processors, which start them at half the rate, operands are rounded alike
//! and multiplied as floats, which differs in the order and rounding of sums only, and in denormals, which AVX-512 BF16
//! takes as 0.
//!
//! # Softmax over many words
//!
//! A language model ([`Product`], [`SoftmaxGradient`]) compares the query q of each token with the vectors x_w of the
//! same words: the logits Q Xᵀ of all tokens are one product of large matrices. X is packed once per step in groups of
//! four vectors of columns, [group, K, 4 · lanes], so that a register tile reads it sequentially; K is cut into pieces
//! that stay in the L1 cache. A row of logits s and the logit of its target t become
//!
//! ```text
//! m = max(s, t)      Z = Σ_w exp(s_w − m) + exp(t − m)      loss = log Z + m − t
//! g_w = exp(s_w − m) / Z                                    g_t = exp(t − m) / Z − 1
//! ```
//!
//! in place, and the gradients dQ = G X and dX += Gᵀ Q are two more products. g_t is computed as minus the sum of all
//! other g, which is exact to the last digits also where the target is nearly certain. Products of a row with the
//! vector of its own target are separate ([`RowProducts`], [`RowProductsBackward`]). The softmax over a whole
//! vocabulary keeps m and Z of each row while it goes through tiles of words ([`AddExponentials`]), so the logits are
//! never in memory all at once.
//!
//! # Cost
//!
//! Each step of a row takes 8H² floating-point operations in the forward pass, 8H² in the backward
//! pass, and 8H² for dU; the operations for W are shared by all occurrences of a word. Each vector
//! of units takes about 90 vector instructions forward and 40 backward. Until the backward pass, the
//! step occupies 6P floats.
//!
//! All code is written once over [`pulp::Simd`] and compiled for each instruction set in
//! [`Instructions`].

#![allow(clippy::needless_range_loop, reason = "tiles are indexed like matrices")]

mod activation;
mod aligned_vec;
mod buffer;
mod cell;
mod dense;
mod instructions;
mod layout;
mod matrix;
mod multiplication;
mod operands;
mod product;
mod quantized;
mod recurrence;
mod softmax;
#[cfg(test)]
mod tests;

pub(crate) use aligned_vec::AlignedVec;
pub(crate) use cell::{Cell, GATES, packed_index};
pub(crate) use dense::{BiasGradient, InputGradient, InputProjection, ScatterAdd, WeightGradient};
pub use instructions::Instructions;
pub(crate) use instructions::mul_add;
pub(crate) use layout::{ForwardCache, Layout};
pub(crate) use matrix::{PackedMatrix, Product};
pub(crate) use operands::OperandFormat;
pub(crate) use quantized::{
    InputScales, IntegerInstructions, QuantizedCell, QuantizedForward, QuantizedProjection,
    QuantizedRows,
};
pub(crate) use recurrence::{Backward, Forward, HiddenGradient};
pub(crate) use softmax::{AddExponentials, RowProducts, RowProductsBackward, SoftmaxGradient};
