//! lstmtext trains, evaluates and reuses LSTM text classifiers on libtorch.
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
//! 4. [`batch`]: for each input ids [B, T] padded at the end (or in front, as Keras) and lengths
//!    [B]; labels [B].
//! 5. [`model`]: for each input embedding [B, T, E] → LSTM [B, T, H] for each direction → pooling
//!    over real tokens; these beside each other [B, D] → head: logits [B] for a sigmoid or [B, C]
//!    for a softmax.
//! 6. [`loss`]: log probabilities [B, C] and cross-entropy []; [`metrics`] counts.
//! 7. [`optimizer`], [`schedule`]: gradients, clipped, become a step.
//! 8. [`trainer`]: the loop around it all; [`events`] for TensorBoard, [`progress`] for early
//!    stopping and resuming, [`run`] for the files of a run.
//! 9. [`checkpoint`]: one folder that [`evaluator`], [`predictor`] and a resumed run need and
//!    nothing else.
//!
//! [`config`] describes all of it; [`commands`] puts it behind a command line.
//!
//! Level by level, each module importing from its own level and those above it:
//!
//! - `config`, `data`, `text`, `bucketing`, `schedule`, `metrics`, `progress`, `stats`, `run`,
//!   `events`, `files`, `fetch`, `seed`, `numbers`, `interrupt` know nothing of libtorch;
//! - `torch`, `batch`, `model`, `loss`, `optimizer` are about tensors;
//! - `checkpoint` saves them, `keras` in another layout;
//! - `experiment`, `evaluator`, `predictor`, `console`, `plot`, `trainer` put them to work;
//! - `commands`: one file for each, none of which imports another.

#![warn(missing_docs)]

pub mod batch;
pub mod bucketing;
pub mod checkpoint;
pub mod commands;
pub mod config;
pub mod console;
pub mod data;
pub mod evaluator;
pub mod events;
pub mod experiment;
pub mod fetch;
pub mod files;
pub mod interrupt;
pub mod keras;
pub mod loss;
pub mod metrics;
pub mod model;
pub mod numbers;
pub mod optimizer;
pub mod plot;
pub mod predictor;
pub mod progress;
pub mod run;
pub mod schedule;
pub mod seed;
pub mod stats;
pub mod text;
pub mod torch;
pub mod trainer;
