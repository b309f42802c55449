//! Texts from the command line, from lines and from JSON, assigned to the text columns of a model.

use std::ffi::OsStr;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::config::{Column, Config, ConfigError, Input};
use crate::data::{json_object, json_text, spelled, suggestion};
use crate::output::shell::quoted;
use crate::text::composed;

/// A `NAME=TEXT` argument.
#[derive(Clone, Debug)]
pub struct NamedText(String);

impl FromStr for NamedText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.contains('=') {
            true => Ok(Self(text.to_owned())),
            false => {
                Err(format!("found \"{text}\", expected NAME=TEXT, such as question=\"Who?\""))
            }
        }
    }
}

impl NamedText {
    /// The name, if it contains no `=`.
    fn name(&self) -> &str {
        self.0.split('=').next().unwrap_or_default().trim()
    }

    /// Returns the text if it is that of `name`, up to the composition of its characters.
    fn text_of(&self, name: &str) -> Option<&str> {
        let is_name = |found: &str| composed(found.trim()) == composed(name.trim());
        let mut names = self.0.match_indices('=').map(|(end, _)| self.0.split_at(end));
        let (_, text) = names.find(|(found, _)| is_name(found))?;
        text.strip_prefix('=')
    }
}

/// Text columns of a model.
pub struct TextColumns {
    /// Names as in the data files.
    names: Vec<String>,
    /// Name of the input that consists of the column, in place of which it can be used.
    aliases: Vec<Option<String>>,
    /// Data is read by the rules of lstmtext 0.1.
    first_rules: bool,
}

impl TextColumns {
    /// Returns the columns of the model with this configuration.
    pub fn of(config: &Config) -> Self {
        let inputs = &config.inputs;
        let names: Vec<String> = inputs.columns().into_iter().map(Column::key).collect();
        let alias = |name: &String| {
            let is_column =
                |input: &&Input| matches!(&input.columns.0[..], [column] if column.key() == *name);
            let alias = inputs.iter().find(is_column)?.name.clone();
            alias.filter(|alias| !names.contains(alias))
        };
        let aliases = names.iter().map(alias).collect();
        Self { names, aliases, first_rules: config.data.has_first_rules() }
    }

    /// Returns each column with the names that it can be given by.
    fn columns(&self) -> impl Iterator<Item = (&String, Vec<&str>)> {
        self.names.iter().zip(&self.aliases).map(|(name, alias)| {
            (name, [name.as_str()].into_iter().chain(alias.as_deref()).collect())
        })
    }

    /// Names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns true if there is only one column, so that texts need no name.
    pub fn is_single(&self) -> bool {
        self.names.len() == 1
    }

    /// Returns the texts of each column from the command line.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] if they do not fit the columns.
    pub fn from_arguments(
        &self,
        texts: Vec<String>,
        named: Vec<NamedText>,
    ) -> Result<Vec<Vec<String>>, ConfigError> {
        let columns = self.names.join(", ");
        if self.is_single() {
            return match named.first() {
                None => Ok(vec![texts]),
                Some(text) => Err(ConfigError::new(format!(
                    "--input {}: the model has a single text column; pass the text without --input",
                    text.name()
                ))),
            };
        }
        if !texts.is_empty() {
            return Err(ConfigError::new(format!(
                "the model has several text columns ({columns}); pass each text as --input NAME=TEXT"
            )));
        }
        let mut given: Vec<Option<String>> = vec![None; self.names.len()];
        for each in &named {
            let Some((column, text)) = self.find(each) else {
                let aliases: Vec<&str> =
                    self.aliases.iter().flatten().map(String::as_str).collect();
                let inputs = match &aliases[..] {
                    [] => String::new(),
                    names => format!(", and inputs named {}", names.join(", ")),
                };
                let known: Vec<&str> = self.columns().flat_map(|(_, names)| names).collect();
                return Err(ConfigError::new(format!(
                    "--input {name}: unknown text column; the model has {columns}{inputs}{}",
                    suggestion(each.name(), &known),
                    name = each.name(),
                )));
            };
            if given[column].replace(text.to_owned()).is_some() {
                let name = &self.names[column];
                return Err(ConfigError::new(format!("--input {name} is given more than once")));
            }
        }
        let text = |(name, text): (&String, Option<String>)| match text {
            Some(text) => Ok(vec![text]),
            None => {
                let name = quoted(name.as_ref());
                Err(ConfigError::new(format!("--input {name}=TEXT is missing")))
            }
        };
        self.names.iter().zip(given).map(text).collect()
    }

    /// Returns the index of the column that an argument names, and its text. A name may contain `=`,
    /// so the longest matches.
    fn find<'t>(&self, argument: &'t NamedText) -> Option<(usize, &'t str)> {
        let names = self.columns().enumerate().flat_map(|(index, (_, names))| {
            names.into_iter().map(move |name| (name.len(), index, name))
        });
        let matches = names
            .filter_map(|(length, index, name)| Some((length, index, argument.text_of(name)?)));
        matches.max_by_key(|(length, ..)| *length).map(|(_, index, text)| (index, text))
    }

    /// Parses lines, the first of which is line `first` of the file. Returns the texts of each
    /// column up to the first invalid line, and its error. With several columns, each line is a
    /// JSON object and empty lines are skipped.
    pub fn parse_lines(
        &self,
        lines: Vec<String>,
        first: usize,
    ) -> (Vec<Vec<String>>, Option<anyhow::Error>) {
        if self.is_single() {
            return (vec![lines], None);
        }
        let mut columns = vec![Vec::with_capacity(lines.len()); self.names.len()];
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match self.object(line).with_context(|| format!("line {} of the texts", first + number))
            {
                Err(error) => return (columns, Some(error)),
                Ok(texts) => {
                    for (column, text) in columns.iter_mut().zip(texts) {
                        column.push(text);
                    }
                }
            }
        }
        (columns, None)
    }

    /// Returns the text of each column of a JSON example: a string, or an object if there are
    /// several columns.
    ///
    /// # Errors
    /// Returns an error if it is neither or a column is missing.
    pub fn parse_json(&self, json: &str) -> anyhow::Result<Vec<String>> {
        match self.is_single() {
            true => match serde_json::from_str(json) {
                Ok(text) => Ok(vec![text]),
                // A string can be invalid JSON, such as one with half a surrogate pair.
                Err(error) if error.is_syntax() => bail!("expected a string: {error}"),
                Err(_) => bail!("expected a string"),
            },
            false => self.object(json),
        }
    }

    /// Parses an object with the text of each column, which may be a number or a boolean, as in training
    /// data.
    fn object(&self, json: &str) -> anyhow::Result<Vec<String>> {
        let expected =
            || format!("expected a JSON object with the fields {}", self.names.join(", "));
        let object =
            json_object(json, self.first_rules).map_err(|error| match error.classify() {
                // Such as a key that occurs twice.
                Category::Data if json.trim_start().starts_with('{') => {
                    anyhow!("{}: {error}", expected())
                }
                _ => anyhow!(expected()),
            })?;
        let text = |(name, names): (&String, Vec<&str>)| {
            let key = |name: &str| object.get(&*spelled(name, self.first_rules));
            let raw = names.into_iter().find_map(key);
            let raw = raw.ok_or_else(|| anyhow!("{}; \"{name}\" is missing", expected()))?;
            json_text(name, raw, self.first_rules).map_err(|message| anyhow!(message))
        };
        self.columns().map(text).collect()
    }

    /// Returns a JSON object with the text of each column.
    pub fn to_json(&self, texts: &[&str]) -> Map<String, Value> {
        self.names.iter().cloned().zip(texts.iter().map(|text| Value::from(*text))).collect()
    }

    /// Example of the arguments that pass a text.
    pub fn usage(&self) -> String {
        match self.is_single() {
            true => "\"Your text.\"".into(),
            false => {
                let argument = |name: &String| {
                    // A value that begins with a hyphen would be taken for an option.
                    let separator = if name.starts_with('-') { '=' } else { ' ' };
                    format!("--input{separator}{}=\"…\"", quoted(OsStr::new(name)))
                };
                self.names.iter().map(argument).collect::<Vec<_>>().join(" ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn columns(inputs: &str) -> TextColumns {
        let yaml = format!("data: {{train: x}}\ninputs: {inputs}\n");
        TextColumns::of(&config::parse(&yaml, "", &[]).unwrap().config)
    }

    fn texts(columns: &TextColumns, arguments: &[&str]) -> Result<Vec<Vec<String>>, String> {
        let named = arguments.iter().map(|argument| argument.parse().unwrap()).collect();
        columns.from_arguments(Vec::new(), named).map_err(|error| error.to_string())
    }

    #[test]
    fn texts_are_named_by_column_or_input() {
        let columns =
            columns("{story: {column: 'the = story'}, question: {}, more: {column: [a, b]}}");
        let expected = ["x=1", "y", "1", "2"].map(|text| vec![text.to_owned()]);
        for story in ["the = story=x=1", "story=x=1", " story =x=1"] {
            assert_eq!(texts(&columns, &[story, "question=y", "a=1", "b=2"]).unwrap(), expected);
        }
        let twice = texts(&columns, &["story=x", "the = story=x", "question=y", "a=1", "b=2"]);
        assert!(twice.unwrap_err().contains("given more than once"));
        let unknown = texts(&columns, &["more=x"]).unwrap_err();
        assert!(unknown.contains("--input more: unknown text column"), "{unknown}");
        assert!(unknown.ends_with("b, and inputs named story"), "{unknown}");
        let misspelt = texts(&columns, &["qestion=x"]).unwrap_err();
        assert!(misspelt.ends_with("story; did you mean question?"), "{misspelt}");
        let missing = texts(&columns, &["question=y", "a=1", "b=2"]).unwrap_err();
        assert_eq!(missing, "--input 'the = story'=TEXT is missing");
        let object = r#"{"story": "x=1", "question": "y", "a": "1", "b": 2}"#;
        assert_eq!(columns.parse_json(object).unwrap(), expected.concat());
    }

    #[test]
    fn a_column_takes_precedence_over_an_input_of_its_name() {
        let columns = columns("{a: {column: b}, b: {column: a}, c: {column: a=1}}");
        let expected = ["of b", "of a", "of a=1"].map(|text| vec![text.to_owned()]);
        assert_eq!(texts(&columns, &["a=of a", "b=of b", "a=1=of a=1"]).unwrap(), expected);
    }

    #[test]
    fn numbers_in_json_keep_their_spelling_as_in_training() {
        let columns = |version| {
            let yaml =
                format!("data: {{train: x, version: {version}}}\ninputs: {{a: {{}}, b: {{}}}}\n");
            TextColumns::of(&config::parse(&yaml, "", &[]).unwrap().config)
        };
        let json = r#"{"a": 1.10, "b": 1e3}"#;
        assert_eq!(columns(2).parse_json(json).unwrap(), ["1.10", "1e3"]);
        assert_eq!(columns(1).parse_json(json).unwrap(), ["1.1", "1000.0"]);
        let (texts, error) = columns(2).parse_lines(vec![json.into(), "{\"a\": null}".into()], 1);
        assert_eq!(texts, [["1.10"], ["1e3"]]);
        assert!(error.unwrap().to_string().contains("line 2 of the texts"));
    }

    #[test]
    fn names_are_equal_if_their_composed_characters_are() {
        for name in ["Schlu\u{308}ssel", "Schl\u{fc}ssel"] {
            let columns = columns(&format!("{{a: {{column: '{name}'}}, b: {{}}}}"));
            for given in ["Schlu\u{308}ssel", "Schl\u{fc}ssel"] {
                assert_eq!(
                    texts(&columns, &[&format!("{given}=x"), "b=y"]).unwrap(),
                    [["x"], ["y"]]
                );
                let json = format!("{{\"{given}\": \"x\", \"b\": \"y\"}}");
                assert_eq!(columns.parse_json(&json).unwrap(), ["x", "y"]);
            }
        }
    }

    #[test]
    fn keys_that_occur_twice_are_errors() {
        let error = columns("{a: {}, b: {}}").parse_json(r#"{"a": "x", "b": "y", "a": "z"}"#);
        assert!(error.unwrap_err().to_string().contains("found the key \"a\" more than once"));
    }

    #[test]
    fn the_usage_is_quoted_for_a_shell() {
        let columns = columns("{a: {column: it's it}, b: {column: '-x'}, c: {column: plain}}");
        let expected = r#"--input 'it'\''s it'="…" --input=-x="…" --input plain="…""#;
        assert_eq!(columns.usage(), expected);
    }
}
