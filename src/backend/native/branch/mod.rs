//! One text input of a network: word vectors → LSTM layers → pooling, forward and backward. The
//! head, the loss and threads don't belong here.

mod attention;
mod backward;
mod forward;
mod layers;
mod perturbation;
mod pooling;
mod quantized;
mod vector_tables;
mod workspace;

pub use forward::{CellStates, SequenceStates};
pub use layers::{Branch, Mode, Pass, Pooled, PooledGradient};
pub use vector_tables::{EmbeddingRows, VectorTables};
pub use workspace::{CellGradient, PaddingGradient, ProjectedWords, Workspace};
