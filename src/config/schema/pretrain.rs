//! The section `pretrain`.

use std::path::PathBuf;

use serde_yaml::Value;

use crate::config::fields::section;
use crate::config::types::{Every, Portion};
use crate::config::value::{FieldValue, Range, above, at_least, between, choice};

section! {
    /// Learning from text without labels: the training examples and the texts in data.unlabelled.
    pub struct PretrainConfig {
        /// Stages that lstmtext train runs before the training of the classifier, in its run directory:
        /// vectors learns word vectors (vectors.npy), and language_model trains a language model
        /// (language_model/) from them, or from random vectors. The classifier starts from the last of
        /// them. []: none.
        stages: Stages = Stages::default();
        /// Files, directories or patterns with the texts, in a format of data.format and the columns of
        /// data.text_column; labels are ignored. []: the training examples and the texts in
        /// data.unlabelled.
        texts: Vec<PathBuf> = Vec::new();
        /// Texts of each source that are held out to measure the perplexity of language models: a fraction of
        /// them, or their number. The sources are the files in texts, or the training examples and
        /// data.unlabelled.
        held_out: Portion = Portion::Fraction(0.01);
        /// Word vectors, which lstmtext vectors learns.
        vectors: VectorsConfig;
        /// Language models, which lstmtext pretrain trains.
        language_model: LanguageModelConfig;
    }
}

section! {
    /// Word vectors of size model.embedding.size, learned with negative sampling (Mikolov et al. 2013).
    pub struct VectorsConfig {
        /// Method. cbow: predict a word from the mean of the vectors of its neighbours. skipgram:
        /// predict each neighbour from the word, which takes longer and is better for rare words.
        method: VectorsMethod = VectorsMethod::Cbow;
        /// Maximum distance of a neighbour in tokens. The distance of each position is drawn uniformly
        /// from 1 to this number, so near neighbours count more.
        window: usize = 5, between(1.0, 1_000.0);
        /// Number of random words that each prediction is compared with. They are drawn in proportion
        /// to count^0.75.
        negatives: usize = 5, between(1.0, 1_000.0);
        /// Number of passes over the texts.
        epochs: usize = 5, between(1.0, 100_000.0);
        /// Frequency above which occurrences of a word are skipped at random (subsampling): of a word
        /// with frequency f, the fraction sqrt(sample / f) + sample / f is kept. 0: no word is skipped.
        sample: f64 = 1e-3, between(0.0, 1.0);
        /// Learning rate of the first step; it falls linearly to 0. null: 0.05 for cbow, 0.025 for
        /// skipgram.
        learning_rate: Option<f64> = None, above(0.0);
    }
}

impl VectorsConfig {
    /// Learning rate of the first step. Its default depends on the method.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate.unwrap_or(match self.method {
            VectorsMethod::Cbow => 0.05,
            VectorsMethod::Skipgram => 0.025,
        })
    }
}

choice! {
    /// A stage of pre-training.
    pub enum Stage {
        /// Word vectors.
        Vectors = "vectors",
        /// A language model.
        LanguageModel = "language_model",
    }
}

/// The stages of pre-training, each at most once, in the order in which they run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stages(Vec<Stage>);

impl Stages {
    /// Returns true if there is no stage.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if this stage is among them.
    pub fn has(&self, stage: Stage) -> bool {
        self.0.contains(&stage)
    }
}

impl FieldValue for Stages {
    fn from_yaml(value: &Value) -> Option<Self> {
        let stages: Vec<Stage> = match value {
            Value::Null => Vec::new(),
            Value::Sequence(items) => items.iter().map(Stage::from_yaml).collect::<Option<_>>()?,
            _ => vec![Stage::from_yaml(value)?],
        };
        let order = [Stage::Vectors, Stage::LanguageModel];
        let ordered: Vec<Stage> =
            order.into_iter().filter(|stage| stages.contains(stage)).collect();
        (ordered.len() == stages.len()).then_some(Self(ordered))
    }
    fn to_yaml(&self) -> Value {
        Value::Sequence(self.0.iter().map(Stage::to_yaml).collect())
    }
    fn alternatives(range: Option<Range>) -> Vec<String> {
        [Stage::alternatives(range), vec!["a list of these".into(), "[]".into()]].concat()
    }
}

choice! {
    /// Method of learning word vectors.
    pub enum VectorsMethod {
        /// Continuous bag of words.
        Cbow = "cbow",
        /// Skip-gram.
        Skipgram = "skipgram",
    }
}

section! {
    /// Language models: an LSTM that predicts the next word, and with model.lstm.bidirectional another one
    /// that predicts the word before. Both share the embedding of model.embedding, which is also that of
    /// the output (tied weights), and have model.lstm.units units. train.seed is the random seed.
    pub struct LanguageModelConfig {
        /// Number of passes over the texts.
        epochs: usize = 1, between(1.0, 1_000_000.0);
        /// Number of rows into which the texts, joined to one stream, are divided. Each step trains on all
        /// rows.
        batch_size: usize = 64, between(1.0, 100_000.0);
        /// Number of tokens of each row per step. Hidden states are carried over to the next step, gradients
        /// are not (truncated backpropagation through time).
        sequence_length: usize = 64, between(1.0, 100_000.0);
        /// Number of random words that the next word is compared with (sampled softmax, Jean et al.
        /// 2015), which all positions of a step share. They are drawn in proportion to count^0.75, and
        /// the logits are corrected by the logarithms of the probabilities that a step draws them.
        negatives: usize = 1_000, between(1.0, 1_000_000.0);
        /// Learning rate of the first step; it falls linearly to 0. The optimizer is Adam with
        /// beta2 0.99.
        learning_rate: f64 = 0.003, above(0.0);
        /// Maximum norm of the gradients of all parameters together. null: no clipping.
        gradient_clip: Option<f64> = Some(1.0), above(0.0);
        /// Dropout rate of the hidden states of the top layer before the output layer, with a mask for each
        /// token. This rate and the next four are those of AWD-LSTM (Merity, Keskar and Socher 2018).
        dropout: f64 = 0.0, between(0.0, 0.99);
        /// Rate at which words are removed from the inputs of a step: a removed word is missing in all of
        /// its places, and the vectors of the others are scaled by 1/(1 − rate). The output layer has all
        /// words.
        embedding_dropout: f64 = 0.0, between(0.0, 0.99);
        /// Dropout rate of the inputs of the LSTM, with the same mask for all tokens of a row in a step
        /// (Gal and Ghahramani 2016).
        input_dropout: f64 = 0.0, between(0.0, 0.99);
        /// Dropout rate of the hidden states between layers, with masks like those of input_dropout. It needs at
        /// least two layers, thus model.lstm.bidirectional: false.
        hidden_dropout: f64 = 0.0, between(0.0, 0.99);
        /// Dropout rate of the recurrent weights, with one mask for all rows of a step (DropConnect, Wan et
        /// al. 2013).
        weight_dropout: f64 = 0.0, between(0.0, 0.99);
        /// Maximum number of held-out tokens per validation. The perplexity is computed over the whole
        /// vocabulary.
        validation_tokens: u64 = 50_000, at_least(1.0);
        /// Validation interval: every epoch, or a number of steps.
        validate_every: Every = Every::Epoch;
        /// Number of validations without an improvement after which training stops. null: never.
        patience: Option<usize> = None, at_least(1.0);
        /// Interval between writes of the checkpoint last/: every epoch, or a number of steps.
        checkpoint_every: Every = Every::Epoch;
    }
}
