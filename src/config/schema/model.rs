//! The section `model`.

use std::path::PathBuf;

use super::pooling::{Pooling, Poolings};
use crate::config::fields::section;
use crate::config::value::{between, choice};

section! {
    /// Model architecture.
    pub struct ModelConfig {
        /// Embedding layer.
        embedding: EmbeddingConfig;
        /// LSTM layers.
        lstm: LstmConfig;
        /// Pooling of the sequence of hidden states into one vector; padding is ignored. last: the
        /// last hidden state. mean: the mean over time. max: the maximum over time. attention: the
        /// mean weighted by the softmax of the scores q · h of the hidden states h, with a trained
        /// query q. A list such as [mean, max, attention] concatenates several.
        pooling: Poolings = Pooling::Max.into();
        /// Output layer.
        head: HeadConfig;
        /// Weight initialization. keras: embedding U(-0.05, 0.05), Glorot uniform kernels,
        /// orthogonal recurrent kernel, forget-gate bias 1. pytorch: embedding N(0, 1), all other
        /// weights U(-1/sqrt(fan), 1/sqrt(fan)); each gate bias is the sum of two such draws.
        initialization: Initialization = Initialization::Keras;
    }
}

section! {
    /// Embedding layer.
    pub struct EmbeddingConfig {
        /// Dimension of the word vectors (embedding_dim in PyTorch).
        size: usize = 64, between(1.0, 65_536.0);
        /// Dropout rate for single elements of the word vectors.
        dropout: f64 = 0.0, between(0.0, 0.99);
        /// Dropout rate for whole words, which drops the entire word vector.
        word_dropout: f64 = 0.0, between(0.0, 0.99);
        /// File with pre-trained word vectors of this size: the text format of word2vec, GloVe or
        /// fastText (.txt, .vec, optionally .gz or .zst), or a matrix in .npy with its words in a
        /// .txt file of the same name.
        vectors: Option<PathBuf> = None;
        /// Initialization of the word vectors if vectors is null. keras: U(-0.05, 0.05). pytorch:
        /// N(0, 1). auto: as in model.initialization.
        initialization: EmbeddingInitialization = EmbeddingInitialization::Auto;
        /// Update the word vectors during training. false: freeze them.
        trainable: bool = true;
    }
}

section! {
    /// LSTM layers.
    pub struct LstmConfig {
        /// Hidden size of each direction (hidden_size in PyTorch).
        units: usize = 64, between(1.0, 65_536.0);
        /// Number of stacked layers (num_layers in PyTorch).
        layers: usize = 1, between(1.0, 64.0);
        /// Process each text in both directions and concatenate the hidden states.
        bidirectional: bool = false;
        /// Dropout rate between layers.
        dropout: f64 = 0.0, between(0.0, 0.99);
    }
}

impl LstmConfig {
    /// Number of directions: 1 or 2.
    pub fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }
}

section! {
    /// Output layer.
    pub struct HeadConfig {
        /// Dropout rate for the pooled vector.
        dropout: f64 = 0.5, between(0.0, 0.99);
        /// Activation. sigmoid: one logit, for 2 classes. softmax: one logit per class. auto: sigmoid
        /// for 2 classes, softmax for more.
        activation: Activation = Activation::Auto;
    }
}

choice! {
    /// Weight initialization.
    pub enum Initialization {
        /// As in Keras.
        Keras = "keras",
        /// As in PyTorch.
        Pytorch = "pytorch",
    }
}

choice! {
    /// Initialization of word vectors.
    pub enum EmbeddingInitialization {
        /// The same as for all other weights.
        Auto = "auto",
        /// As in Keras.
        Keras = "keras",
        /// As in PyTorch.
        Pytorch = "pytorch",
    }
}

choice! {
    /// Activation of the output layer.
    pub enum Activation {
        /// Sigmoid for 2 classes, softmax for more.
        Auto = "auto",
        /// One logit.
        Sigmoid = "sigmoid",
        /// One logit per class.
        Softmax = "softmax",
    }
}

/// Maximum number of classes.
pub const MAX_CLASSES: usize = 1 << 16;

/// Number of logits of the output layer for a number of classes.
///
/// # Errors
/// Returns an error for a sigmoid with more than 2 classes, and for too many classes.
pub fn logit_count(activation: Activation, classes: usize) -> anyhow::Result<usize> {
    anyhow::ensure!(
        classes <= MAX_CLASSES,
        "a model has at most {MAX_CLASSES} classes, but there are {classes} labels; check \
         data.label_column"
    );
    match activation {
        Activation::Sigmoid if classes > 2 => {
            anyhow::bail!(
                "model.head.activation: sigmoid is for 2 classes, but the data has {classes}"
            )
        }
        Activation::Auto if classes == 2 => Ok(1),
        Activation::Sigmoid => Ok(1),
        Activation::Auto | Activation::Softmax => Ok(classes),
    }
}
