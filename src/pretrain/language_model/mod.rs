//! Training of language models: the stream of tokens, the loop over it, and what it prints and saves. The network
//! belongs to the backends.

mod console;
mod files;
mod observer;
mod scoring;
mod setup;
mod stream;
mod trainer;

pub use scoring::{TextScore, score_texts};
pub use setup::{
    Start, add_observers, check, check_processes, create_trainer, inference, new_learner, rows,
    settings,
};
pub use stream::{Rows, TokenStream};
pub use trainer::{Diverged, Ending, LanguageModelTrainer};
