//! What no single field shows: settings that contradict each other.

use std::collections::HashSet;

use super::fields::Fault;
use super::{Activation, ClassWeights, Column, Config, Format, Portion, SplitMethod};

impl Config {
    /// Every contradiction between fields.
    pub(super) fn contradictions(&self) -> Vec<Fault> {
        let faults = self.data_faults().into_iter().chain(self.model_faults());
        faults
            .map(|(path, message)| Fault {
                path: path.split('.').map(str::to_owned).collect(),
                message,
            })
            .collect()
    }

    fn data_faults(&self) -> Vec<(&'static str, String)> {
        let data = &self.data;
        let mut faults = self.split_faults();
        if data.train.as_os_str().is_empty() {
            let message = "missing: name the file or folder with the training examples";
            faults.push(("data.train", message.into()));
        }
        if data.labels.len() == 1
            || data.labels.iter().collect::<HashSet<_>>().len() < data.labels.len()
        {
            faults.push(("data.labels", "at least 2 labels are needed, each once".into()));
        }
        if matches!(data.format, Format::Fasttext | Format::Folder) && !data.filter.is_empty() {
            let format = data.format.word();
            faults
                .push(("data.filter", format!("needs named columns, but data.format is {format}")));
        }
        let columns =
            [("data.text_column", &data.text_column), ("data.label_column", &data.label_column)];
        for (path, column) in columns {
            match column {
                Column::Name(_) if !data.header => {
                    let message =
                        "without a header (data.header: false) it must be a number, from 1";
                    faults.push((path, message.into()));
                }
                Column::Number(_) if data.format == Format::Jsonl => {
                    faults.push((path, "must name a key, since data.format is jsonl".into()));
                }
                _ => {}
            }
        }
        if let ClassWeights::Given(weights) = &self.train.class_weights
            && let Some(unknown) = weights.keys().find(|label| !data.labels.contains(label))
            && !data.labels.is_empty()
        {
            let known = data.labels.join(", ");
            let message = format!("found the label \"{unknown}\", data.labels has {known}");
            faults.push(("train.class_weights", message));
        }
        faults
    }

    fn split_faults(&self) -> Vec<(&'static str, String)> {
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
            faults.push(("data.split", "validation and test leave no training examples".into()));
        }
        if split.shuffle && split.method != SplitMethod::Position {
            let message = "goes with data.split.method: position; stratified draws at random anyway";
            faults.push(("data.split.shuffle", message.into()));
        }
        if nothing && data.validation.is_none() {
            let message = "must be above 0, since data.validation names no file";
            faults.push(("data.split.validation", message.into()));
        }
        faults
    }

    fn model_faults(&self) -> Vec<(&'static str, String)> {
        let classes = self.data.labels.len();
        let mut faults = Vec::new();
        if self.model.head.activation == Activation::Sigmoid && classes > 2 {
            let message = format!("sigmoid is for 2 classes, data.labels has {classes}");
            faults.push(("model.head.activation", message));
        }
        if self.model.lstm.layers == 1 && self.model.lstm.dropout > 0.0 {
            let message = "acts between layers, but model.lstm.layers is 1";
            faults.push(("model.lstm.dropout", message.into()));
        }
        if self.train.sgd.nesterov && self.train.sgd.momentum == 0.0 {
            faults.push(("train.sgd.nesterov", "needs train.sgd.momentum above 0".into()));
        }
        faults
    }
}
