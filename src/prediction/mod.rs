//! Classification of new texts with a trained model. How the model computes belongs to the
//! backends; scores on labeled examples belong to [`crate::evaluation`].

mod classifier;
mod embedder;
mod reject;
pub mod text_columns;
pub mod text_lines;

pub use classifier::{
    Classifier, EncodedExamples, LabelProbability, Prediction, native_inference, precise_inference,
    predicted_labels, top_classes,
};
pub use embedder::Embedder;
pub use reject::RejectOption;
