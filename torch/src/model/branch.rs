//! What reads one input: embedding → LSTM → pooling.

use tch::{Device, Kind, Tensor};

use super::lstm::{Lstm, Read};
use super::mode::Mode;
use super::pooling::pool;
use super::tensors::Tensors;
use crate::batch::Sequences;
use crate::tensors::Named;
use lstmtext::config::Input;
use lstmtext::model::parameters::embedding_name;

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
    /// The layers of one input with weights from `tensors`.
    pub fn new(
        config: &Input,
        tensors: &mut Tensors,
        kind: Kind,
        device: Device,
    ) -> anyhow::Result<Self> {
        let embedding = tensors.take(&embedding_name(config))?.to_device(device);
        Ok(Self {
            config: config.clone(),
            embedding: embedding.set_requires_grad(config.embedding.trainable),
            lstm: Lstm::new(config, tensors, device)?,
            kind,
        })
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
        embedding_name(&self.config)
    }

    fn embedding(&self) -> Option<Named> {
        Some(("embedding.weight".to_owned(), self.embedding.shallow_clone()))
    }

    fn prefixed(&self, tensors: impl Iterator<Item = Named>) -> Vec<Named> {
        let prefix = self.config.prefix();
        tensors.map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
    }
}
