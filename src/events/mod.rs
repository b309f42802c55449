//! TensorBoard event files: format, layout, writer and reader. Deciding what a run logs, and when, belongs
//! in [`crate::tensorboard`] and [`crate::train`].
//!
//! tensorboard-rs provides the record format and the messages. Its own writers are not used: they name
//! a file by the second, so that two of them overwrite each other, they panic in a background thread
//! when the disk is full, and they support little besides scalars.

mod layout;
mod reader;
mod records;
pub mod summaries;
mod writer;

pub use layout::{
    ACCURACY, CONFIG, GRADIENT_NORM, LEARNING_RATE, LOSS, LSTM_SCALE, NGRAM_SCALE, PERPLEXITY,
    SubRun, TOKENS_PER_SECOND,
};
pub use reader::{
    Scalar, first_file, remove, remove_temporaries, remove_test_scores, scalars, start_time,
    truncate_to_step,
};
pub use writer::{EventWriter, unix_seconds};
