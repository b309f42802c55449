//! Texts for pre-training, whatever their labels.

use anyhow::{Context, bail};

use crate::config::{Config, ConfigError, Input, TextConfig, VocabularySource};
use crate::data::{Examples, Finding, load_texts, load_training};
use crate::random::{SeedPurpose, derive_seed, fingerprint, uniform};
use crate::text::{Corpus, Encoder, OOV, TokenizedTexts, Vocabulary, vocabulary_file};

/// Texts for pre-training, encoded and never truncated.
pub struct PretrainingTexts {
    /// Vocabulary and tokenizer.
    pub encoder: Encoder,
    /// Texts to learn from, one corpus per source.
    pub train: Vec<Corpus>,
    /// Texts that measure what was learned, one corpus per source; none if none were to be held out.
    pub held_out: Vec<Corpus>,
    /// Number of occurrences of each id in `train`, `[V]`.
    pub counts: Vec<u64>,
    /// Findings on the files.
    pub findings: Vec<Finding>,
}

impl PretrainingTexts {
    /// Reads, tokenizes and encodes the texts. With `holds_out`, `pretrain.held_out` of each source measures what
    /// was learned. The vocabulary is that of the texts to learn from, a file, or `known`.
    ///
    /// # Errors
    /// Returns an error if the configuration has several inputs, the texts cannot be read, or no word is frequent
    /// enough.
    pub fn load(config: &Config, holds_out: bool, known: Option<&Encoder>) -> anyhow::Result<Self> {
        let input = only_input(config)?;
        let all = read(config)?;
        let findings = all.iter().flat_map(|examples| examples.findings.clone()).collect();
        let parts: Vec<[Vec<u32>; 2]> = all
            .iter()
            .map(|examples| match holds_out {
                true => hold_out(&examples.rows, config),
                false => [examples.rows.clone(), Vec::new()],
            })
            .collect();
        let encoder = match known {
            Some(known) => known.clone(),
            None => {
                let counted: Vec<(&TokenizedTexts, &[u32])> = all
                    .iter()
                    .zip(&parts)
                    .map(|(examples, [train, _])| (&examples.source.inputs[0], &train[..]))
                    .collect();
                Encoder::new(&input.text, vocabulary(input, &counted)?)
            }
        }
        .for_pretraining();
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for (examples, [of_train, of_held_out]) in all.into_iter().zip(parts) {
            for (rows, corpora) in [(of_train, &mut train), (of_held_out, &mut held_out)] {
                if !rows.is_empty() {
                    let examples = Examples { rows, ..examples.clone() };
                    corpora.push(examples.encode(0, &encoder)?);
                }
            }
        }
        let mut counts = vec![0; encoder.vocabulary().len()];
        for corpus in &train {
            let of_corpus = corpus.id_counts(counts.len());
            counts.iter_mut().zip(of_corpus).for_each(|(sum, count)| *sum += count);
        }
        Ok(Self { encoder, train, held_out, counts, findings })
    }

    /// Returns a number that is the same for the same encoded texts in the same order.
    pub fn fingerprint(&self) -> u64 {
        let corpora = self.train.iter().chain(&self.held_out);
        fingerprint(corpora.flat_map(|corpus| {
            let lengths = (0..corpus.len()).map(|text| corpus.text(text).len() as u64);
            lengths.chain(corpus.ids().iter().map(|id| u64::from(*id)))
        }))
    }

    /// Number of tokens to learn from.
    pub fn tokens(&self) -> usize {
        self.train.iter().map(Corpus::tokens).sum()
    }

    /// Share of the tokens to learn from that are not in the vocabulary.
    pub fn unknown_share(&self) -> f64 {
        self.counts[OOV as usize] as f64 / self.tokens().max(1) as f64
    }

    /// Number of texts to learn from.
    pub fn texts(&self) -> usize {
        self.train.iter().map(Corpus::len).sum()
    }
}

/// Returns the only input of a configuration.
///
/// # Errors
/// Returns an error if there are several.
fn only_input(config: &Config) -> Result<&Input, ConfigError> {
    match &config.inputs[..] {
        [input] => Ok(input),
        inputs => Err(ConfigError::new(format!(
            "pre-training reads texts of one input, but the configuration has {}; write a configuration with one \
             input, whose data.text_column can name several columns",
            inputs.len()
        ))),
    }
}

/// Reads the texts in `pretrain.texts`, or the training examples and the texts in `data.unlabelled`.
fn read(config: &Config) -> anyhow::Result<Vec<Examples>> {
    if !config.pretrain.texts.is_empty() {
        let paths = config.pretrain.texts.iter();
        return paths.map(|path| load_texts(path, config, None)).collect();
    }
    let mut all = vec![load_training(config)?.examples];
    if let Some(path) = &config.data.unlabelled {
        all.push(load_texts(path, config, None).context("data.unlabelled")?);
    }
    Ok(all)
}

/// Divides texts into those to learn from, and those that are held out. `rows` are their indices.
fn hold_out(rows: &[u32], config: &Config) -> [Vec<u32>; 2] {
    let count = config.pretrain.held_out.of(rows.len()).min(rows.len() / 2);
    let seed = derive_seed(config.train.seed, SeedPurpose::HeldOut);
    let mut order: Vec<(f32, u32)> =
        (0..).zip(rows).map(|(index, row)| (uniform(seed, index), *row)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut parts = [order.split_off(count), order]
        .map(|part| part.into_iter().map(|(_, row)| row).collect::<Vec<u32>>());
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts
}

fn vocabulary(input: &Input, texts: &[(&TokenizedTexts, &[u32])]) -> anyhow::Result<Vocabulary> {
    let config: &TextConfig = &input.text;
    match &config.vocabulary {
        VocabularySource::File(path) => vocabulary_file::read(path, input),
        VocabularySource::Counted => Vocabulary::count_together(texts, config),
        VocabularySource::Checkpoint => bail!(
            "{}: checkpoint is for a training that starts from a model; remove it",
            input.field("text.vocabulary")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn all_sources_share_a_vocabulary_and_hold_out_some_texts() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let lines: String = (0..100).map(|i| format!("common word{} \n", i % 7)).collect();
        std::fs::write(path("a.txt"), &lines).unwrap();
        std::fs::write(path("b.txt"), lines.replace("word", "other")).unwrap();
        let yaml = format!(
            "pretrain: {{held_out: 10, texts: [{:?}, {:?}]}}\ntext: {{max_length: 1}}\n",
            path("a.txt"),
            path("b.txt")
        );
        let config = config::parse(&yaml, "test", &[]).unwrap().config;
        let texts = PretrainingTexts::load(&config, true, None).unwrap();
        let sizes = |corpora: &[Corpus]| corpora.iter().map(Corpus::len).collect::<Vec<_>>();
        assert_eq!((sizes(&texts.train), sizes(&texts.held_out)), (vec![90, 90], vec![10, 10]));
        assert_eq!(texts.encoder.vocabulary().len(), 4 + 15);
        assert_eq!((texts.tokens(), texts.counts.iter().sum::<u64>()), (360, 360));
        assert_eq!(texts.counts[4], 180, "the most frequent word");
        let whole = PretrainingTexts::load(&config, false, None).unwrap();
        assert_eq!((sizes(&whole.train), sizes(&whole.held_out)), (vec![100, 100], vec![]));
    }

    /// A language model adds a start token to each text.
    #[test]
    fn texts_have_no_start_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        std::fs::write(&path, "a b a b\n").unwrap();
        let yaml =
            format!("pretrain: {{texts: {path:?}}}\ntext: {{min_count: 1, start_token: true}}\n");
        let config = config::parse(&yaml, "test", &[]).unwrap().config;
        let texts = PretrainingTexts::load(&config, false, None).unwrap();
        assert_eq!(texts.train[0].text(0), [4, 5, 4, 5]);
    }

    #[test]
    fn held_out_texts_are_at_most_half() {
        let config =
            config::parse("data: {train: x}\npretrain: {held_out: 9}\n", "test", &[]).unwrap();
        let [train, held_out] = hold_out(&[3, 4, 5], &config.config);
        assert_eq!((train.len(), held_out.len()), (2, 1));
    }
}
