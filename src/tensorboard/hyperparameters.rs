//! The configuration as hyperparameters for the HParams dashboard.

use serde_yaml::Value;

use crate::config::{Field, inline_yaml};
use crate::events::summaries::Hyperparameter;

/// Returns every field of the configuration with its name, except those that configure TensorBoard.
pub fn hyperparameters(fields: &[Field]) -> Vec<(String, Hyperparameter)> {
    let values = fields.iter().filter(|field| !field.is_section());
    let named = values.map(|field| (field.path.join("."), value(&field.value)));
    named.filter(|(name, _)| !name.starts_with("train.tensorboard.")).collect()
}

/// Converts a value. Everything but numbers and booleans becomes text, even null: TensorBoard does not
/// distinguish runs in which a hyperparameter has a value from runs in which it is missing.
fn value(value: &Value) -> Hyperparameter {
    match value {
        Value::Number(number) => Hyperparameter::Number(number.as_f64().unwrap_or(f64::NAN)),
        Value::Bool(bool) => Hyperparameter::Bool(*bool),
        Value::String(text) => Hyperparameter::Text(text.clone()),
        other => Hyperparameter::Text(inline_yaml(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn values_keep_their_types() {
        let yaml = "data: {train: /x.csv, label_names: {0: neg}}\ntrain: {seed: 7, epochs: 2}\n";
        let resolved = config::parse(yaml, "test", &[]).unwrap();
        let hyperparameters = hyperparameters(&resolved.fields);
        let of = |name: &str| {
            hyperparameters.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone())
        };
        assert_eq!(of("train.seed"), Some(Hyperparameter::Number(7.0)));
        assert_eq!(of("train.learning_rate"), Some(Hyperparameter::Number(0.002)));
        assert_eq!(of("model.lstm.bidirectional"), Some(Hyperparameter::Bool(true)));
        assert_eq!(of("data.train"), Some(Hyperparameter::Text("/x.csv".into())));
        assert_eq!(of("data.label_names"), Some(Hyperparameter::Text("{\"0\": neg}".into())));
        assert_eq!(of("train.token_budget"), Some(Hyperparameter::Text("null".into())));
        assert_eq!(of("inputs"), Some(Hyperparameter::Text("{}".into())));
        assert_eq!((of("train"), of("train.tensorboard.predictions")), (None, None));
    }
}
