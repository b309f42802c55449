//! The layers of a model, by the names that `train.freeze` has for them.

use super::schema::{Config, Input};
use crate::output::format::{join_names, pluralize};

/// Kind of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// Word vectors.
    Embedding,
    /// LSTM layer with this index, from 0 at the bottom; all of its directions.
    Lstm(usize),
    /// Query of attention pooling.
    Attention,
    /// Linear branch over n-grams.
    Ngrams,
    /// Output layer.
    Head,
}

/// A layer with parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Index of its input; `None` for the head.
    pub input: Option<usize>,
    /// Kind of the layer.
    pub kind: LayerKind,
}

impl LayerKind {
    fn name(self) -> String {
        match self {
            Self::Embedding => "embedding".to_owned(),
            Self::Lstm(index) => format!("lstm.{index}"),
            Self::Attention => "attention".to_owned(),
            Self::Ngrams => "ngrams".to_owned(),
            Self::Head => "head".to_owned(),
        }
    }
}

impl Config {
    /// Returns all layers: those of each input from the bottom up, then the head.
    pub fn layers(&self) -> Vec<Layer> {
        let of_input = |(index, input): (usize, &Input)| {
            let mut kinds = Vec::new();
            if input.has_lstm() {
                kinds.push(LayerKind::Embedding);
                kinds.extend((0..input.lstm.layers).map(LayerKind::Lstm));
            }
            kinds.extend(input.has_attention().then_some(LayerKind::Attention));
            kinds.extend(input.ngrams.is_on().then_some(LayerKind::Ngrams));
            kinds.into_iter().map(move |kind| Layer { input: Some(index), kind })
        };
        let inputs = self.inputs.iter().enumerate().flat_map(of_input);
        inputs.chain([Layer { input: None, kind: LayerKind::Head }]).collect()
    }

    /// Returns the name of a layer, such as `lstm.0`, or `story.lstm.0` with several inputs.
    pub fn layer_name(&self, layer: Layer) -> String {
        let prefix = layer.input.map_or(String::new(), |input| self.inputs[input].prefix());
        prefix + &layer.kind.name()
    }

    /// Returns true if `name` is a name of the layer, in `train.freeze`. A name without an input, such as
    /// `embedding`, is one of this layer of every input.
    fn names_layer(&self, name: &str, layer: Layer) -> bool {
        name == layer.kind.name() || name == self.layer_name(layer)
    }

    /// Returns true if the layer is never trained.
    pub fn is_frozen(&self, layer: Layer) -> bool {
        let is_embedding = layer.kind == LayerKind::Embedding;
        let is_trainable = |input: usize| self.inputs[input].embedding.trainable;
        is_embedding && !layer.input.is_none_or(is_trainable)
            || self.train.freeze.iter().any(|name| self.names_layer(name, layer))
    }

    /// Number of layers above this one that a text passes. It is 0 for the head, and for the n-grams and
    /// the attention beside it.
    fn depth(&self, layer: Layer) -> usize {
        let layers = layer.input.map_or(0, |input| self.inputs[input].lstm.layers);
        match layer.kind {
            LayerKind::Embedding => layers + 1,
            LayerKind::Lstm(index) => layers - index,
            LayerKind::Attention | LayerKind::Ngrams | LayerKind::Head => 0,
        }
    }

    /// Index of the first epoch in which the layer is trained; `None` if it never is.
    pub fn first_epoch(&self, layer: Layer) -> Option<usize> {
        let every = self.train.unfreeze.every_epochs.unwrap_or(0);
        (!self.is_frozen(layer)).then(|| every.saturating_mul(self.depth(layer)))
    }

    /// Factor of the learning rate of a layer that is trained.
    pub fn rate_factor(&self, layer: Layer) -> f64 {
        let depth = i32::try_from(self.depth(layer)).unwrap_or(i32::MAX);
        self.train.layer_decay.powi(depth)
    }

    /// Returns true if each validation chooses the scales of the branches.
    pub fn scales_branches(&self) -> bool {
        let is_frozen = |layer: &Layer| {
            matches!(layer.kind, LayerKind::Head | LayerKind::Ngrams) && self.is_frozen(*layer)
        };
        self.train.scale_branches && self.has_two_branches() && !self.layers().iter().any(is_frozen)
    }

    /// Returns true if the LSTMs and the n-grams each learn from a loss of their own.
    pub fn separates_branches(&self) -> bool {
        self.train.separate_branches && self.has_two_branches()
    }

    /// Returns true if both an LSTM and n-grams contribute to the logits.
    fn has_two_branches(&self) -> bool {
        self.inputs.iter().any(Input::has_lstm)
            && self.inputs.iter().any(|input| input.ngrams.is_on())
    }

    /// Returns true if every layer is trained from the start with the same learning rate, up to
    /// `embedding.trainable`.
    pub fn trains_layers_alike(&self) -> bool {
        let train = &self.train;
        train.freeze.is_empty() && train.layer_decay == 1.0 && train.unfreeze.every_epochs.is_none()
    }

    /// Returns the faults of `train.freeze` and `train.unfreeze`.
    pub(super) fn layer_faults(&self) -> Vec<(String, String)> {
        let layers = self.layers();
        let is_known = |name: &&String| layers.iter().any(|layer| self.names_layer(name, *layer));
        let fault = |field: &str, message: String| vec![(field.to_owned(), message)];
        if let Some(unknown) = self.train.freeze.iter().find(|name| !is_known(name)) {
            let names: Vec<String> = layers.iter().map(|layer| self.layer_name(*layer)).collect();
            let names = join_names(&names);
            let message = format!("the model has no layer {unknown:?}; its layers are {names}");
            return fault("train.freeze", message);
        }
        let epochs: Vec<usize> =
            layers.iter().filter_map(|layer| self.first_epoch(*layer)).collect();
        let Some(first) = epochs.iter().min() else {
            let message = "freezes all layers, so that there is nothing to train";
            return fault("train.freeze", message.to_owned());
        };
        let message = match self.train.unfreeze.every_epochs {
            Some(_) if *first > 0 => format!(
                "no layer is trained in the first {}, because train.freeze freezes all that are trained \
                 from the start; remove one of them from train.freeze, or set this to null",
                pluralize(*first, "epoch")
            ),
            Some(_) if epochs.iter().all(|epoch| *epoch == 0) => {
                "has no effect, because no frozen layer is unfrozen: those in train.freeze, and \
                 embeddings that are not trainable, stay frozen; set this to null"
                    .to_owned()
            }
            _ => return Vec::new(),
        };
        fault("train.unfreeze.every_epochs", message)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, parse, parse_plain};

    fn config(train: &str) -> Config {
        let yaml = format!(
            "data: {{train: x}}\ninputs:\n  \
             story: {{lstm: {{layers: 2}}, pooling: [mean, attention]}}\n  \
             question: {{lstm: null, ngrams: {{sizes: [1]}}}}\ntrain: {{{train}}}\n"
        );
        parse_plain(&yaml).config
    }

    fn shown<T>(config: &Config, value: impl Fn(super::Layer) -> T) -> Vec<(String, T)> {
        let layers = config.layers();
        layers.iter().map(|layer| (config.layer_name(*layer), value(*layer))).collect()
    }

    #[test]
    fn rates_decrease_from_the_head_downwards() {
        let config = config("layer_decay: 0.5");
        let expected = [
            ("story.embedding", 0.125),
            ("story.lstm.0", 0.25),
            ("story.lstm.1", 0.5),
            ("story.attention", 1.0),
            ("question.ngrams", 1.0),
            ("head", 1.0),
        ];
        let expected = expected.map(|(name, factor)| (name.to_owned(), factor));
        assert_eq!(shown(&config, |layer| config.rate_factor(layer)), expected);
        assert!(!config.trains_layers_alike());
    }

    #[test]
    fn layers_are_unfrozen_from_the_top_unless_they_stay_frozen() {
        let config = config("unfreeze: {every_epochs: 2}, freeze: [embedding, story.lstm.0]");
        let expected = [
            ("story.embedding", None),
            ("story.lstm.0", None),
            ("story.lstm.1", Some(2)),
            ("story.attention", Some(0)),
            ("question.ngrams", Some(0)),
            ("head", Some(0)),
        ];
        let expected = expected.map(|(name, epoch)| (name.to_owned(), epoch));
        assert_eq!(shown(&config, |layer| config.first_epoch(layer)), expected);
    }

    #[test]
    fn layers_that_the_model_lacks_cannot_be_frozen() {
        let error = |train: &str| {
            let yaml = format!("data: {{train: x}}\nmodel: {{ngrams: null}}\ntrain: {{{train}}}\n");
            parse(&yaml, "test", &[]).unwrap_err().to_string()
        };
        let unknown = error("freeze: [embedding, lstm.1]");
        assert!(
            unknown.contains("no layer \"lstm.1\"; its layers are embedding, lstm.0, head"),
            "{unknown}"
        );
        let all = error("freeze: [embedding, lstm.0, head]");
        assert!(all.contains("nothing to train"), "{all}");
    }

    #[test]
    fn an_epoch_in_which_nothing_is_trained_is_rejected() {
        let parse = |model: &str, freeze: &str| {
            let train = format!("freeze: [{freeze}], unfreeze: {{every_epochs: 2}}");
            let yaml = format!("data: {{train: x}}\nmodel: {{{model}}}\ntrain: {{{train}}}\n");
            parse(&yaml, "test", &[]).map(drop).map_err(|error| error.to_string())
        };
        let lstm = |freeze: &str| parse("ngrams: null", freeze);
        let nothing = lstm("head").unwrap_err();
        assert!(nothing.contains("no layer is trained in the first 2 epochs"), "{nothing}");
        let nothing = lstm("head, lstm.0").unwrap_err();
        assert!(nothing.contains("no layer is trained in the first 4 epochs"), "{nothing}");
        // The n-grams are trained from the start.
        parse("ngrams: {sizes: [1]}", "head").unwrap();
        let useless = lstm("embedding, lstm.0").unwrap_err();
        assert!(useless.contains("train.unfreeze.every_epochs: has no effect"), "{useless}");
        lstm("embedding").unwrap();
        lstm("").unwrap();
    }
}
