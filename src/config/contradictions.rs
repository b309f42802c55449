//! What no single field shows: settings that contradict each other.

use std::collections::HashSet;

use super::fields::Fault;
use super::{Activation, ClassWeights, Column, Columns, Config, Format, Portion, SplitMethod};

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

    fn data_faults(&self) -> Vec<(String, String)> {
        let data = &self.data;
        let mut faults = self.split_faults();
        if data.train.as_os_str().is_empty() {
            let message = "missing: name the file or folder with the training examples";
            faults.push(("data.train".into(), message.into()));
        }
        if data.labels.len() == 1
            || data.labels.iter().collect::<HashSet<_>>().len() < data.labels.len()
        {
            faults.push(("data.labels".into(), "at least 2 labels are needed, each once".into()));
        }
        if matches!(data.format, Format::Fasttext | Format::Folder) && !data.filter.is_empty() {
            let format = data.format.as_str();
            faults.push((
                "data.filter".into(),
                format!("needs named columns, but data.format is {format}"),
            ));
        }
        if self.inputs.are_written() && data.text_column != Columns::named("text") {
            let message = "is not used, since inputs says which columns are read";
            faults.push(("data.text_column".into(), message.into()));
        }
        if matches!(data.format, Format::Fasttext | Format::Folder)
            && self.inputs.columns().len() > 1
        {
            let format = data.format.as_str();
            let message = format!("one column, since data.format is {format}");
            faults.push((self.inputs[0].field("column"), message));
        }
        let text_columns = self
            .inputs
            .iter()
            .flat_map(|input| input.columns.0.iter().map(|column| (input.field("column"), column)));
        for (path, column) in
            text_columns.chain([("data.label_column".to_owned(), &data.label_column)])
        {
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
            faults.push(("train.class_weights".into(), message));
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
            faults.push((
                "data.split".into(),
                "validation and test leave no training examples".into(),
            ));
        }
        if split.shuffle && split.method != SplitMethod::Position {
            let message =
                "goes with data.split.method: position; stratified draws at random anyway";
            faults.push(("data.split.shuffle".into(), message.into()));
        }
        if nothing && data.validation.is_none() {
            let message = "must be above 0, since data.validation names no file";
            faults.push(("data.split.validation".into(), message.into()));
        }
        faults
    }

    fn model_faults(&self) -> Vec<(String, String)> {
        let classes = self.data.labels.len();
        let mut faults = Vec::new();
        if self.model.head.activation == Activation::Sigmoid && classes > 2 {
            let message = format!("sigmoid is for 2 classes, data.labels has {classes}");
            faults.push(("model.head.activation".into(), message));
        }
        for input in self.inputs.iter() {
            if input.lstm.layers == 1 && input.lstm.dropout > 0.0 {
                let message =
                    format!("acts between layers, but {} is 1", input.field("lstm.layers"));
                faults.push((input.field("lstm.dropout"), message));
            }
        }
        if self.train.sgd.nesterov && self.train.sgd.momentum == 0.0 {
            faults.push(("train.sgd.nesterov".into(), "needs train.sgd.momentum above 0".into()));
        }
        faults
    }
}
