//! lstmtext trains, evaluates and reuses LSTM text classifiers, on libtorch or on a kernel of its own.
//!
//! Everything a text goes through, in the order of the modules that do it. Letters in shapes:
//! B batch, T time, E embedding, H hidden units of one direction, D pooled features, C classes,
//! V vocabulary.
//!
//! 1. [`data`]: a file becomes columns of texts with labels, and these are split into training,
//!    validation and test examples.
//! 2. [`text`]: for each input, of which there is at least one, columns become a text, which a
//!    tokenizer cuts into words; the vocabulary, counted over the training examples only, gives
//!    each an id: PAD 0, START 1, OOV 2, words from 4 by falling frequency.
//! 3. [`bucketing`]: lengths become a plan, lists of example numbers; a pure function of
//!    (lengths, seed, epoch).
//! 4. Two backends compute, behind the traits of [`backend`]. On libtorch: [`batch`], for each input
//!    ids [B, T] padded at the end (or in front, as Keras) and lengths `[B]`; [`model`], for each
//!    input embedding [B, T, E] → LSTM [B, T, H] for each direction → pooling over real tokens,
//!    these beside each other [B, D] → head: logits `[B]` for a sigmoid or [B, C] for a softmax;
//!    [`loss`]: log probabilities [B, C] and cross-entropy [], in fp16 with a [`loss_scale`];
//!    [`optimizer`]: gradients, clipped, become a step. On the CPU the same is done by [`native`],
//!    over the [`kernel`].
//! 5. [`trainer`]: the loop around it all, with [`schedule`]; [`metrics`] counts, [`tensorboard`]
//!    says what TensorBoard shows and [`events`] writes it, [`progress`] is for early stopping and
//!    resuming, [`run`] for the files of a run, which [`runs`] finds and reads again.
//! 6. [`checkpoint`]: one folder that [`classifier`] and a resumed run need and nothing else.
//!
//! [`config`] describes all of it; [`commands`] puts it behind a command line.
//!
//! Two crates. `lstmtext-core`, in the folder core, is everything that needs no libtorch, and the
//! program that is called, `lstmtext`, is made of it alone: libtorch takes longer to load than most
//! answers take. Where a command cannot do without, it goes on as `lstmtext-torch`, made of this
//! crate, which shows the modules of both as its own.
//!
//! Level by level, each module importing from its own level and those above it:
//!
//! - `config`, `data`, `text`, `bucketing`, `schedule`, `metrics`, `progress`, `stats`, `run`,
//!   `events`, `files`, `fetch`, `seed`, `numbers`, `characters`, `columns`, `interrupt`, `process`, `arrays`,
//!   `summary`, `device` know of no network;
//! - `backend` says what a network can do; `kernel` and `native` are one on the CPU;
//! - `checkpoint` saves it, `export` hands it on; `evaluation`, `explanation`, `experiment`,
//!   `classifier`, `console`, `plot`, `runs`, `sweep`, `tensorboard`, `trainer` put it to work;
//! - with libtorch: `torch`, `batch`, `resident`, `model`, `loss`, `loss_scale`, `optimizer`,
//!   `libtorch` are a network on any device, `keras` moves weights, `engine` and `training` choose
//!   between the two, `token_budget` tries what fits;
//! - `commands`: one file for each, none of which imports another.

#![warn(missing_docs)]
// The pages of modules explain how they work inside.
#![allow(rustdoc::private_intra_doc_links)]

pub mod backend;
pub mod cli;
pub mod config;
pub mod data;
pub mod evaluation;
pub mod events;
pub mod explanation;
pub mod fetch;
pub mod interchange;
pub mod io;
pub mod model;
pub mod objective;
pub mod output;
pub mod plot;
pub mod prediction;
pub mod random;
pub mod run;
pub mod serve;
pub mod sweep;
pub mod system;
pub mod tensorboard;
pub mod text;
pub mod train;

pub use prediction::{Classifier, LabelProbability, Prediction};
