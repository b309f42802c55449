//! Suggestions for misspelt and foreign field names.

use super::fields::{Fault, Field};

/// The section of pre-training. Names that it shares with other sections, such as `epochs`, mean the others where
/// nothing else is said.
pub const PRETRAIN: &str = "pretrain";

/// Names that Keras, PyTorch and other libraries give to fields of the configuration.
pub const SYNONYMS: [(&str, &str); 122] = [
    ("lr", "train.learning_rate"),
    ("maxlen", "text.max_length"),
    ("max_len", "text.max_length"),
    ("max_seq_length", "text.max_length"),
    ("sequence_length", "text.max_length"),
    ("num_words", "text.vocabulary_size"),
    ("vocab_size", "text.vocabulary_size"),
    ("max_features", "text.vocabulary_size"),
    ("max_tokens", "text.vocabulary_size"),
    ("mincount", "text.min_count"),
    ("min_freq", "text.min_count"),
    ("embedding_dim", "model.embedding.size"),
    ("embedding_size", "model.embedding.size"),
    ("embed_dim", "model.embedding.size"),
    ("output_dim", "model.embedding.size"),
    ("dim", "model.embedding.size"),
    ("pretrainedvectors", "model.embedding.vectors"),
    ("pretrained_vectors", "model.embedding.vectors"),
    ("hidden_size", "model.lstm.units"),
    ("hidden_dim", "model.lstm.units"),
    ("hidden_units", "model.lstm.units"),
    ("num_layers", "model.lstm.layers"),
    ("n_layers", "model.lstm.layers"),
    ("hidden_dropout", "model.lstm.dropout"),
    ("dropout", "model.head.dropout"),
    ("epoch", "train.epochs"),
    ("num_epochs", "train.epochs"),
    ("n_epochs", "train.epochs"),
    ("max_epochs", "train.epochs"),
    ("batch", "train.batch_size"),
    ("batchsize", "train.batch_size"),
    ("optim", "train.optimizer"),
    ("momentum", "train.sgd.momentum"),
    ("wd", "train.weight_decay"),
    ("clipnorm", "train.gradient_clip"),
    ("grad_clip", "train.gradient_clip"),
    ("max_norm", "train.gradient_clip"),
    ("max_grad_norm", "train.gradient_clip"),
    ("scheduler", "train.schedule.name"),
    ("warmup", "train.schedule.warmup_steps"),
    ("monitor", "train.early_stopping.metric"),
    ("patience", "train.early_stopping.patience"),
    ("seed", "train.seed"),
    ("manual_seed", "train.seed"),
    ("random_state", "train.seed"),
    ("data", "data.train"),
    ("train", "data.train"),
    ("train_file", "data.train"),
    ("valid", "data.validation"),
    ("validation", "data.validation"),
    ("validation_data", "data.validation"),
    ("validation_file", "data.validation"),
    ("validation_split", "data.split.validation"),
    ("test", "data.test"),
    ("test_file", "data.test"),
    ("text_col", "data.text_column"),
    ("label_col", "data.label_column"),
    ("label", "data.label_column"),
    ("max_seq_len", "text.max_length"),
    ("max_sequence_length", "text.max_length"),
    ("seq_len", "text.max_length"),
    ("min_df", "text.min_count"),
    ("min_frequency", "text.min_count"),
    ("lower", "text.lowercase"),
    ("do_lower_case", "text.lowercase"),
    ("emb_dim", "model.embedding.size"),
    ("emb_size", "model.embedding.size"),
    ("embed_size", "model.embedding.size"),
    ("hidden", "model.lstm.units"),
    ("nhid", "model.lstm.units"),
    ("lstm_units", "model.lstm.units"),
    ("rnn_size", "model.lstm.units"),
    ("num_units", "model.lstm.units"),
    ("nlayers", "model.lstm.layers"),
    ("wordngrams", "model.ngrams.sizes"),
    ("word_ngrams", "model.ngrams.sizes"),
    ("ngrams", "model.ngrams.sizes"),
    ("ngram_range", "model.ngrams.sizes"),
    ("bucket", "model.ngrams.buckets"),
    ("num_train_epochs", "train.epochs"),
    ("nb_epoch", "train.epochs"),
    ("per_device_train_batch_size", "train.batch_size"),
    ("train_batch_size", "train.batch_size"),
    ("bs", "train.batch_size"),
    ("per_device_eval_batch_size", "train.validation_batch_size"),
    ("eval_batch_size", "train.validation_batch_size"),
    ("test_batch_size", "train.validation_batch_size"),
    ("opt", "train.optimizer"),
    ("clip", "train.gradient_clip"),
    ("clip_norm", "train.gradient_clip"),
    ("gradient_clip_val", "train.gradient_clip"),
    ("global_clipnorm", "train.gradient_clip"),
    ("lr_scheduler", "train.schedule.name"),
    ("lr_scheduler_type", "train.schedule.name"),
    ("num_warmup_steps", "train.schedule.warmup_steps"),
    ("early_stopping", "train.early_stopping.patience"),
    ("early_stopping_patience", "train.early_stopping.patience"),
    ("class_weight", "train.class_weights"),
    ("label_smoothing_factor", "train.label_smoothing"),
    ("log_interval", "train.log_every"),
    ("logging_steps", "train.log_every"),
    ("eval_steps", "train.validate_every"),
    ("save_steps", "train.checkpoint_every"),
    ("random_seed", "train.seed"),
    ("input", "data.train"),
    ("val", "data.validation"),
    ("dev", "data.validation"),
    ("val_file", "data.validation"),
    ("dev_file", "data.validation"),
    ("val_split", "data.split.validation"),
    ("validation_size", "data.split.validation"),
    ("test_split", "data.split.test"),
    ("test_size", "data.split.test"),
    ("text_field", "data.text_column"),
    ("text", "data.text_column"),
    ("target", "data.label_column"),
    ("target_column", "data.label_column"),
    ("label_field", "data.label_column"),
    ("sep", "data.delimiter"),
    ("separator", "data.delimiter"),
    ("run_name", "name"),
    ("experiment_name", "name"),
];

/// Minimum Jaro-Winkler similarity of a suggestion from the same section.
const SIMILAR_IN_SECTION: f64 = 0.8;
/// Minimum Jaro-Winkler similarity of a suggestion from another section.
const SIMILAR_ELSEWHERE: f64 = 0.93;

/// Maximum length in bytes of a name that is compared with those of fields.
const MAX_LENGTH: usize = 64;
/// Maximum number of suggestions for a document. More faults are not listed.
const MAX_SUGGESTIONS: usize = 1_000;

/// Returns the field that other programs set with an argument such as `--lr` or `-minCount`, if there
/// is one.
pub fn field_of_argument(argument: &str, fields: &[Field]) -> Option<String> {
    let name = argument.trim_start_matches('-').replace('-', "_").to_lowercase();
    if let Some((_, field)) = SYNONYMS.iter().find(|(foreign, _)| *foreign == name) {
        return Some((*field).to_owned());
    }
    let values = fields.iter().filter(|field| !field.is_section());
    if values.clone().any(|field| field.path.join(".") == name) {
        return Some(name);
    }
    let mut named =
        values.filter(|field| field.path.last() == Some(&name) && field.path[0] != PRETRAIN);
    match (named.next(), named.next()) {
        (Some(field), None) => Some(field.path.join(".")),
        _ => None,
    }
}

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
    let is_pretraining = |path: &[String]| path[0] == PRETRAIN;
    let all: Vec<&Field> = fields
        .iter()
        .filter(|field| is_pretraining(path) || !is_pretraining(&field.path))
        .collect();
    let section = format!("{}.", path[..depth].join("."));
    let synonym = synonym.map(|(_, ours)| (*ours).to_owned());
    let guess = synonym
        .clone()
        .filter(|field| field.starts_with(&section))
        .or_else(|| most_similar(&siblings, SIMILAR_IN_SECTION))
        .or(synonym)
        .or_else(|| most_similar(&all, SIMILAR_ELSEWHERE));
    match guess {
        Some(guess) => format!("unknown field; did you mean {guess}?"),
        None => {
            let names: Vec<String> = siblings.into_iter().map(last).collect();
            format!("unknown field; this section has {}", names.join(", "))
        }
    }
}
