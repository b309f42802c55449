use std::io::Write;
use std::path::Path;

use super::*;
use crate::config::{self, Config, SubwordSizes};
use crate::random::Sequence;

/// Two groups of words, each of which occurs between words of its own.
fn texts() -> String {
    let mut random = Sequence::new(3);
    let mut line = |group: &str| -> String {
        let mut word = |kind: &str, count| format!("{kind}{group}{}", random.below(count));
        [word("c", 10), word("w", 5), word("c", 10), word("w", 5), word("c", 10)].join(" ")
    };
    (0..4_000).map(|index| line(["a", "b"][index % 2]) + "\n").collect()
}

fn config(directory: &Path, settings: &str) -> Config {
    std::fs::File::create(directory.join("a.txt")).unwrap().write_all(texts().as_bytes()).unwrap();
    let train = directory.join("a.txt");
    let yaml = format!(
        "text: {{min_count: 1}}\npretrain: {{texts: {}, vectors: {settings}}}\n",
        train.display()
    );
    config::parse(&yaml, "test", &[]).unwrap().config
}

fn load(config: &Config) -> PretrainingTexts {
    PretrainingTexts::load(config, false, None).unwrap()
}

fn learn(
    texts: &PretrainingTexts,
    settings: &VectorsConfig,
    seed: u64,
    threads: usize,
) -> LearnedVectors {
    learn_with(texts, settings, &NO_SUBWORDS, seed, threads)
}

const NO_SUBWORDS: SubwordsConfig = SubwordsConfig { sizes: SubwordSizes(None), buckets: 1 };

fn learn_with(
    texts: &PretrainingTexts,
    settings: &VectorsConfig,
    subwords: &SubwordsConfig,
    seed: u64,
    threads: usize,
) -> LearnedVectors {
    let learning = VectorLearning { settings, subwords, size: 20, seed, threads };
    learning.run(texts, &mut |_| ControlFlow::Continue(())).unwrap().unwrap()
}

/// Mean cosine similarity between words with these prefixes.
fn similarity(texts: &PretrainingTexts, vectors: &WordVectors, a: &str, b: &str) -> f32 {
    let row = |word: String| {
        let id = texts.encoder.vocabulary().id(&word) as usize;
        assert!(vectors.found[id], "{word}");
        &vectors.values[id * vectors.size..][..vectors.size]
    };
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
    let mut all = Vec::new();
    for i in 0..5 {
        for j in (0..5).filter(|j| *j != i) {
            let (x, y) = (row(format!("{a}{i}")), row(format!("{b}{j}")));
            all.push(dot(x, y) / (dot(x, x) * dot(y, y)).sqrt());
        }
    }
    all.iter().sum::<f32>() / all.len() as f32
}

#[test]
fn words_in_the_same_contexts_have_similar_vectors() {
    let directory = tempfile::tempdir().unwrap();
    for method in ["cbow", "skipgram"] {
        let config = config(directory.path(), &format!("{{method: {method}, sample: 0}}"));
        let texts = load(&config);
        for threads in [1, 3] {
            let learned = learn(&texts, &config.pretrain.vectors, 1, threads);
            let within = similarity(&texts, &learned.vectors, "wa", "wa");
            let across = similarity(&texts, &learned.vectors, "wa", "wb");
            assert!(within > across + 0.5, "{method}, {threads} threads: {within}, {across}");
            // At random: 6 log 2 = 4.16.
            assert!(learned.loss > 0.5 && learned.loss < 3.5, "{method}: {}", learned.loss);
            assert_eq!(learned.tokens, 20_000);
        }
    }
}

#[test]
fn one_thread_learns_the_same_vectors_every_time() {
    let directory = tempfile::tempdir().unwrap();
    for method in ["cbow", "skipgram"] {
        let config = config(directory.path(), &format!("{{method: {method}, epochs: 1}}"));
        let texts = load(&config);
        let vectors = |seed| learn(&texts, &config.pretrain.vectors, seed, 1).vectors;
        let first = vectors(1);
        assert!(first.values.iter().all(|value| value.is_finite()));
        assert_eq!(first, vectors(1), "{method}");
        assert_ne!(first, vectors(2), "{method}");
    }
}

#[test]
fn learning_reports_its_progress_and_can_be_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "{epochs: 100000}");
    let texts = load(&config);
    let settings = &config.pretrain.vectors;
    let learning =
        VectorLearning { settings, subwords: &NO_SUBWORDS, size: 20, seed: 1, threads: 2 };
    let mut reports = Vec::new();
    let stopped = learning.run(&texts, &mut |progress| {
        reports.push(progress);
        if reports.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(stopped.unwrap().is_none());
    assert!(reports.is_sorted_by_key(|progress| progress.tokens));
    let last = reports.last().unwrap();
    assert!(last.tokens > 0 && last.total == 2_000_000_000 && last.loss < 4.2, "{last:?}");
}

#[test]
fn texts_without_neighbours_are_rejected() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "{}");
    let fault = |content: &str| {
        std::fs::write(&config.pretrain.texts[0], content).unwrap();
        let learning = VectorLearning {
            settings: &config.pretrain.vectors,
            subwords: &NO_SUBWORDS,
            size: 2,
            seed: 1,
            threads: 1,
        };
        let learned = learning.run(&load(&config), &mut |_| ControlFlow::Continue(()));
        learned.unwrap_err().to_string()
    };
    assert!(fault("one\none one\n").contains("have 1 of the words"));
    assert!(fault("one\ntwo\n").contains("each text has a single word"));
}

/// Words of a group share their beginnings with words that are not in the texts.
#[test]
fn character_ngrams_give_vectors_to_unknown_words() {
    let directory = tempfile::tempdir().unwrap();
    for method in ["cbow", "skipgram"] {
        let config = config(directory.path(), &format!("{{method: {method}, epochs: 3}}"));
        let texts = load(&config);
        let subwords = SubwordsConfig { sizes: SubwordSizes(Some([2, 4])), buckets: 5_000 };
        let learned = learn_with(&texts, &config.pretrain.vectors, &subwords, 1, 1);
        let again = learn_with(&texts, &config.pretrain.vectors, &subwords, 1, 1);
        assert_eq!(learned.vectors.values, again.vectors.values);
        assert_eq!(learned.subwords.len(), 5_000 * 20);
        assert_eq!(learned.subwords, again.subwords);
        let same = similarity(&texts, &learned.vectors, "wa", "wa");
        let other = similarity(&texts, &learned.vectors, "wa", "wb");
        assert!(same > other + 0.02, "{method}: {same} {other}");
        let unknown = |word: &str| {
            let mut buckets = Vec::new();
            CharacterNgrams::new(&subwords).unwrap().append(word, &mut buckets);
            let mut vector = vec![0.0; 20];
            for bucket in buckets {
                let row = &learned.subwords[bucket as usize * 20..][..20];
                vector.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            vector
        };
        let known = |word: &str| {
            let id = texts.encoder.vocabulary().id(word) as usize;
            learned.vectors.values[id * 20..][..20].to_vec()
        };
        let cosine = |x: &[f32], y: &[f32]| {
            let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
            dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
        };
        let [a, b] = ["wa1", "wb1"].map(known);
        let misspelt = unknown("wa12");
        assert!(cosine(&misspelt, &a) > cosine(&misspelt, &b) + 0.02, "{method}");
    }
}
