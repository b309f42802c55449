//! Contradictions between fields whose values are valid one by one.

use std::collections::HashSet;
use std::path::PathBuf;

use super::fields::Fault;
use super::overrides::field_path;
use super::schema::{
    Activation, BackendKind, Config, Finetune, Format, Input, Labelling, Precision, SplitMethod,
    Stage, TrainConfig,
};
use super::types::{AutoNumber, ClassWeights, Column, Columns, Portion, VocabularySource};
use crate::output::format::join_names;

/// Describes the fault of a text column that is also a label column, by the field that names that.
pub fn label_in_text(column: &Column, field: &str) -> String {
    let found = match field {
        "data.label_columns" => "also in data.label_columns".to_owned(),
        field => format!("also {field}"),
    };
    format!(
        "the column {column} is {found}, so the model would read the label; remove it from the text"
    )
}

impl Config {
    /// Returns every contradiction between fields.
    pub(super) fn contradictions(&self) -> Vec<Fault> {
        let faults = [
            self.data_faults(),
            self.label_faults(),
            self.column_faults(),
            self.split_faults(),
            self.model_faults(),
            self.layer_faults(),
            self.start_faults(),
        ];
        let faults = faults.into_iter().flatten();
        faults.map(|(field, message)| Fault { path: field_path(&field), message }).collect()
    }

    fn data_faults(&self) -> Vec<(String, String)> {
        let data = &self.data;
        let mut faults = Vec::new();
        if data.train.as_os_str().is_empty() && self.pretrain.texts.is_empty() {
            let message = "missing; set it to the file or directory with the training data";
            faults.push(("data.train".into(), message.into()));
        }
        let files = [
            ("data.train", Some(&data.train)),
            ("data.validation", data.validation.as_ref()),
            ("data.test", data.test.as_ref()),
            ("data.unlabelled", data.unlabelled.as_ref()),
        ];
        for (field, path) in files {
            let is_stdin = |path: &&PathBuf| {
                path.file_name().is_some_and(|name| name == "-") && !path.exists()
            };
            if path.filter(is_stdin).is_some() {
                let message = "stdin cannot be read again, as later commands do; save the examples to \
                               a file";
                faults.push((field.into(), message.into()));
            }
        }
        if data.shard && self.train.token_budget == Some(AutoNumber::Auto) {
            let message = "auto needs all texts in one process, and data.shard divides them; set a number, or use \
                           train.batch_size";
            faults.push(("train.token_budget".into(), message.into()));
        }
        let labels: HashSet<&String> = data.labels.iter().collect();
        if data.labels.len() == 1 || labels.len() < data.labels.len() {
            faults.push(("data.labels".into(), "expected at least 2 labels, all different".into()));
        }
        if !data.format.has_columns() && !data.filter.is_empty() {
            let format = data.format.as_str();
            let message = format!("needs named columns, which data.format: {format} does not have");
            faults.push(("data.filter".into(), message));
        }
        if let ClassWeights::Given(weights) = &self.train.class_weights
            && let Some(unknown) = weights.keys().find(|label| !labels.contains(label))
            && !labels.is_empty()
        {
            let labels = join_names(&data.labels);
            let message = format!("unknown label \"{unknown}\"; data.labels has {labels}");
            faults.push(("train.class_weights".into(), message));
        }
        if let Some(message) = self.metric().unknown_label(&data.labels)
            && !labels.is_empty()
        {
            faults.push(("train.early_stopping.metric".into(), message));
        }
        faults
    }

    /// Returns the faults of fields for several labels per text, and of columns of labels.
    fn label_faults(&self) -> Vec<(String, String)> {
        let data = &self.data;
        let mut faults = Vec::new();
        let mut add =
            |field: &str, message: &str| faults.push((field.to_owned(), message.to_owned()));
        let is_distilled = self.train.distillation.weight.is_some();
        if is_distilled && data.label_columns.is_empty() {
            let message = "needs the probabilities of another model in data.label_columns";
            add("train.distillation.weight", message);
        }
        if let Some(separator) = &data.label_separator {
            if separator.is_empty() {
                add("data.label_separator", "expected at least one character, or null");
            }
            if !data.label_columns.is_empty() && !is_distilled {
                add(
                    "data.label_separator",
                    "has no effect with data.label_columns; remove one of them",
                );
            }
            if data.multi_label == Some(false) {
                add(
                    "data.label_separator",
                    "separates several labels; remove data.multi_label: false",
                );
            }
        }
        let columns: HashSet<&String> = data.label_columns.iter().collect();
        if data.label_columns.len() == 1 || columns.len() < data.label_columns.len() {
            let message = "expected at least 2 columns, all different; for a single one, use \
                           data.label_column";
            add("data.label_columns", message);
        }
        if !data.label_columns.is_empty() {
            let format = data.format.as_str();
            if !data.format.has_columns() || data.format == Format::Babi {
                let message =
                    format!("needs columns of labels, which data.format: {format} does not have");
                add("data.label_columns", &message);
            } else if !data.header && !matches!(data.format, Format::Json | Format::Jsonl) {
                add("data.label_columns", "needs the names of columns, but data.header is false");
            }
        }
        // Columns of labels may turn out to have one label per text.
        let is_several = data.multi_label.unwrap_or(data.label_separator.is_some());
        if is_several && self.model.head.activation == Activation::Softmax {
            let message = "softmax is for classes that exclude each other, but a text can have several \
                           labels; remove it";
            add("model.head.activation", message);
        }
        if is_several && matches!(data.format, Format::Folder | Format::Babi) {
            let format = data.format.as_str();
            let message = format!("a text in data.format: {format} has one label");
            add("data.multi_label", &message);
        }
        faults
    }

    fn column_faults(&self) -> Vec<(String, String)> {
        let (data, mut faults) = (&self.data, Vec::new());
        if self.inputs.is_explicit() && data.text_column != Columns::named("text") {
            let message = "has no effect, because inputs sets the columns; remove it";
            faults.push(("data.text_column".into(), message.into()));
        }
        if !data.format.has_columns() && self.inputs.columns().len() > 1 {
            let format = data.format.as_str();
            let message = format!("expected a single column, because data.format is {format}");
            faults.push((self.inputs[0].field("column"), message));
        }
        let columns = |input: &Input| -> Vec<(String, Column)> {
            let field = input.field("column");
            input.columns.0.iter().map(|column| (field.clone(), column.clone())).collect()
        };
        let text_columns: Vec<_> = self.inputs.iter().flat_map(columns).collect();
        let (label_field, label_columns) = data.label_fields();
        let reads_label = text_columns.iter().find(|(_, column)| label_columns.contains(column));
        if let Some((field, column)) = reads_label
            && data.format.has_columns()
            && !data.has_first_rules()
        {
            faults.push((field.clone(), label_in_text(column, label_field)));
        }
        // Without a header, label_columns has a fault of its own.
        let label_column = data.label_columns.is_empty().then(|| data.label_column.clone());
        let label_column = label_column.map(|column| (label_field.to_owned(), column));
        let group = data.split.group.clone();
        let group = group.map(|column| ("data.split.group".to_owned(), column));
        let columns = text_columns.into_iter().chain(label_column).chain(group);
        for (field, column) in columns {
            match column {
                Column::Name(_) if !data.header => {
                    let message = "expected a column number ≥ 1, because data.header is false";
                    faults.push((field, message.into()));
                }
                Column::Number(_) if matches!(data.format, Format::Json | Format::Jsonl) => {
                    let format = data.format.as_str();
                    let message =
                        format!("expected the name of a key, because data.format is {format}");
                    faults.push((field, message));
                }
                _ => {}
            }
        }
        faults
    }

    fn split_faults(&self) -> Vec<(String, String)> {
        let (data, split) = (&self.data, &self.data.split);
        let fraction = |portion: Portion, from_file: bool| match portion {
            Portion::Fraction(fraction) if !from_file => fraction,
            _ => 0.0,
        };
        let taken = fraction(split.validation, data.validation.is_some())
            + fraction(split.test, data.test.is_some());
        let nothing = [Portion::Count(0), Portion::Fraction(0.0)].contains(&split.validation);
        let mut faults = Vec::new();
        if taken >= 1.0 {
            let message = "validation and test leave no training examples";
            faults.push(("data.split".into(), message.into()));
        }
        if split.shuffle && split.method != SplitMethod::Position {
            let message = "needs data.split.method: position; a stratified split is always random";
            faults.push(("data.split.shuffle".into(), message.into()));
        }
        if split.group.is_some() && split.method != SplitMethod::Stratified {
            let message = "needs data.split.method: stratified; a split by position cuts groups";
            faults.push(("data.split.group".into(), message.into()));
        }
        if split.group.is_some() && !data.format.has_columns() {
            let format = data.format.as_str();
            let message = format!("needs columns, which data.format: {format} does not have");
            faults.push(("data.split.group".into(), message));
        }
        if let Some(folds) = split.folds {
            if split.fold > folds {
                let message = format!("expected a fold from 1 to {folds} (data.split.folds)");
                faults.push(("data.split.fold".into(), message));
            }
            if split.method != SplitMethod::Stratified {
                let message = "needs data.split.method: stratified";
                faults.push(("data.split.folds".into(), message.into()));
            }
            let has_test = data.test.is_some() || split.test.of(usize::MAX) > 0;
            if has_test && split.test_folds().is_some() {
                let message = "the test examples are those of the fold; set data.test: null and \
                               data.split.test: 0";
                faults.push(("data.split.folds".into(), message.into()));
            }
            if data.validation.is_some() && split.validation_folds().is_some() {
                let message =
                    "the validation examples are those of the fold; set data.validation: null";
                faults.push(("data.split.folds".into(), message.into()));
            }
        }
        if nothing && data.validation.is_none() {
            let message = "expected a value > 0, because data.validation is null";
            faults.push(("data.split.validation".into(), message.into()));
        }
        faults
    }

    /// Returns the reasons why there can be no joint language model.
    fn joint_language_model_faults(&self) -> Vec<&'static str> {
        let has = |has: fn(&Input) -> bool| self.inputs.iter().any(has);
        let is_fp16 = self.precision == Precision::Fp16 && self.backend != BackendKind::Native;
        let faults = [
            (self.inputs.len() > 1, "needs a model with one input; remove it"),
            (
                self.train.finetune == Finetune::Frozen,
                "has no effect with train.finetune: frozen; remove one of them",
            ),
            (!has(Input::has_lstm), "needs an LSTM, which a language model shares; remove it"),
            (
                has(|input| input.embedding.subwords.is_on()),
                "cannot be combined with model.embedding.subwords; remove one of them",
            ),
            (
                self.data.shard,
                "needs all texts in one process, and data.shard divides them; remove one of them",
            ),
            (
                is_fp16,
                "cannot be combined with precision: fp16, which may overflow; use bf16, tf32 or fp32",
            ),
        ];
        faults.into_iter().filter(|(is_fault, _)| *is_fault).map(|(_, message)| message).collect()
    }

    /// Returns the fault of a vocabulary of a checkpoint if there is none.
    fn start_faults(&self) -> Vec<(String, String)> {
        let has_source =
            self.train.from.is_some() || self.pretrain.stages.has(Stage::LanguageModel);
        let mut faults = Vec::new();
        let fits_frozen = self.train.finetune != Finetune::Full;
        for (field, is_on) in
            [("train.fit_head", self.train.fit_head), ("train.finetune", fits_frozen)]
        {
            if !is_on {
                continue;
            }
            let message = match () {
                () if !has_source => {
                    "needs a trained model from which the training starts: train --from CHECKPOINT, train.from, or \
                     pretrain.stages: [language_model]"
                }
                () if !self.inputs.iter().any(Input::has_lstm) => {
                    "needs an LSTM, whose states it reads; set model.lstm, or remove it"
                }
                () if self.data.shard => {
                    "needs all texts in one process, and data.shard divides them; remove one of them"
                }
                () => continue,
            };
            faults.push((field.into(), message.into()));
        }
        let of_checkpoint = self
            .inputs
            .iter()
            .find(|input| !has_source && input.text.vocabulary == VocabularySource::Checkpoint);
        let message = "needs a checkpoint from which the training starts: train --from CHECKPOINT, or \
                       train.from (a file of this name is ./checkpoint)";
        let of_checkpoint =
            of_checkpoint.map(|input| (input.field("text.vocabulary"), message.into()));
        faults.extend(of_checkpoint);
        faults
    }

    fn model_faults(&self) -> Vec<(String, String)> {
        let classes = self.data.labels.len();
        let mut faults = Vec::new();
        let is_one = self.data.labelling() == Labelling::One;
        if is_one && self.model.head.activation == Activation::Sigmoid && classes > 2 {
            let message = format!("sigmoid is for 2 classes, but data.labels has {classes}");
            faults.push(("model.head.activation".into(), message));
        }
        for input in self.inputs.iter() {
            if !input.has_lstm() && !input.ngrams.is_on() {
                let message =
                    "the model needs an LSTM, n-grams (model.ngrams.sizes: [1, 2]), or both";
                faults.push((input.field("lstm"), message.into()));
            }
            if input.lstm.layers == 1 && input.lstm.dropout > 0.0 {
                let message =
                    format!("applies between layers, but {} is 1", input.field("lstm.layers"));
                faults.push((input.field("lstm.dropout"), message));
            }
        }
        let subwords = self.inputs.iter().find(|input| input.embedding.subwords.is_on());
        if let Some(input) = subwords
            && self.train.has_perturbations()
        {
            let message = "cannot be combined with train.adversarial and train.virtual_adversarial, whose \
                           perturbations are measured in standard deviations of trained word vectors; remove one \
                           of them";
            faults.push((input.field("embedding.subwords"), message.into()));
        }
        if let Some(input) = subwords
            && self.data.shard
        {
            let message = "cannot be combined with data.shard, because each process numbers the words of its own \
                           texts; remove one of them";
            faults.push((input.field("embedding.subwords"), message.into()));
        }
        if self.pretrain.language_model.hidden_dropout > 0.0 {
            let input = &self.inputs[0];
            let reason = match input.lstm.bidirectional {
                true => format!(
                    "{}: true leaves language models only the lowest layer",
                    input.field("lstm.bidirectional")
                ),
                false => format!("{} is 1", input.field("lstm.layers")),
            };
            if input.lstm.bidirectional || input.lstm.layers == 1 {
                let field = "pretrain.language_model.hidden_dropout";
                faults.push((field.into(), format!("applies between layers, but {reason}")));
            }
        }
        let TrainConfig { adversarial, virtual_adversarial, .. } = &self.train;
        for (section, epsilon) in [
            ("adversarial", adversarial.epsilon),
            ("virtual_adversarial", virtual_adversarial.epsilon),
        ] {
            if epsilon.is_some() && !self.inputs.iter().any(Input::has_lstm) {
                let message = "perturbs word vectors, but the model has no LSTM that reads them";
                faults.push((format!("train.{section}.epsilon"), message.into()));
            }
        }
        if virtual_adversarial.epsilon.is_some()
            && (self.precision == Precision::Bf16
                || self.precision == Precision::Fp16 && self.backend != BackendKind::Native)
        {
            let message =
                "needs precision: tf32 or fp32; 16 bits round its small perturbations away";
            faults.push(("train.virtual_adversarial.epsilon".into(), message.into()));
        }
        if self.train.has_language_model() {
            let field = "train.language_model_weight";
            let of_field = self.joint_language_model_faults().into_iter();
            faults.extend(of_field.map(|message| (field.into(), message.into())));
        }
        if self.train.sgd.nesterov && self.train.sgd.momentum == 0.0 {
            faults.push(("train.sgd.nesterov".into(), "needs train.sgd.momentum > 0".into()));
        }
        faults
    }
}
