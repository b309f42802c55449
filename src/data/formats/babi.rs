//! Reads bAbI question-answering tasks (Weston et al. 2015): stories interspersed with questions.
//!
//! Each line has a number that restarts at 1 with each story. A statement is
//! `3 Mary went to the garden.`; a question is `4 Where is Mary?⇥garden⇥3`, with the answer and the
//! supporting lines, which are ignored. Each question yields one example: the statements of its story
//! so far, the question, and the answer as the label.

use std::path::Path;

use anyhow::anyhow;

use super::excerpt::excerpt;
use super::lines::for_each_line;
use super::sink::{Sink, not_utf8};
use super::table::Layout;
use crate::config::DataConfig;

/// Names of the columns that an example has.
const COLUMNS: [&str; 3] = ["story", "question", "label"];

/// The story so far.
#[derive(Default)]
struct Story {
    /// Statements joined by spaces.
    text: String,
    /// Number of the last line within the story.
    number: u64,
    /// Line of the file on which the story begins.
    first_line: u64,
    questions: usize,
    /// Set after a broken line, whose number is unknown: any larger number may follow.
    resync: bool,
}

enum Line<'a> {
    Statement(&'a str),
    Question { question: &'a str, answer: &'a str },
}

/// Reads the file `path` into `sink`.
pub fn read(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    let header = COLUMNS.map(str::to_owned);
    let layout = Layout::find(Some(&header), config, sink.inputs, true)
        .map_err(|message| anyhow!("{}: {message}", path.display()))?;
    let mut story = Story::default();
    for_each_line(path, config, |line, bytes| {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let (number, content) = match parse(bytes) {
            Ok(parsed) => parsed,
            Err(message) => {
                story.resync = true;
                return sink.add(line, Err(message));
            }
        };
        if number == 1 {
            let finished =
                std::mem::replace(&mut story, Story { first_line: line, ..Story::default() });
            finished.check(sink)?;
        } else if number != story.number + 1 && !(story.resync && number > story.number) {
            let expected = match story.number {
                0 => "1".to_owned(),
                last => format!("{} or 1", last + 1),
            };
            let fault = format!("expected line number {expected}, found {number}");
            story.number = number;
            return sink.add(line, Err(fault));
        }
        (story.number, story.resync) = (number, false);
        match content {
            Line::Statement(statement) => {
                if !story.text.is_empty() {
                    story.text.push(' ');
                }
                story.text.push_str(statement);
                Ok(())
            }
            Line::Question { question: "", .. } => {
                sink.add(line, Err("the question is empty".into()))
            }
            Line::Question { question, .. } if story.text.is_empty() => {
                sink.add(line, Err(format!("no story precedes the question \"{question}\"")))
            }
            Line::Question { question, answer } => {
                story.questions += 1;
                let row = [story.text.as_bytes(), question.as_bytes(), answer.as_bytes()];
                sink.add(line, layout.row(&row, config))
            }
        }
    })?;
    story.check(sink)
}

impl Story {
    /// Rejects a story without questions: the file is probably truncated or in another format.
    fn check(&self, sink: &mut Sink) -> anyhow::Result<()> {
        match self.number > 0 && self.questions == 0 {
            true => sink.add(
                self.first_line,
                Err("the story that begins here has no question (a question has the form NUMBER \
                     QUESTION<TAB>ANSWER)"
                    .into()),
            ),
            false => Ok(()),
        }
    }
}

/// Parses the number and the content of a line.
fn parse(bytes: &[u8]) -> Result<(u64, Line<'_>), String> {
    let line = std::str::from_utf8(bytes).map_err(|_| not_utf8("the line"))?;
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
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("task.txt");
        std::fs::write(&path, content)?;
        let yaml = format!(
            "data: {{train: x, format: babi{fields}}}\ninputs: {{story: {{}}, question: {{}}}}\n"
        );
        tests::read(&path, &config::parse(&yaml, "test", &[])?.config)
    }

    const TASK: &str = "1 Mary went home.\n2 Where is Mary? \thome\t1\n3 John left.\n\
                        4 Where is Mary?\thome\t1 3\n1 Sandra sleeps.\n2 Who sleeps?\tSandra\t1\n";

    #[test]
    fn each_question_yields_the_story_so_far() {
        let read = read(TASK, "").unwrap();
        assert_eq!(
            read.texts,
            [
                ["Mary went home.", "Mary went home. John left.", "Sandra sleeps."],
                ["Where is Mary?", "Where is Mary?", "Who sleeps?"]
            ]
        );
        assert_eq!(
            (read.targets.clone(), read.label_names.clone()),
            (vec![0, 0, 1].into(), vec!["home".into(), "Sandra".into()])
        );
        assert_eq!(read.lines, [2, 4, 6]);
    }

    #[test]
    fn broken_stories_are_rejected_with_their_line() {
        let fault = |content: &str| {
            let error = format!("{:#}", read(content, "").unwrap_err());
            error.split_once("task.txt:").unwrap().1.to_owned()
        };
        assert!(fault("Mary went home.\n").starts_with("1: expected a line number"));
        assert!(fault("1 A.\n3 Who?\tA\t1\n").contains("expected line number 2 or 1, found 3"));
        assert!(fault("1 Who?\tA\t1\n").contains("no story precedes the question \"Who?\""));
        assert!(
            fault("1 A.\n2 B.\n1 C.\n2 Who?\tC\n").starts_with("1: the story that begins here")
        );
        assert!(fault("1 A.\n2 Who?\tA\n1 C.\n").starts_with("3: the story that begins here"));
        assert!(fault("1 A.\n2 \tA\t1\n").starts_with("2: the question is empty"));
        assert!(fault("2 A.\n").contains("expected line number 1, found 2"));
        assert!(fault("1 A.\n2 Who?\t\t1\n").starts_with("2: the label is empty"));
        let skipped = read("1 A.\nx\n2 Who?\tA\n1 B.\n", ", broken_lines: skip").unwrap();
        assert_eq!((skipped.len(), skipped.skipped), (1, 2));
    }
}
