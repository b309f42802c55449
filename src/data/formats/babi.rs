//! The bAbI question-answering tasks (Weston et al. 2015): stories with questions in between.
//!
//! Every line is numbered, from 1 in each story. A statement is `3 Mary went to the garden.`, a
//! question `4 Where is Mary?⇥garden⇥3`: question, answer, and the lines that support it, which are
//! not used. Each question gives one example: the statements of its story so far, the question
//! itself, and the answer as the label.

use std::path::Path;

use anyhow::anyhow;

use super::lines::for_each_line;
use super::sink::{Sink, excerpt};
use super::table::Layout;
use crate::config::DataConfig;

/// The columns of an example.
const COLUMNS: [&str; 3] = ["story", "question", "label"];

/// The story that is being read.
#[derive(Default)]
struct Story {
    /// Its statements so far, joined by spaces.
    text: String,
    /// The number of its last line.
    number: u64,
    /// The line of the file that it began in.
    begins: u64,
    questions: usize,
    /// Whether the last line could not be read, so that any later number may follow.
    lost: bool,
}

/// What a line says.
enum Line<'a> {
    Statement(&'a str),
    Question { question: &'a str, answer: &'a str },
}

/// Reads the task in the file `path`.
pub fn read(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    let header = COLUMNS.map(str::to_owned);
    let layout = Layout::find(Some(&header), config, sink.inputs)
        .map_err(|message| anyhow!("\"{}\": {message}", path.display()))?;
    let mut story = Story::default();
    for_each_line(path, config, |line, bytes| {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let (number, content) = match parse(bytes) {
            Ok(parsed) => parsed,
            Err(message) => {
                story.lost = true;
                return sink.take(line, Err(message));
            }
        };
        if number == 1 {
            let finished =
                std::mem::replace(&mut story, Story { begins: line, ..Story::default() });
            finished.check(sink)?;
        } else if number != story.number + 1 && !(story.lost && number > story.number) {
            let expected = match story.number {
                0 => "1".to_owned(),
                last => format!("{} or 1", last + 1),
            };
            let fault = format!("expected line number {expected}, found {number}");
            story.number = number;
            return sink.take(line, Err(fault));
        }
        (story.number, story.lost) = (number, false);
        match content {
            Line::Statement(statement) => {
                if !story.text.is_empty() {
                    story.text.push(' ');
                }
                story.text.push_str(statement);
                Ok(())
            }
            Line::Question { question: "", .. } => {
                sink.take(line, Err("the question is empty".into()))
            }
            Line::Question { question, .. } if story.text.is_empty() => {
                sink.take(line, Err(format!("the question \"{question}\" has no story before it")))
            }
            Line::Question { question, answer } => {
                story.questions += 1;
                let row = [story.text.as_bytes(), question.as_bytes(), answer.as_bytes()];
                sink.take(line, layout.row(&row))
            }
        }
    })?;
    story.check(sink)
}

impl Story {
    /// Refuses a story that asks nothing: most likely the file is cut, or of another kind.
    fn check(&self, sink: &mut Sink) -> anyhow::Result<()> {
        match self.number > 0 && self.questions == 0 {
            true => sink.take(
                self.begins,
                Err("the story that begins here has no question (a question line is NUMBER \
                     QUESTION<TAB>ANSWER)"
                    .into()),
            ),
            false => Ok(()),
        }
    }
}

/// The number and the content of a line.
fn parse(bytes: &[u8]) -> Result<(u64, Line<'_>), String> {
    let line = std::str::from_utf8(bytes).map_err(|_| "found bytes that are not UTF-8")?;
    let numbered = line.trim_start().split_once(' ');
    let (number, content) =
        numbered.and_then(|(number, content)| Some((number.parse().ok()?, content))).ok_or_else(
            || format!("expected a line number and a sentence, found {:?}", excerpt(line)),
        )?;
    let mut fields = content.split('\t').map(str::trim);
    let first = fields.next().unwrap_or_default();
    Ok(match fields.next() {
        Some(answer) => (number, Line::Question { question: first, answer }),
        None => (number, Line::Statement(first)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests;
    use crate::config;

    fn read(content: &str, fields: &str) -> anyhow::Result<tests::Read> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("task.txt");
        std::fs::write(&path, content)?;
        let yaml = format!(
            "data: {{train: x, format: babi{fields}}}\ninputs: {{story: {{}}, question: {{}}}}\n"
        );
        tests::read(&path, &config::parse(&yaml, "test", &[])?.config)
    }

    const TASK: &str = "1 Mary went home.\n2 Where is Mary? \thome\t1\n3 John left.\n\
                        4 Where is Mary?\thome\t1 3\n1 Sandra sleeps.\n2 Who sleeps?\tSandra\t1\n";

    #[test]
    fn a_question_comes_with_its_story_so_far() {
        let read = read(TASK, "").unwrap();
        assert_eq!(
            read.texts,
            [
                ["Mary went home.", "Mary went home. John left.", "Sandra sleeps."],
                ["Where is Mary?", "Where is Mary?", "Who sleeps?"]
            ]
        );
        assert_eq!(
            (read.labels.clone(), read.names.clone()),
            (vec![0, 0, 1], vec!["home".into(), "Sandra".into()])
        );
        assert_eq!(read.lines, [2, 4, 6]);
    }

    #[test]
    fn broken_stories_are_refused_with_their_line() {
        let fault = |content: &str| {
            let error = format!("{:#}", read(content, "").unwrap_err());
            error.split_once("\": ").unwrap().1.to_owned()
        };
        assert!(fault("Mary went home.\n").starts_with("line 1: expected a line number"));
        assert!(fault("1 A.\n3 Who?\tA\t1\n").contains("expected line number 2 or 1, found 3"));
        assert!(fault("1 Who?\tA\t1\n").contains("\"Who?\" has no story before it"));
        assert!(
            fault("1 A.\n2 B.\n1 C.\n2 Who?\tC\n")
                .starts_with("line 1: the story that begins here")
        );
        assert!(fault("1 A.\n2 Who?\tA\n1 C.\n").starts_with("line 3: the story that begins here"));
        assert!(fault("1 A.\n2 \tA\t1\n").starts_with("line 2: the question is empty"));
        assert!(fault("2 A.\n").contains("expected line number 1, found 2"));
        assert!(fault("1 A.\n2 Who?\t\t1\n").starts_with("line 2: the label is empty"));
        let skipped = read("1 A.\nx\n2 Who?\tA\n1 B.\n", ", broken_lines: skip").unwrap();
        assert_eq!((skipped.len(), skipped.skipped), (1, 2));
    }
}
