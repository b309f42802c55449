//! Suggestions for misspelt and foreign field names.

use super::fields::{Fault, Field};

/// Names that Keras, PyTorch and other libraries give to fields of the configuration.
pub const SYNONYMS: [(&str, &str); 16] = [
    ("lr", "train.learning_rate"),
    ("maxlen", "text.max_length"),
    ("num_words", "text.vocabulary_size"),
    ("vocab_size", "text.vocabulary_size"),
    ("max_features", "text.vocabulary_size"),
    ("embedding_dim", "model.embedding.size"),
    ("output_dim", "model.embedding.size"),
    ("hidden_size", "model.lstm.units"),
    ("num_layers", "model.lstm.layers"),
    ("hidden_dropout", "model.lstm.dropout"),
    ("num_epochs", "train.epochs"),
    ("validation_split", "data.split.validation"),
    ("clipnorm", "train.gradient_clip"),
    ("max_norm", "train.gradient_clip"),
    ("patience", "train.early_stopping.patience"),
    ("random_state", "train.seed"),
];

/// Minimum Jaro-Winkler similarity of a suggestion from the same section.
const SIMILAR_IN_SECTION: f64 = 0.8;
/// Minimum Jaro-Winkler similarity of a suggestion from another section.
const SIMILAR_ELSEWHERE: f64 = 0.93;

/// Maximum length in bytes of a name that is compared with those of fields.
const MAX_LENGTH: usize = 64;
/// Maximum number of suggestions for a document. More faults are not listed.
const MAX_SUGGESTIONS: usize = 1_000;

/// Returns the message for each unknown field.
pub fn unknown_fields(paths: Vec<Vec<String>>, fields: &[Field]) -> impl Iterator<Item = Fault> {
    paths.into_iter().enumerate().map(|(index, path)| {
        let message = match index < MAX_SUGGESTIONS {
            true => unknown_field(&path, fields),
            false => "unknown field".to_owned(),
        };
        Fault { path, message }
    })
}

/// Returns the message for an unknown field.
///
/// It suggests, in this order, a similar name in the same section, the field that another library
/// calls by this name, and a similar name in another section. Without a suggestion it lists the
/// fields of the section.
pub fn unknown_field(path: &[String], fields: &[Field]) -> String {
    let name = path.last().filter(|name| name.len() <= MAX_LENGTH);
    let name = name.map(|name| name.to_lowercase()).unwrap_or_default();
    let depth = path.len() - 1;
    let last = |field: &Field| field.path.last().cloned().unwrap_or_default();
    let siblings: Vec<&Field> =
        fields.iter().filter(|field| field.path[..field.path.len() - 1] == path[..depth]).collect();
    let most_similar = |fields: &[&Field], threshold: f64| {
        let scored = fields.iter().map(|field| (strsim::jaro_winkler(&name, &last(field)), *field));
        let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
        best.filter(|(score, _)| *score >= threshold).map(|(_, field)| field.path.join("."))
    };
    let synonym = SYNONYMS.iter().find(|(foreign, _)| *foreign == name);
    let all: Vec<&Field> = fields.iter().collect();
    let guess = most_similar(&siblings, SIMILAR_IN_SECTION)
        .or_else(|| synonym.map(|(_, ours)| (*ours).to_owned()))
        .or_else(|| most_similar(&all, SIMILAR_ELSEWHERE));
    match guess {
        Some(guess) => format!("unknown field; did you mean {guess}?"),
        None => {
            let names: Vec<String> = siblings.into_iter().map(last).collect();
            format!("unknown field; this section has {}", names.join(", "))
        }
    }
}
