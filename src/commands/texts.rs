//! Texts from the command line and from lines, put in the order of a model's inputs.

use std::str::FromStr;

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::{Map, Value};

use crate::config::Input;

/// `NAME=TEXT`.
#[derive(Clone, Debug)]
pub struct NamedText {
    name: String,
    text: String,
}

impl FromStr for NamedText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, text) = text
            .split_once('=')
            .ok_or_else(|| format!("found \"{text}\", expected NAME=TEXT, as question=\"Who?\""))?;
        Ok(Self { name: name.trim().into(), text: text.into() })
    }
}

/// The names of a model's inputs; none where it has only one.
pub struct InputNames(pub Vec<String>);

impl InputNames {
    /// The names of these inputs.
    pub fn of(inputs: &[Input]) -> Self {
        Self(inputs.iter().filter_map(|input| input.name.clone()).collect())
    }

    /// What was given on the command line, for each input its texts.
    pub fn given(
        &self,
        texts: Vec<String>,
        named: Vec<NamedText>,
    ) -> anyhow::Result<Vec<Vec<String>>> {
        if self.0.is_empty() {
            ensure!(
                named.is_empty(),
                "--input {}: the checkpoint reads one text, which has no name; give it without \
                 --input",
                named[0].name
            );
            return Ok(vec![texts]);
        }
        ensure!(
            texts.is_empty(),
            "the checkpoint reads several inputs, {}: give each as --input NAME=TEXT",
            self.0.join(", ")
        );
        self.check(&named)?;
        let text = |name: &String| {
            let mut found = named.iter().filter(|text| text.name == *name);
            match (found.next(), found.next()) {
                (Some(text), None) => Ok(vec![text.text.clone()]),
                (None, _) => Err(anyhow!("--input {name}=TEXT is missing")),
                (Some(_), Some(_)) => Err(anyhow!("--input {name} is given twice")),
            }
        };
        self.0.iter().map(text).collect()
    }

    /// What was given on the command line, each text with the number of its input.
    pub fn numbered(
        &self,
        texts: Vec<String>,
        named: Vec<NamedText>,
    ) -> anyhow::Result<Vec<(usize, String)>> {
        if self.0.is_empty() || !texts.is_empty() {
            let texts = self.given(texts, named)?.swap_remove(0);
            return Ok(texts.into_iter().map(|text| (0, text)).collect());
        }
        self.check(&named)?;
        let number = |name: &str| self.0.iter().position(|known| known == name);
        Ok(named.into_iter().filter_map(|named| Some((number(&named.name)?, named.text))).collect())
    }

    fn check(&self, named: &[NamedText]) -> anyhow::Result<()> {
        match named.iter().find(|text| !self.0.contains(&text.name)) {
            Some(unknown) => {
                bail!("--input {}: the checkpoint reads {}", unknown.name, self.0.join(", "))
            }
            None => Ok(()),
        }
    }

    /// Lines from number `first` on as examples: for each input its texts.
    pub fn parsed(&self, lines: Vec<String>, first: usize) -> anyhow::Result<Vec<Vec<String>>> {
        if self.0.is_empty() {
            return Ok(vec![lines]);
        }
        let mut texts = vec![Vec::with_capacity(lines.len()); self.0.len()];
        for (number, line) in lines.iter().enumerate() {
            let row =
                self.row(line).with_context(|| format!("line {} of the texts", first + number))?;
            for (texts, text) in texts.iter_mut().zip(row) {
                texts.push(text);
            }
        }
        Ok(texts)
    }

    /// The texts of a JSON object.
    fn row(&self, line: &str) -> anyhow::Result<Vec<String>> {
        let expected = || format!("expected a JSON object with the texts {}", self.0.join(", "));
        let object: Map<String, Value> = serde_json::from_str(line).with_context(expected)?;
        let text = |name: &String| match object.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(anyhow!("\"{name}\" is no text")),
            None => Err(anyhow!("{}, \"{name}\" is missing", expected())),
        };
        self.0.iter().map(text).collect()
    }

    /// The texts of an example under their names; the only one is called text.
    pub fn keyed(&self, texts: &[&str]) -> Map<String, Value> {
        let names = match self.0.is_empty() {
            true => &["text".to_owned()][..],
            false => &self.0,
        };
        names.iter().cloned().zip(texts.iter().map(|text| Value::from(*text))).collect()
    }
}
