//! FIFOs, sockets, links and directories in place of files: a command that reads reports them and never
//! waits for them, and one that writes keeps them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::common::{TestDir, assert_fails, stderr};
use super::training::Training;

fn fifo(path: &Path) {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

/// Runs a command that must end by itself, whether it succeeds or not.
fn ends(dir: &TestDir, line: &str) {
    let done = dir.lstmtext(line).timeout(Duration::from_secs(20)).assert();
    let message = stderr(&done);
    assert!(matches!(done.get_output().status.code(), Some(0..=2)), "{line}: {message}");
    assert!(!message.contains("panicked"), "{line}: {message}");
}

#[test]
fn no_file_of_a_run_makes_a_command_wait() {
    let dir = TestDir::with_run();
    let files = |directory: &str| {
        let names = dir.names(directory).into_iter();
        let paths = names.map(|name| format!("{directory}/{name}"));
        paths.filter(|path| dir.path(path).is_file()).collect::<Vec<_>>()
    };
    let mut names = [files("run"), files("run/best"), files("run/train")].concat();
    assert!(names.len() > 10, "{names:?}");
    names.extend(["run/.lock", "run/error.txt"].map(str::to_owned));
    for name in names {
        let path = dir.path(&name);
        let original = fs::read(&path).ok();
        let _ = fs::remove_file(&path);
        fifo(&path);
        let mut commands = vec!["runs .", "train --resume run"];
        if name.contains("best") {
            commands.push("predict run x");
        }
        if name.contains("events") {
            commands.push("plot run --to plots --no-words");
        }
        for command in commands {
            ends(&dir, command);
        }
        let _ = fs::remove_file(&path);
        if let Some(original) = original {
            fs::write(&path, original).unwrap();
        }
    }
}

#[test]
fn a_run_with_a_fifo_is_not_resumed_into_it() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set train.epochs=1");
    fs::remove_file(dir.path("run/metrics.jsonl")).unwrap();
    fifo(&dir.path("run/metrics.jsonl"));
    let resume = dir.lstmtext("train --resume run --set train.epochs=2");
    assert_fails(resume, 1, &["run/metrics.jsonl", "it is a FIFO, expected a regular file"]);
}

#[test]
fn inputs_that_are_no_regular_files_are_reported() {
    let dir = TestDir::with_data();
    fifo(&dir.path("fifo"));
    fifo(&dir.path("vectors.npz"));
    fs::create_dir(dir.path("directory")).unwrap();
    let _socket = UnixListener::bind(dir.path("socket")).unwrap();
    let is = |kind: &str| format!("it is {kind}, expected a regular file");
    for (path, kind) in [("fifo", "a FIFO"), ("socket", "a socket"), ("directory", "a directory")] {
        let fault = match path {
            "directory" => "has neither a subdirectory with .txt files".to_owned(),
            _ => is(kind),
        };
        assert_fails(dir.lstmtext(&format!("summary {path}")), 2, &[path, &fault]);
        let vocabulary = format!("train small.yaml --set text.vocabulary={path}");
        assert_fails(dir.lstmtext(&vocabulary), 1, &["text.vocabulary", &is(kind)]);
    }
    assert_fails(dir.lstmtext("summary /dev/zero"), 2, &[&is("a device")]);
    assert_fails(dir.lstmtext("sweep fifo --list"), 2, &[&is("a FIFO")]);
    for line in
        ["import small.yaml vectors.npz --to model", "runs fifo", "plot fifo", "predict fifo x"]
    {
        ends(&dir, line);
    }
}

#[test]
fn outputs_keep_links_fifos_and_temporary_files_of_the_user() {
    let dir = TestDir::with_run().file(".output.tmp", "precious");
    symlink("output", dir.path("link")).unwrap();
    for (name, command) in [
        ("vocabulary", "data vocab small.yaml --to"),
        ("errors.csv", "evaluate run --split test --errors"),
        ("states.npz", "states run neg0 --to"),
        ("states.svg", "states run neg0 --to"),
        ("page.html", "explain run neg0 --html"),
    ] {
        let (link, target) = (dir.path(&format!("link-{name}")), dir.path(&format!("to-{name}")));
        symlink(&target, &link).unwrap();
        dir.lstmtext(&format!("{command} link-{name}")).assert().success();
        assert!(fs::symlink_metadata(link).unwrap().is_symlink(), "{name}");
        let content = fs::read(target).unwrap();

        let through = dir.path(&format!("fifo-{name}"));
        fifo(&through);
        let path = through.clone();
        let reader = thread::spawn(move || fs::read(path).unwrap());
        dir.lstmtext(&format!("{command} fifo-{name}")).assert().success();
        assert_eq!(reader.join().unwrap(), content, "{name}");
        assert!(fs::metadata(through).unwrap().file_type().is_fifo(), "{name}");
    }
    dir.lstmtext("data vocab small.yaml --to output").assert().success();
    assert_eq!(dir.read(".output.tmp"), "precious");
    fs::create_dir(dir.path("plots")).unwrap();
    symlink("../curves", dir.path("plots/curves.svg")).unwrap();
    dir.lstmtext("plot run --to plots --no-words").assert().success();
    assert!(dir.read("curves").starts_with("<svg"));
}

#[test]
fn outputs_do_not_overwrite_inputs() {
    let dir = TestDir::with_run().file("page.html", "neg0\n").file("folder/neg/a.csv", "text");
    for link in ["page.csv", "page.npz", "vectors"] {
        symlink("page.html", dir.path(link)).unwrap();
    }
    let folder = "--set data.validation=folder";
    for (command, input) in [
        ("evaluate run --errors ./test.csv", "test.csv"),
        ("evaluate run --errors train.csv", "train.csv"),
        (&*format!("evaluate run --errors folder/neg/a.csv {folder}"), "folder"),
        ("evaluate run --data t*.csv --errors train.csv", "train.csv"),
        ("evaluate run --data page.html --errors page.csv", "page.html"),
        ("data vocab small.yaml --to train.csv", "train.csv"),
        ("data vocab small.yaml --to small.yaml", "small.yaml"),
        ("data vocab small.yaml --to vectors --set model.embedding.vectors=vectors", "vectors"),
        ("explain run --file page.html --html page.html", "page.html"),
        ("states run --file page.npz --to page.npz", "page.npz"),
    ] {
        assert_fails(dir.lstmtext(command), 2, &["would overwrite the input", input]);
    }
    // A new file would be an example.
    let dir = dir.file("folder/pos/b.txt", "text");
    for command in [
        "evaluate run --errors folder/neg/new.csv --set data.validation=folder",
        "data vocab small.yaml --to folder/neg/new.csv --set data.validation=folder",
    ] {
        assert_fails(dir.lstmtext(command), 2, &["would become a file of the input", "folder"]);
    }
    // The run of a data file whose name is that of a picture.
    fs::copy(dir.path("train.csv"), dir.path("curves.svg")).unwrap();
    let svg = "train small.yaml --out svg --set data.train=curves.svg --set data.format=csv --set \
               train.epochs=1";
    dir.lstmtext(svg).assert().success();
    let plot = dir.lstmtext("plot svg --to . --no-words");
    assert_fails(plot, 2, &["--to \"./curves.svg\" would overwrite the input"]);
    assert_eq!(dir.read("curves.svg"), dir.read("train.csv"));
    assert_eq!(dir.read("page.html"), "neg0\n");
    let dir = dir.file("words.json", "old");
    dir.lstmtext("data vocab small.yaml --to words.json").assert().success();
}

#[test]
fn missing_directories_of_outputs_are_created() {
    let dir = TestDir::with_run();
    for (command, output) in [
        ("evaluate run --errors new/a/errors.csv", "new/a/errors.csv"),
        ("explain run pos1 --html new/b/page.html", "new/b/page.html"),
        ("states run pos1 --to new/c/states.npz", "new/c/states.npz"),
        ("states run pos1 --to new/d/states.svg", "new/d/states.svg"),
        ("data vocab small.yaml --to new/e/words.json", "new/e/words.json"),
        ("data split small.yaml --to new/f/splits", "new/f/splits/train.jsonl"),
        ("export run --to new/g/weights.npz", "new/g/weights.npz"),
        ("export run --to new/h/exported", "new/h/exported/model.json"),
        ("export run --to new/k/model.onnx", "new/k/model.onnx"),
        ("import run new/g/weights.npz --to new/i/imported", "new/i/imported/model.safetensors"),
        ("plot run --to new/j/plots --no-words", "new/j/plots/curves.svg"),
    ] {
        dir.lstmtext(command).assert().success();
        assert!(dir.path(output).is_file(), "{command}");
    }
}

#[test]
fn output_on_stdout_is_not_overwritten() {
    let dir = TestDir::with_run();
    let written = |line: &str| {
        let file = fs::File::create(dir.path("out")).unwrap();
        let done = dir.process(line).stdout(file).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        dir.read("out")
    };
    dir.lstmtext("data vocab small.yaml --to vocabulary.json").assert().success();
    let vocabulary = written("data vocab small.yaml --to /dev/stdout");
    assert_eq!(vocabulary, dir.read("vocabulary.json"));
    dir.lstmtext("evaluate run --errors errors.jsonl").assert().success();
    symlink("/dev/stdout", dir.path("link.jsonl")).unwrap();
    let evaluation = written("evaluate run --errors link.jsonl");
    assert!(evaluation.contains(&dir.read("errors.jsonl")), "{evaluation}");
    assert!(evaluation.contains("accuracy"), "{evaluation}");
}

/// Starts a command that reads lines from stdin while it writes a file, and stops it in the middle.
fn stop_while_writing(dir: &TestDir, line: &str, signal: i32) {
    let mut command = dir.process(line);
    // A shell starts commands in the background with SIGINT ignored, and they would keep that.
    // SAFETY: signal is safe to call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
    let mut process = command.spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    writeln!(stdin, "pos1 n2").unwrap();
    let mut training = Training::of(process);
    let descriptors = format!("/proc/{}/fd", training.id());
    let directory = dir.path("").canonicalize().unwrap();
    // The file that is being written is the only one in the directory that stays open.
    training.wait_until(|| {
        let entries = std::fs::read_dir(&descriptors).into_iter().flatten().flatten();
        let opened = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        opened.filter(|path| path.parent() == Some(&directory)).count() > 0
    });
    let (code, stderr) = training.stop(signal);
    assert_eq!(code, None, "{line}: {stderr}");
    drop(stdin);
}

#[test]
fn a_command_that_is_stopped_leaves_no_part_of_its_output() {
    let dir = TestDir::with_run().file("old.csv", "old").file("old.jsonl", "old");
    let before = dir.names(".");
    for line in ["predict run --to old.csv", "predict run --to new.csv", "embed run --to old.jsonl"]
    {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGKILL] {
            stop_while_writing(&dir, line, signal);
            assert_eq!(dir.names("."), before, "{line}, signal {signal}");
            assert_eq!((dir.read("old.csv"), dir.read("old.jsonl")), ("old".into(), "old".into()));
        }
    }
}
