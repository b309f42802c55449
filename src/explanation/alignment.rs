//! Alignment of the tokens of several models: the parts of a text that all of them agree on.

use std::ops::Range;

use crate::text::LocatedText;

/// A word of a text: tokens of every model at the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Byte range in the text. `None` for special tokens.
    pub span: Option<Range<usize>>,
    /// Indices of the tokens of each model.
    pub tokens: Vec<Vec<usize>>,
}

impl Unit {
    fn new(span: Option<Range<usize>>, models: usize) -> Self {
        Self { span, tokens: vec![Vec::new(); models] }
    }
}

/// Returns the units of a text, in order. `texts` has its tokens in each model. If all models split the text
/// alike, each token is a unit. Otherwise special tokens come first, and tokens that overlap form a unit.
pub(super) fn units(texts: &[&LocatedText]) -> Vec<Unit> {
    let spans = |text: &LocatedText| -> Vec<Option<Range<usize>>> {
        text.tokens.iter().map(|token| token.span.clone()).collect()
    };
    let first = spans(texts[0]);
    if texts[1..].iter().all(|text| spans(text) == first) {
        let unit = |(token, span)| Unit { span, tokens: vec![vec![token]; texts.len()] };
        return first.into_iter().enumerate().map(unit).collect();
    }
    let mut special: Vec<(u32, Unit)> = Vec::new();
    let mut located = Vec::new();
    for (model, text) in texts.iter().enumerate() {
        for (index, token) in text.tokens.iter().enumerate() {
            if let Some(span) = &token.span {
                located.push((span.start, span.end, model, index));
                continue;
            }
            let known = special.iter().position(|(id, _)| *id == token.id);
            let position = known.unwrap_or(special.len());
            if known.is_none() {
                special.push((token.id, Unit::new(None, texts.len())));
            }
            special[position].1.tokens[model].push(index);
        }
    }
    located.sort_unstable();
    let mut units: Vec<Unit> = special.into_iter().map(|(_, unit)| unit).collect();
    let mut end = 0;
    for (start, token_end, model, index) in located {
        let overlaps = start < end;
        end = end.max(token_end);
        match units.last_mut() {
            Some(Unit { span: Some(span), tokens }) if overlaps => {
                span.end = end;
                tokens[model].push(index);
            }
            _ => {
                let mut unit = Unit::new(Some(start..token_end), texts.len());
                unit.tokens[model].push(index);
                units.push(unit);
            }
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{LocatedToken, START};

    fn text(spans: &[Option<(usize, usize)>]) -> LocatedText {
        let token = |span: &Option<(usize, usize)>| LocatedToken {
            id: if span.is_none() { START } else { 4 },
            word: None,
            span: span.map(|(start, end)| start..end),
            unknown: None,
        };
        LocatedText { tokens: spans.iter().map(token).collect(), truncated: 0..0 }
    }

    #[test]
    fn tokens_are_units_if_all_models_split_alike() {
        let a = text(&[None, Some((0, 2)), Some((0, 2)), Some((3, 4))]);
        let units = units(&[&a, &a]);
        assert_eq!(units.len(), 4);
        assert_eq!(units[2], Unit { span: Some(0..2), tokens: vec![vec![2]; 2] });
    }

    #[test]
    fn overlapping_tokens_of_different_tokenizers_are_one_unit() {
        let words = text(&[Some((0, 3)), Some((4, 6))]);
        let letters =
            text(&[None, Some((0, 1)), Some((1, 3)), Some((4, 5)), Some((5, 6)), Some((6, 7))]);
        let expected = [
            Unit { span: None, tokens: vec![vec![], vec![0]] },
            Unit { span: Some(0..3), tokens: vec![vec![0], vec![1, 2]] },
            Unit { span: Some(4..6), tokens: vec![vec![1], vec![3, 4]] },
            Unit { span: Some(6..7), tokens: vec![vec![], vec![5]] },
        ];
        assert_eq!(units(&[&words, &letters]), expected);
    }
}
