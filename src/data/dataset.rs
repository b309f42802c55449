//! Encoded examples.

use super::targets::Targets;
use crate::distributed::Collective;
use crate::text::Corpus;

/// Encoded examples with their targets.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// Encoded texts of each input.
    pub inputs: Vec<Corpus>,
    /// Targets of the examples; none without labels.
    pub targets: Targets,
}

impl Dataset {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.inputs.first().map_or(0, Corpus::len)
    }

    /// Returns true if there are no examples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the label of every example, or `None` if examples have none or can have several.
    pub fn labels(&self) -> Option<&[u32]> {
        self.targets.labels().filter(|labels| labels.len() == self.len())
    }

    /// Number of tokens of all inputs.
    pub fn tokens(&self) -> usize {
        self.inputs.iter().map(Corpus::tokens).sum()
    }

    /// Returns true if the texts are divided among processes.
    pub fn is_sharded(&self) -> bool {
        self.inputs.iter().any(Corpus::is_sharded)
    }

    /// Returns true if the examples are some of those that are divided among processes.
    pub fn is_collected(&self) -> bool {
        self.inputs.iter().any(Corpus::is_collected)
    }

    /// Returns the examples at these indices, in this order, with the texts that other processes have. All
    /// processes collect the same examples.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn collect(&self, examples: &[u32], collective: &dyn Collective) -> anyhow::Result<Self> {
        let inputs = self.inputs.iter().map(|corpus| corpus.collect(examples, collective));
        Ok(Self {
            inputs: inputs.collect::<anyhow::Result<_>>()?,
            targets: match self.targets.is_empty() {
                true => Targets::default(),
                false => self.targets.select(examples),
            },
        })
    }

    /// Number of tokens of all inputs of the examples at these indices.
    pub fn tokens_of(&self, examples: &[u32]) -> usize {
        let of = |corpus: &Corpus| -> usize {
            examples.iter().map(|example| corpus.length(*example as usize)).sum()
        };
        self.inputs.iter().map(of).sum()
    }

    /// Returns the share of each word among all tokens, for vocabularies of these sizes: `[V]` for each
    /// input.
    pub fn word_frequencies(&self, vocabulary_sizes: &[usize]) -> Vec<Vec<f32>> {
        let inputs = self.inputs.iter().zip(vocabulary_sizes);
        inputs.map(|(corpus, size)| corpus.frequencies(*size)).collect()
    }

    /// Number of time steps of each example, for each input: [inputs, examples].
    pub fn lengths(&self) -> Vec<Vec<usize>> {
        self.inputs.iter().map(Corpus::lengths).collect()
    }
}
