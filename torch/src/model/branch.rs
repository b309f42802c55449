//! The layers of one input: embedding → LSTM → pooling.

use tch::{Device, Kind, Tensor};

use super::lstm::Lstm;
use super::mode::Mode;
use super::pooling::pool;
use super::weights::Weights;
use crate::batch::PaddedTexts;
use lstmtext::config::Input;
use lstmtext::model::parameters::{embedding_name, query_name, subwords_name};

/// Layers of one input with their weights.
#[derive(Debug)]
pub struct Branch {
    config: Input,
    /// [V, E]
    embedding: Tensor,
    /// Vectors of the buckets of character n-grams, [buckets, E], if words have these.
    subwords: Option<Tensor>,
    lstm: Lstm,
    /// Query of attention pooling, `[H · directions]`.
    query: Option<Tensor>,
    /// Data type in which the LSTM computes.
    kind: Kind,
}

impl Branch {
    /// Creates the layers and takes their weights.
    pub fn new(
        config: &Input,
        weights: &mut Weights,
        kind: Kind,
        device: Device,
    ) -> anyhow::Result<Self> {
        let embedding = weights.take(&embedding_name(config))?.to_device(device);
        let has_subwords = config.embedding.subwords.is_on();
        let subwords = has_subwords.then(|| weights.take(&subwords_name(config))).transpose()?;
        let trainable = config.embedding.trainable;
        let query = config.has_attention().then(|| weights.take(&query_name(config)));
        let query = query.transpose()?;
        Ok(Self {
            config: config.clone(),
            embedding: embedding.set_requires_grad(trainable),
            subwords: subwords
                .map(|vectors| vectors.to_device(device).set_requires_grad(trainable)),
            lstm: Lstm::new(config, weights, device)?,
            query: query.map(|query| query.to_device(device).set_requires_grad(true)),
            kind,
        })
    }

    /// Encodes each text as one vector, [B, D]. `perturbation` [B, T, E] is added to the inputs of the
    /// LSTM.
    pub fn encode(&self, texts: &PaddedTexts, mode: Mode, perturbation: Option<&Tensor>) -> Tensor {
        let embedded = self.embed(texts, mode); // [B, T, E]
        let embedded = match perturbation {
            Some(perturbation) => embedded + perturbation,
            None => embedded,
        };
        let embedded = embedded.to_kind(self.kind);
        let layers = self.lstm.forward(&embedded, &texts.padding, mode);
        #[expect(clippy::expect_used, reason = "the configuration requires at least one layer")]
        let top = layers.last().expect("at least one layer"); // [B, T, H] for each direction
        pool(&self.config.pooling, top, self.query.as_ref(), &texts.padding)
    }

    /// Looks up word vectors and applies dropout, [B, T] → [B, T, E].
    fn embed(&self, texts: &PaddedTexts, mode: Mode) -> Tensor {
        let ids = &texts.ids;
        let vectors = match (&texts.words, &self.subwords) {
            (Some(words), Some(subwords)) => words.vectors(&self.embedding, subwords),
            _ => Tensor::embedding(&self.embedding, ids, -1, false, false),
        };
        if !mode.training() {
            return vectors;
        }
        let dropout = &self.config.embedding;
        let vectors = match dropout.word_dropout {
            0.0 => vectors,
            probability => {
                let ones =
                    Tensor::ones([ids.size()[0], ids.size()[1], 1], (Kind::Float, ids.device()));
                vectors * ones.dropout(probability, true)
            }
        };
        vectors.dropout(dropout.dropout, true)
    }

    /// Embedding dimension E.
    pub fn embedding_size(&self) -> usize {
        self.config.embedding.size
    }

    /// Returns a perturbation of zero, [B, T, E], whose gradient is that of the inputs of the LSTM.
    pub fn zero_perturbation(&self, texts: &PaddedTexts) -> Tensor {
        let size = [texts.ids.size(), vec![self.embedding.size()[1]]].concat();
        Tensor::zeros(size, (Kind::Float, self.embedding.device())).set_requires_grad(true)
    }

    /// Returns the standard deviation of each dimension of the word vectors, `[E]`, weighted by the
    /// frequencies of the words, `[V]`.
    pub fn deviations(&self, frequencies: &Tensor) -> Tensor {
        let centered = &self.embedding - frequencies.matmul(&self.embedding);
        frequencies.matmul(&centered.square()).sqrt()
    }

    /// Returns the trainable tensors under PyTorch's names.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let embedding = self.embedding().into_iter().filter(|_| self.config.embedding.trainable);
        let query =
            self.query.iter().map(|query| ("attention.query".to_owned(), query.shallow_clone()));
        self.prefixed(embedding.chain(self.lstm.parameters()).chain(query))
    }

    /// Returns the tensors that are not trained: frozen word vectors, and PyTorch's second bias.
    pub fn constants(&self) -> Vec<(String, Tensor)> {
        let embedding = self.embedding().into_iter().filter(|_| !self.config.embedding.trainable);
        self.prefixed(embedding.chain(self.lstm.constants()))
    }

    /// Name of the embedding in [`Branch::parameters`].
    pub fn embedding_name(&self) -> String {
        embedding_name(&self.config)
    }

    /// Name of the vectors of character n-grams in [`Branch::parameters`].
    pub fn subwords_name(&self) -> String {
        subwords_name(&self.config)
    }

    /// Returns the vectors of words, and those of character n-grams if there are any.
    fn embedding(&self) -> Vec<(String, Tensor)> {
        let subwords = self.subwords.iter();
        let subwords =
            subwords.map(|tensor| ("embedding.subwords.weight".to_owned(), tensor.shallow_clone()));
        let own = ("embedding.weight".to_owned(), self.embedding.shallow_clone());
        std::iter::once(own).chain(subwords).collect()
    }

    fn prefixed(&self, tensors: impl Iterator<Item = (String, Tensor)>) -> Vec<(String, Tensor)> {
        let prefix = self.config.prefix();
        tensors.map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
    }
}
