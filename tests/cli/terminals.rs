//! Output on terminals of different widths, and without a terminal.

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::process::Command;

use lstmtext::output::width::display_width;

use crate::common::{TestDir, csv, examples, stderr, stdout};

/// Runs a command with a terminal of this width as stdout and stderr. Returns what it shows.
fn in_terminal(mut command: Command, columns: u16) -> String {
    let (mut master, mut slave) = (0, 0);
    let size = libc::winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointers are to two integers and a structure on the stack; null is allowed for the others.
    // The descriptors are new, so each File is the only owner of its own.
    let (mut terminal, end) = unsafe {
        let null = std::ptr::null_mut();
        assert_eq!(libc::openpty(&mut master, &mut slave, null, std::ptr::null(), &size), 0);
        (File::from_raw_fd(master), File::from_raw_fd(slave))
    };
    command.stdout(end.try_clone().unwrap()).stderr(end);
    command.env("NO_COLOR", "1").env("TERM", "xterm");
    let mut process = command.spawn().unwrap();
    // Its copies of the other end would keep the terminal open.
    drop(command);
    let mut shown = Vec::new();
    // Reading fails when the process has closed its side.
    let _ = terminal.read_to_end(&mut shown);
    assert!(process.wait().unwrap().success());
    String::from_utf8(shown).unwrap().replace("\r\n", "\n")
}

/// Creates a directory with a run whose labels are long, wide, or differ only in the middle.
fn with_long_labels() -> TestDir {
    let labels = [
        "plain".to_owned(),
        "消極的な評価".repeat(5),
        format!("{} one {}", "a ".repeat(60), "b ".repeat(60)),
        format!("{} two {}", "a ".repeat(60), "b ".repeat(60)),
    ];
    let mut labeled = examples(&["k0x", "k1x", "k2x", "k3x"], 200, 1);
    for (index, example) in labeled.iter_mut().enumerate() {
        example.label = labels[index % 4].clone();
    }
    let yaml = "data: {train: data.csv}\nmodel: {embedding: {size: 4}, lstm: {units: 4}}\n\
                train: {epochs: 2}\n";
    let dir = TestDir::new().file("data.csv", csv(&labeled)).file("c.yaml", yaml);
    dir.train("c.yaml --out run");
    dir
}

#[test]
fn tables_and_notes_fit_the_width_of_the_terminal() {
    let dir = with_long_labels();
    for columns in [40, 80, 120] {
        for line in [
            "evaluate run --split validation",
            "data stats c.yaml",
            "summary c.yaml",
            "predict run some_k1x1_text --top 3",
            "explain run k1x1_k2x2",
            "states run k1x1_k2x2",
            "states run k1x1_k2x2 --units 4",
            "runs .",
            "devices",
        ] {
            let shown = in_terminal(dir.process(line), columns);
            for shown in shown.lines() {
                let width = display_width(shown);
                assert!(width <= usize::from(columns), "{line}: {width} of {columns}: {shown}");
            }
        }
    }
}

#[test]
fn labels_that_are_shortened_alike_have_numbers_and_a_key() {
    let dir = with_long_labels();
    let done = dir.lstmtext("evaluate run --split validation").assert().success();
    let printed = stdout(&done);
    for (number, middle) in [("(1)", "one"), ("(2)", "two")] {
        let is_key = |line: &str| line.starts_with(number) && line.contains(middle);
        assert!(printed.lines().any(is_key), "{printed}");
    }
}

#[test]
fn without_a_terminal_validations_are_lines_of_a_log() {
    let dir = with_long_labels();
    let log = stderr(&dir.train("c.yaml --out again"));
    assert!(!log.contains('\r') && !log.contains('\u{1b}'), "{log}");
    let epochs: Vec<&str> = log.lines().filter(|line| line.starts_with("epoch ")).collect();
    assert_eq!(epochs.len(), 2, "{log}");
    assert!(epochs[0].starts_with("epoch 1/2: training loss "), "{log}");
    let shown = in_terminal(dir.process("train c.yaml --out third"), 80);
    assert!(shown.contains("epoch      loss    accuracy    loss    accuracy"), "{shown}");
}
