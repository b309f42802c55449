//! What reads one input: embedding → LSTM → pooling.

use tch::{Device, Kind, Tensor};

use super::init::Init;
use super::lstm::{Lstm, Read};
use super::pooling::pool;
use super::{Mode, Named};
use crate::batch::Sequences;
use lstmtext::config::Input;

/// Weights of one input and their arrangement.
#[derive(Debug)]
pub struct Branch {
    config: Input,
    /// [V, E]
    embedding: Tensor,
    lstm: Lstm,
    /// What the LSTM computes in.
    kind: Kind,
}

impl Branch {
    /// Initial weights for `vocabulary` ids.
    pub fn new(config: &Input, vocabulary: usize, init: &Init, kind: Kind, device: Device) -> Self {
        let size = config.embedding.size as i64;
        let own = config.embedding.initialization;
        let embedding = init.embedding(vocabulary as i64, size, own).to_device(device);
        Self {
            config: config.clone(),
            embedding: embedding.set_requires_grad(config.embedding.trainable),
            lstm: Lstm::new(&config.lstm, size, init, device),
            kind,
        }
    }

    /// Takes pre-trained word vectors [V, E], row by row.
    pub fn set_vectors(&self, values: &[f32]) {
        let vectors = Tensor::from_slice(values).view_as(&self.embedding);
        tch::no_grad(|| self.embedding.shallow_clone().copy_(&vectors));
    }

    /// One vector for each text, [B, D].
    pub fn encode(&self, texts: &Sequences, mode: Mode) -> Tensor {
        let embedded = self.embed(&texts.ids, mode).to_kind(self.kind); // [B, T, E]
        let reads = self.lstm.read(&embedded, &texts.positions, mode);
        #[expect(clippy::expect_used, reason = "the configuration allows no LSTM without layers")]
        let top = reads.last().expect("at least one layer"); // a [B, T, H] for each direction
        let pool =
            |read: &Read| pool(self.config.pooling, &read.states, &texts.positions, read.direction);
        Tensor::cat(&top.iter().map(pool).collect::<Vec<_>>(), 1)
    }

    /// What every layer makes of the texts, in every direction, the bottom layer first; in fp32.
    pub fn read(&self, texts: &Sequences) -> Vec<Vec<Read>> {
        self.lstm.read(&self.embed(&texts.ids, Mode::Evaluate), &texts.positions, Mode::Evaluate)
    }

    /// The gates of each direction of a layer, as [`Lstm::gates`]; in fp32.
    pub fn gates(&self, layer: usize, layers: &[Vec<Read>], texts: &Sequences) -> Vec<Tensor> {
        let embedded = self.embed(&texts.ids, Mode::Evaluate);
        self.lstm.gates(layer, &embedded, layers, &texts.positions)
    }

    /// Word vectors with dropout, [B, T] → [B, T, E].
    fn embed(&self, ids: &Tensor, mode: Mode) -> Tensor {
        let vectors = Tensor::embedding(&self.embedding, ids, -1, false, false);
        if !mode.training() {
            return vectors;
        }
        let dropout = &self.config.embedding;
        let vectors = match dropout.word_dropout {
            0.0 => vectors,
            share => {
                let ones =
                    Tensor::ones([ids.size()[0], ids.size()[1], 1], (Kind::Float, ids.device()));
                vectors * ones.dropout(share, true)
            }
        };
        vectors.dropout(dropout.dropout, true)
    }

    /// The trainable tensors under PyTorch's names.
    pub fn parameters(&self) -> Vec<Named> {
        let embedding = self.embedding().filter(|_| self.config.embedding.trainable);
        self.prefixed(embedding.into_iter().chain(self.lstm.parameters()))
    }

    /// What is not trained: frozen word vectors, and the zeros in place of PyTorch's second bias.
    pub fn constants(&self) -> Vec<Named> {
        let embedding = self.embedding().filter(|_| !self.config.embedding.trainable);
        self.prefixed(embedding.into_iter().chain(self.lstm.constants()))
    }

    /// What [`Branch::parameters`] calls the embedding.
    pub fn embedding_name(&self) -> String {
        format!("{}embedding.weight", self.config.prefix())
    }

    fn embedding(&self) -> Option<Named> {
        Some(("embedding.weight".to_owned(), self.embedding.shallow_clone()))
    }

    fn prefixed(&self, tensors: impl Iterator<Item = Named>) -> Vec<Named> {
        let prefix = self.config.prefix();
        tensors.map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
    }
}
