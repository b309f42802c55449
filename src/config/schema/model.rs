//! The section `model`.

use std::path::PathBuf;

use super::Config;
use super::data::Labelling;
use super::pooling::{Pooling, Poolings};
use crate::config::fields::section;
use crate::config::types::{NgramSizes, SubwordSizes};
use crate::config::value::{at_least, between, choice};

section! {
    /// Model architecture.
    pub struct ModelConfig {
        /// Embedding layer.
        embedding: EmbeddingConfig;
        /// LSTM layers. null: no LSTM; the model is then linear in its n-grams (model.ngrams).
        lstm: LstmConfig;
        /// Pooling of the sequence of hidden states into one vector; padding is ignored. last: the
        /// last hidden state. mean: the mean over time. max: the maximum over time. attention: the
        /// mean weighted by the softmax of the scores q · h of the hidden states h, with a trained
        /// query q. A list such as [mean, max, attention] concatenates several.
        pooling: Poolings = Pooling::Max.into();
        /// Linear branch over the n-grams of the text, whose logits are added to those of the output
        /// layer. It reads the whole text, also the part that text.max_length removes for the LSTM.
        /// null: no n-grams.
        ngrams: NgramsConfig;
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
        word_dropout: f64 = 0.5, between(0.0, 0.99);
        /// File with pre-trained word vectors of this size: the text format of word2vec, GloVe or
        /// fastText (.txt, .vec, optionally .gz or .zst), or a matrix in .npy with its words in a
        /// .txt file of the same name.
        vectors: Option<PathBuf> = None;
        /// Initialization of the word vectors if vectors is null. keras: U(-0.05, 0.05). pytorch:
        /// N(0, 1). auto: as in model.initialization.
        initialization: EmbeddingInitialization = EmbeddingInitialization::Auto;
        /// Update the word vectors during training. false: freeze them.
        trainable: bool = true;
        /// Character n-grams of the words (fastText, Bojanowski et al. 2017), so that words outside the
        /// vocabulary and misspelt words have vectors, too. The vector of a word is the mean of its own
        /// and those of its n-grams. null: none.
        subwords: SubwordsConfig;
    }
}

section! {
    /// Character n-grams of the words. Each is hashed to one of the buckets, which have a vector each.
    pub struct SubwordsConfig {
        /// Lengths of the shortest and the longest n-grams in characters, such as [3, 6]; < and > stand
        /// around a word. []: no n-grams, as subwords: null.
        sizes: SubwordSizes = SubwordSizes::default();
        /// Number of buckets. N-grams in the same bucket share a vector.
        buckets: usize = 100_000, between(1.0, 1e9);
    }
}

impl SubwordsConfig {
    /// Returns true if words have character n-grams.
    pub fn is_on(&self) -> bool {
        self.sizes.0.is_some()
    }
}

section! {
    /// LSTM layers.
    pub struct LstmConfig {
        /// Hidden size of each direction (hidden_size in PyTorch).
        units: usize = 64, between(1.0, 65_536.0);
        /// Number of stacked layers (num_layers in PyTorch). 0: no LSTM, as lstm: null.
        layers: usize = 1, between(0.0, 64.0);
        /// Process each text in both directions and concatenate the hidden states.
        bidirectional: bool = true;
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
    /// Linear branch over the n-grams of the text.
    pub struct NgramsConfig {
        /// Lengths of the n-grams in tokens: [1, 2] are single words and pairs of neighbours. []: no
        /// n-grams, as ngrams: null.
        sizes: NgramSizes = NgramSizes::default();
        /// Number of buckets to which n-grams are hashed; n-grams in the same bucket share a weight.
        /// null: the n-grams of the training examples each have a weight, and others are ignored.
        buckets: Option<usize> = None, between(1.0, 1e9);
        /// Maximum number of n-grams without buckets. The most frequent ones are kept.
        vocabulary: usize = 5_000_000, between(1.0, 1e9);
        /// Minimum number of training examples with an n-gram. Rarer ones are ignored; with buckets,
        /// all have a weight. 2: if no n-gram occurs twice, all have one.
        min_count: u64 = 2, at_least(1.0);
        /// Value of an n-gram that occurs in a text. naive_bayes: for each class, the log-ratio of its
        /// smoothed frequencies in the texts of the class and in all others (Wang and Manning 2012).
        /// naive_bayes_idf: this ratio times (1 + ln((1 + N) / (1 + n))) / 4, for an n-gram in n of N
        /// training texts. none: 1.
        weighting: NgramWeighting = NgramWeighting::NaiveBayesIdf;
        /// L2 regularization of the n-gram weights: this fraction of a weight is added to its gradient
        /// whenever a batch contains the n-gram. train.weight_decay does not apply to them.
        l2: f64 = 0.0, at_least(0.0);
    }
}

impl NgramsConfig {
    /// Returns true if the branch exists.
    pub fn is_on(&self) -> bool {
        !self.sizes.0.is_empty()
    }

    /// Returns true if the n-grams are those of the training texts, so that they must be counted.
    pub fn are_counted(&self) -> bool {
        self.is_on() && self.buckets.is_none()
    }
}

choice! {
    /// Values of n-grams.
    pub enum NgramWeighting {
        /// The log-count ratio of naive Bayes.
        NaiveBayes = "naive_bayes",
        /// The log-count ratio of naive Bayes times the inverse document frequency.
        NaiveBayesIdf = "naive_bayes_idf",
        /// 1 for n-grams that occur.
        None = "none",
    }
}

section! {
    /// Output layer.
    pub struct HeadConfig {
        /// Dropout rate for the pooled vector.
        dropout: f64 = 0.5, between(0.0, 0.99);
        /// Activation. sigmoid: one logit, for 2 classes. softmax: one logit per class. auto: sigmoid
        /// for 2 classes, softmax for more. With several labels per text, each label has a logit and a
        /// sigmoid, and softmax is an error.
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

impl Config {
    /// Number of logits of the output layer for a number of classes.
    ///
    /// # Errors
    /// Returns an error for a sigmoid with more than 2 classes that exclude each other, and for too many
    /// classes.
    pub fn logit_count(&self, classes: usize) -> anyhow::Result<usize> {
        anyhow::ensure!(
            classes <= MAX_CLASSES,
            "a model has at most {MAX_CLASSES} classes, but there are {classes} labels; check \
             data.label_column"
        );
        match (self.data.labelling(), self.model.head.activation) {
            (Labelling::Several, _) => Ok(classes),
            (Labelling::One, Activation::Sigmoid) if classes > 2 => {
                anyhow::bail!(
                    "model.head.activation: sigmoid is for 2 classes, but the data has {classes}"
                )
            }
            (Labelling::One, Activation::Auto) if classes == 2 => Ok(1),
            (Labelling::One, Activation::Sigmoid) => Ok(1),
            (Labelling::One, Activation::Auto | Activation::Softmax) => Ok(classes),
        }
    }
}
