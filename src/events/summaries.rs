//! Summaries for TensorBoard's plugins: a tensor under a tag, with the plugin's name and a message of the
//! plugin in its metadata.
//!
//! The messages of text, histograms and images contain only "version 0", which protobuf encodes as no
//! bytes, so they are omitted.

use std::collections::HashMap;

use protobuf::well_known_types::Value;
use protobuf::{Message, RepeatedField};
use tensorboard_proto::api::Status;
use tensorboard_proto::plugin_hparams::{HParamsPluginData, SessionEndInfo, SessionStartInfo};
use tensorboard_proto::plugin_pr_curve::PrCurvePluginData;
use tensorboard_proto::summary::{
    Summary, Summary_Value, SummaryMetadata, SummaryMetadata_PluginData,
};
use tensorboard_proto::tensor::TensorProto;
use tensorboard_proto::tensor_shape::{TensorShapeProto, TensorShapeProto_Dim};
use tensorboard_proto::types::DataType;

/// Prefix of the tags of session records.
pub const SESSION_PREFIX: &str = "_hparams_/";

/// The value of a hyperparameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Hyperparameter {
    /// A number.
    Number(f64),
    /// A boolean.
    Bool(bool),
    /// Anything else.
    Text(String),
}

/// Status of a run that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// The run finished.
    Success,
    /// An error ended the run.
    Failure,
}

/// A bucket of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Left edge.
    pub left: f64,
    /// Right edge.
    pub right: f64,
    /// Number of values.
    pub count: f64,
}

/// Confusion counts of one class at one threshold: an example counts as predicted positive if the
/// probability of the class is at least the threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ConfusionCounts {
    /// Examples of the class, predicted positive.
    pub true_positives: u64,
    /// Other examples, predicted positive.
    pub false_positives: u64,
    /// Other examples, predicted negative.
    pub true_negatives: u64,
    /// Examples of the class, predicted negative.
    pub false_negatives: u64,
}

/// Builds a text summary from Markdown.
pub fn text(tag: &str, description: &str, markdown: &str) -> Summary {
    let tensor = strings(vec![markdown.as_bytes().to_vec()], &[]);
    summary(tag, metadata("text", Vec::new(), description), tensor)
}

/// Builds an image summary from a PNG file and its width and height. The tensor holds width and height as
/// decimal digits, then the file.
pub fn image(tag: &str, description: &str, size: [u32; 2], png: Vec<u8>) -> Summary {
    let [width, height] = size.map(|pixels| pixels.to_string().into_bytes());
    let tensor = strings(vec![width, height, png], &[3]);
    summary(tag, metadata("images", Vec::new(), description), tensor)
}

/// Builds a histogram summary. The tensor [buckets, 3] holds left edge, right edge and count of each
/// bucket.
pub fn histogram(tag: &str, description: &str, buckets: &[Bucket]) -> Summary {
    let mut tensor = tensor(DataType::DT_DOUBLE, &[buckets.len(), 3]);
    let rows = buckets.iter().flat_map(|bucket| [bucket.left, bucket.right, bucket.count]);
    tensor.set_double_val(rows.collect());
    summary(tag, metadata("histograms", Vec::new(), description), tensor)
}

/// Builds a precision-recall curve from the counts at thresholds spaced evenly from 0 to 1. The tensor
/// [6, thresholds] holds the four counts of [`ConfusionCounts`] in their order, then precision and recall.
pub fn precision_recall(tag: &str, description: &str, counts: &[ConfusionCounts]) -> Summary {
    let mut content = PrCurvePluginData::new();
    content.set_num_thresholds(counts.len() as u32);
    let ratio = |part: u64, rest: u64| part as f32 / (part + rest).max(1) as f32;
    let rows: [fn(&ConfusionCounts) -> f32; 4] = [
        |at| at.true_positives as f32,
        |at| at.false_positives as f32,
        |at| at.true_negatives as f32,
        |at| at.false_negatives as f32,
    ];
    let precision = counts.iter().map(|at| ratio(at.true_positives, at.false_positives));
    let recall = counts.iter().map(|at| ratio(at.true_positives, at.false_negatives));
    let values = rows.iter().flat_map(|row| counts.iter().map(row)).chain(precision).chain(recall);
    let mut tensor = tensor(DataType::DT_FLOAT, &[rows.len() + 2, counts.len()]);
    tensor.set_float_val(values.collect());
    summary(tag, metadata("pr_curves", encoded(&content), description), tensor)
}

/// Builds the session record that starts a run, with its hyperparameters. No record lists the
/// hyperparameters and metrics of all runs (the tag `_hparams_/experiment`): without it, TensorBoard
/// collects them itself, and lists the hyperparameters that differ between runs first.
pub fn session_start(
    hyperparameters: impl IntoIterator<Item = (String, Hyperparameter)>,
    seconds: f64,
) -> Summary {
    let value = |hyperparameter| {
        let mut value = Value::new();
        match hyperparameter {
            Hyperparameter::Number(number) => value.set_number_value(number),
            Hyperparameter::Bool(bool) => value.set_bool_value(bool),
            Hyperparameter::Text(text) => value.set_string_value(text),
        }
        value
    };
    let values: HashMap<String, Value> = hyperparameters
        .into_iter()
        .map(|(name, hyperparameter)| (name, value(hyperparameter)))
        .collect();
    let mut start = SessionStartInfo::new();
    start.set_hparams(values);
    start.set_start_time_secs(seconds);
    let mut content = HParamsPluginData::new();
    content.set_session_start_info(start);
    session("session_start_info", &content)
}

/// Builds the session record that ends a run.
pub fn session_end(status: RunStatus, seconds: f64) -> Summary {
    let mut end = SessionEndInfo::new();
    end.set_status(match status {
        RunStatus::Success => Status::STATUS_SUCCESS,
        RunStatus::Failure => Status::STATUS_FAILURE,
    });
    end.set_end_time_secs(seconds);
    let mut content = HParamsPluginData::new();
    content.set_session_end_info(end);
    session("session_end_info", &content)
}

/// Builds a session record: everything is in the metadata, and the tensor is empty.
fn session(name: &str, content: &HParamsPluginData) -> Summary {
    let metadata = metadata("hparams", encoded(content), "");
    summary(&format!("{SESSION_PREFIX}{name}"), metadata, tensor(DataType::DT_FLOAT, &[0]))
}

fn summary(tag: &str, metadata: SummaryMetadata, tensor: TensorProto) -> Summary {
    let mut value = Summary_Value::new();
    value.set_tag(tag.to_owned());
    value.set_metadata(metadata);
    value.set_tensor(tensor);
    let mut summary = Summary::new();
    summary.set_value(RepeatedField::from_vec(vec![value]));
    summary
}

fn metadata(plugin: &str, content: Vec<u8>, description: &str) -> SummaryMetadata {
    let mut plugin_data = SummaryMetadata_PluginData::new();
    plugin_data.set_plugin_name(plugin.to_owned());
    plugin_data.set_content(content);
    let mut metadata = SummaryMetadata::new();
    metadata.set_plugin_data(plugin_data);
    metadata.set_summary_description(description.to_owned());
    metadata
}

/// Builds a tensor without values.
fn tensor(kind: DataType, shape: &[usize]) -> TensorProto {
    let dimension = |length: &usize| {
        let mut dimension = TensorShapeProto_Dim::new();
        dimension.set_size(*length as i64);
        dimension
    };
    let mut dimensions = TensorShapeProto::new();
    dimensions.set_dim(shape.iter().map(dimension).collect());
    let mut tensor = TensorProto::new();
    tensor.set_dtype(kind);
    tensor.set_tensor_shape(dimensions);
    tensor
}

fn strings(values: Vec<Vec<u8>>, shape: &[usize]) -> TensorProto {
    let mut tensor = tensor(DataType::DT_STRING, shape);
    tensor.set_string_val(RepeatedField::from_vec(values));
    tensor
}

fn encoded(message: &impl Message) -> Vec<u8> {
    // Encoding fails only if a required field is missing, and these messages have none.
    message.write_to_bytes().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(summary: &Summary) -> (&str, &str, &TensorProto) {
        let [value] = summary.get_value() else { panic!("one value") };
        let plugin = value.get_metadata().get_plugin_data().get_plugin_name();
        (value.get_tag(), plugin, value.get_tensor())
    }

    fn shape(tensor: &TensorProto) -> Vec<i64> {
        tensor.get_tensor_shape().get_dim().iter().map(|dimension| dimension.get_size()).collect()
    }

    #[test]
    fn a_precision_recall_tensor_has_counts_then_precision_then_recall() {
        let at = |true_positives, false_positives, true_negatives, false_negatives| {
            ConfusionCounts { true_positives, false_positives, true_negatives, false_negatives }
        };
        let summary = precision_recall("pr", "", &[at(4, 6, 0, 0), at(3, 1, 5, 1), at(0, 0, 6, 4)]);
        let (tag, plugin, tensor) = only(&summary);
        assert_eq!((tag, plugin, shape(tensor)), ("pr", "pr_curves", vec![6, 3]));
        let rows: Vec<&[f32]> = tensor.get_float_val().chunks(3).collect();
        assert_eq!(rows[..2], [[4.0, 3.0, 0.0], [6.0, 1.0, 0.0]]);
        assert_eq!(rows[2..4], [[0.0, 5.0, 6.0], [0.0, 1.0, 4.0]]);
        assert_eq!(rows[4..], [[0.4, 0.75, 0.0], [1.0, 0.75, 0.0]]);
        let content = summary.get_value()[0].get_metadata().get_plugin_data().get_content();
        // Field 2, a varint: 3 thresholds.
        assert_eq!(content, [0x10, 3]);
    }

    #[test]
    fn an_image_tensor_has_width_height_and_file() {
        let summary = image("i", "", [40, 7], vec![1, 2]);
        let (_, plugin, tensor) = only(&summary);
        assert_eq!((plugin, shape(tensor)), ("images", vec![3]));
        assert_eq!(tensor.get_string_val(), [&b"40"[..], b"7", &[1, 2]]);
    }

    #[test]
    fn a_text_is_a_scalar_tensor() {
        let summary = text("t", "", "**bold**");
        let (_, plugin, tensor) = only(&summary);
        assert_eq!((plugin, shape(tensor)), ("text", vec![]));
        assert_eq!(tensor.get_string_val(), [b"**bold**"]);
    }

    #[test]
    fn hyperparameters_and_status_are_in_the_metadata() {
        let hyperparameters = [
            ("a".to_owned(), Hyperparameter::Number(0.5)),
            ("b".to_owned(), Hyperparameter::Bool(true)),
            ("c".to_owned(), Hyperparameter::Text("adam".into())),
        ];
        let content = |summary: &Summary| {
            let metadata = summary.get_value()[0].get_metadata();
            HParamsPluginData::parse_from_bytes(metadata.get_plugin_data().get_content()).unwrap()
        };
        let start = session_start(hyperparameters, 7.5);
        assert_eq!(only(&start).0, "_hparams_/session_start_info");
        let info = content(&start).take_session_start_info();
        assert_eq!(info.get_start_time_secs(), 7.5);
        let values = info.get_hparams();
        assert_eq!((values.len(), values["a"].get_number_value()), (3, 0.5));
        assert_eq!((values["b"].get_bool_value(), values["c"].get_string_value()), (true, "adam"));
        let end = session_end(RunStatus::Failure, 9.0);
        assert_eq!(only(&end).0, "_hparams_/session_end_info");
        assert_eq!(content(&end).get_session_end_info().get_status(), Status::STATUS_FAILURE);
    }
}
