//! The linear branch over the n-grams of an input: a sum of embeddings (EmbeddingBag in PyTorch).

use tch::{Device, Kind, Tensor};

use super::weights::Weights;
use crate::batch::NgramBags;
use lstmtext::config::{Input, NgramWeighting};
use lstmtext::model::parameters::{ngram_value_name, ngram_weight_name};

/// The n-grams of one input with their weights.
#[derive(Debug)]
pub struct NgramBranch {
    /// Index of the input.
    pub input: usize,
    /// L2 regularization of the weights.
    pub l2: f64,
    config: Input,
    /// [V, logits]
    weight: Tensor,
    /// [V, logits]; `None` if all values are 1.
    value: Option<Tensor>,
}

impl NgramBranch {
    /// Creates the branch of the input at `input` and takes its weights.
    pub fn new(
        input: usize,
        config: &Input,
        weights: &mut Weights,
        device: Device,
    ) -> anyhow::Result<Self> {
        let mut take =
            |name: String| -> anyhow::Result<Tensor> { Ok(weights.take(&name)?.to_device(device)) };
        let weight = take(ngram_weight_name(config))?;
        let value = match config.ngrams.weighting {
            NgramWeighting::None => None,
            NgramWeighting::NaiveBayes | NgramWeighting::NaiveBayesIdf => {
                Some(take(ngram_value_name(config))?)
            }
        };
        Ok(Self { input, l2: config.ngrams.l2, config: config.clone(), weight, value })
    }

    /// Returns a copy of the weights of the n-grams in a batch, [n-grams, logits]. The gradient of the loss
    /// is taken with respect to it rather than to all weights.
    pub fn select(&self, bags: &NgramBags, requires_gradient: bool) -> Tensor {
        self.weight.index_select(0, &bags.rows).set_requires_grad(requires_gradient)
    }

    /// Computes the logits of a batch, [B, logits], from the weights of its n-grams.
    pub fn logits(&self, selected: &Tensor, bags: &NgramBags) -> Tensor {
        if bags.rows.numel() == 0 {
            let size = [bags.starts.size()[0], self.weight.size()[1]];
            return Tensor::zeros(size, (Kind::Float, self.weight.device()));
        }
        let table = match &self.value {
            Some(value) => selected * value.index_select(0, &bags.rows),
            None => selected.shallow_clone(),
        };
        const SUM: i64 = 0;
        let bag = Tensor::embedding_bag::<Tensor>(
            &table,
            &bags.indices,
            &bags.starts,
            false,
            SUM,
            false,
            None,
            false,
        );
        bag.0
    }

    /// Returns the weights under their name.
    pub fn parameter(&self) -> (String, Tensor) {
        (ngram_weight_name(&self.config), self.weight.shallow_clone())
    }

    /// Returns the values under their name, unless all are 1.
    pub fn constant(&self) -> Option<(String, Tensor)> {
        let value = self.value.as_ref()?;
        Some((ngram_value_name(&self.config), value.shallow_clone()))
    }
}
