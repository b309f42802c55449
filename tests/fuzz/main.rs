//! Reading a file or a request with arbitrary content returns a result or an error, and never panics.
//!
//! Each target mutates valid files at random for FUZZ_SECONDS (0.3 by default, 600 in `make fuzz`). An
//! input that causes a panic is shrunk and printed.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use lstmtext::config::{self, Resolved, Sweep};
use lstmtext::data;
use lstmtext::io::files::sha256;
use lstmtext::model::named_tensors::{self, NamedTensor};
use lstmtext::sweep::SweepDirectory;
use lstmtext::text::{Vocabulary, read_vectors};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// A mutation of a file.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Repeat(Index, Index, u8),
    Truncate(Index),
}

/// Bytes with a meaning in one of the formats.
const TOKENS: [&[u8]; 24] = [
    b"\n",
    b"\r\n",
    b"\"",
    b",",
    b"\t",
    b"\0",
    b"\xFF",
    b"\xEF\xBB\xBF",
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"- ",
    b"&a ",
    b"*a",
    b"!!binary ",
    b"-1",
    b"1e999",
    b".nan",
    b"9999999999999999999999",
    b"__label__",
    b"\xC3\x28",
    b"\x80\x80\x80\x80",
];

fn mutation() -> impl Strategy<Value = Mutation> {
    let token = (0..TOKENS.len()).prop_map(|index| TOKENS[index].to_vec());
    let bytes = prop_oneof![token, vec(any::<u8>(), 1..9)];
    prop_oneof![
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (any::<Index>(), bytes).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Remove(from, to)),
        (any::<Index>(), any::<Index>(), 1_u8..40).prop_map(|(a, b, n)| Mutation::Repeat(a, b, n)),
        any::<Index>().prop_map(Mutation::Truncate),
    ]
}

fn mutate(file: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for mutation in mutations {
        let end = bytes.len() + 1;
        let between = |a: &Index, b: &Index| {
            let (a, b) = (a.index(end), b.index(end));
            a.min(b)..a.max(b)
        };
        match mutation {
            Mutation::Flip(at, bit) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Mutation::Flip(..) => {}
            Mutation::Insert(at, more) => {
                let at = at.index(end);
                bytes.splice(at..at, more.iter().copied());
            }
            Mutation::Remove(from, to) => {
                bytes.drain(between(from, to));
            }
            Mutation::Repeat(from, to, times) => {
                let range = between(from, to);
                let repeated = bytes[range.clone()].repeat(usize::from(*times));
                if repeated.len() < 1 << 16 {
                    bytes.splice(range, repeated);
                }
            }
            Mutation::Truncate(at) => bytes.truncate(at.index(end)),
        }
    }
    bytes
}

/// Reads mutated files until the time is up. `read` returns true if it accepts a file.
fn fuzz(target: &str, corpus: &[Vec<u8>], read: impl Fn(&[u8]) -> bool) {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let time = Duration::from_secs_f64(seconds.unwrap_or(0.3));
    assert!(corpus.iter().all(|file| read(file)), "{target}: a valid file is rejected");
    let start = Instant::now();
    let (mut files, mut accepted) = (0_u64, 0_u64);
    let strategy = (any::<Index>(), vec(mutation(), 1..9));
    while start.elapsed() < time {
        let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
        let counts = std::cell::Cell::new((0, 0));
        TestRunner::new(config)
            .run(&strategy, |(file, mutations)| {
                let accepted = read(&mutate(&corpus[file.index(corpus.len())], &mutations));
                let (files, good) = counts.get();
                counts.set((files + 1, good + u64::from(accepted)));
                Ok(())
            })
            .unwrap_or_else(|fault| panic!("{target}: {fault}"));
        let (more, good) = counts.get();
        (files, accepted) = (files + more, accepted + good);
    }
    println!("{target}: {files} files, {accepted} accepted, {:.1} s", time.as_secs_f64());
    assert!(accepted < files, "{target}: every mutated file is accepted");
}

fn resolved(yaml: &str) -> Resolved {
    config::parse(yaml, "fuzz", &[]).unwrap()
}

/// Much of what YAML has.
const FEATURES: &[u8] = b"\xEF\xBB\xBF%YAML 1.1\n--- # first\ndata: &d\n  train: !!str 1.10\n  ? filter\n  : {\"a b\": \
    1.10, 'it''s': ~, \"\\x41\\u00e9\": True}\n  label_names:\n    0: >-\n      folded\n      text\n    1: |2\n      \
    literal\n  labels: [a, &b \"b\", ]\ninputs:\n  x: &x\n    text: {max_length: 0x10}\n    column: [1.10, 2]\n  y:\n    \
    <<: [*x, {pooling: mean}]\n...\n";

#[test]
fn configurations() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut corpus: Vec<Vec<u8>> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    corpus.push(resolved("data: {train: x}\n").to_yaml().into_bytes());
    corpus.push(FEATURES.to_vec());
    fuzz("configurations", &corpus, |bytes| {
        let Ok(yaml) = std::str::from_utf8(bytes) else { return false };
        let Ok(first) = config::parse(yaml, "fuzz", &[]) else { return false };
        // The printed configuration equals the original.
        let printed = first.to_yaml();
        let second = config::parse(&printed, "fuzz", &[]).unwrap();
        assert_eq!(first.config, second.config);
        assert_eq!(printed, second.to_yaml());
        true
    });
}

const SWEEPS: [&[u8]; 2] = [
    b"data: {train: x}\nsweep:\n  model.lstm.units: [32, 64]\n  cases: [{}, {train.epochs: 5}]\n  seed: [1, 2]\n",
    b"data: {train: x}\nsweep:\n  trials: 9\n  search_seed: 2\n  model.head.dropout: {uniform: [0, 0.5]}\n  \
      train.learning_rate: {log_uniform: [1e-4, 1e-2]}\n  model.lstm.units: {log_integers: [1, 9]}\n",
];

#[test]
fn sweeps() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("many.yaml");
    let corpus: Vec<Vec<u8>> = SWEEPS.iter().map(|file| file.to_vec()).collect();
    fuzz("sweeps", &corpus, |bytes| {
        fs::write(&path, bytes).unwrap();
        let Ok(sweep) = Sweep::load(&path, &[]) else { return false };
        let again = Sweep::load(&path, &[]).unwrap();
        assert_eq!(sweep.points, again.points);
        let sweep = SweepDirectory::new(sweep, directory.path());
        let mut names = HashSet::new();
        for run in &sweep.runs {
            assert!(sweep.resolve(run).unwrap().config.sweep.is_empty());
            assert!(names.insert(&run.name), "duplicate name {}", run.name);
        }
        true
    });
}

/// Reads mutated files of a format.
fn fuzz_data(extension: &str, fields: &str, corpus: &[&[u8]]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("file.{extension}"));
    let inputs = if fields.contains("babi") { "inputs: {story: {}, question: {}}\n" } else { "" };
    let yaml = |broken: &str| {
        format!("data: {{train: x, broken_lines: {broken}, max_unpacked_mb: 1{fields}}}\n{inputs}")
    };
    let configs = ["error", "skip"].map(|broken| resolved(&yaml(broken)).config);
    let corpus: Vec<Vec<u8>> = corpus.iter().map(|file| file.to_vec()).collect();
    fuzz(extension, &corpus, |bytes| {
        fs::write(&path, bytes).unwrap();
        let [strict, lenient] = [0, 1].map(|number| data::read_texts(&path, &configs[number]));
        // A file that is accepted without skipping broken rows has none.
        if let (Ok((strict, _)), Ok((lenient, _))) = (&strict, &lenient) {
            assert_eq!(strict.labels, lenient.labels);
        }
        strict.is_ok_and(|(rows, _)| !rows.is_empty())
    });
}

const CSV: &[u8] = b"text,label\na b,x\n\"c, \"\"d\"\"\ne\",y\n,x\n";

#[test]
fn csv() {
    let quotes: &[u8] = b"text,label\n\"a\nb,x\nc\",x\n\"d\" ,x\ne 5\",x\n";
    fuzz_data("csv", "", &[CSV, quotes, b"\xEF\xBB\xBFlabel,text\r\nx,a\r\ny,\"b\r\nc\"\r\n"]);
}

#[test]
fn tsv() {
    fuzz_data("tsv", "", &[b"text\tlabel\na \"b\tx\nc\ty\n"]);
}

#[test]
fn json_lines() {
    fuzz_data(
        "jsonl",
        "",
        &[b"{\"text\": \"a\\u00e9\", \"label\": 1}\n\n{\"label\": true, \"text\": 2}\n"],
    );
}

#[test]
fn fasttext() {
    fuzz_data("txt", "", &[b"__label__a some text\n__label__b\n  __label__a , x label\n"]);
}

#[test]
fn babi() {
    fuzz_data(
        "babi",
        ", format: babi",
        &[b"1 A b.\n2 Who?\tA\t1\n3 C d.\n4 Who?\tC\t3\n1 E.\n2 F?\tE\n"],
    );
}

#[test]
fn compressed() {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, CSV).unwrap();
    fuzz_data("csv.gz", "", &[&gz.finish().unwrap()]);
    fuzz_data("csv.zst", "", &[&zstd::stream::encode_all(CSV, 1).unwrap()]);
}

#[test]
fn word_vectors() {
    let directory = tempfile::tempdir().unwrap();
    let words = ["<pad>", "<start>", "<oov>", "<unused>", "the", "a"].map(str::to_owned);
    let words = Vocabulary::from_words(words.to_vec()).unwrap();
    let read = |path: &Path| read_vectors(path, &words, 2, 1).is_ok();
    let text = directory.path().join("vectors.txt");
    let corpus =
        [&b"the 1 2\na -0.5 1e3\nof 0 0\n"[..], b"2 2\nthe 1 2 \na 3 4\n"].map(<[u8]>::to_vec);
    fuzz("word vectors, text", &corpus, |bytes| {
        fs::write(&text, bytes).unwrap();
        read(&text)
    });
    let npy = directory.path().join("matrix.npy");
    fs::write(directory.path().join("matrix.txt"), "the\na\n").unwrap();
    let mut header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }".to_vec();
    header.resize(117, b' ');
    header.push(b'\n');
    let numbers: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|n| n.to_le_bytes()).collect();
    let matrix = [&b"\x93NUMPY\x01\x00"[..], &118_u16.to_le_bytes(), &header, &numbers].concat();
    fuzz("word vectors, matrix", &[matrix], |bytes| {
        fs::write(&npy, bytes).unwrap();
        read(&npy)
    });
}

/// Creates a tensor of halves.
fn tensor(name: &str, shape: &[usize]) -> NamedTensor {
    let values = vec![0.5; shape.iter().product()];
    NamedTensor { name: name.into(), shape: shape.to_vec(), values }
}

#[test]
fn weights() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.safetensors");
    named_tensors::write(&path, &[tensor("a", &[2, 3]), tensor("b", &[]), tensor("c", &[0])])
        .unwrap();
    let corpus = [fs::read(&path).unwrap()];
    fuzz("weights", &corpus, |bytes| {
        fs::write(&path, bytes).unwrap();
        named_tensors::read(&path).is_ok()
    });
}

/// Creates a checkpoint of a tiny model.
fn save_checkpoint(path: &Path) {
    use lstmtext::run::checkpoint::{self, Contents};
    use lstmtext::run::progress::Progress;
    use lstmtext::text::Encoders;

    let resolved = resolved(
        "data: {train: x}\ntext: {min_count: 1}\nmodel: {embedding: {size: 2}, lstm: {units: 1}}\n",
    );
    let columns = [vec!["a b".to_owned(), "b c".to_owned()]];
    let encoders = Encoders::from_texts(&resolved.config.inputs, &columns).unwrap();
    let weights = vec![
        tensor("embedding.weight", &[7, 2]),
        tensor("lstm.weight_ih_l0", &[4, 2]),
        tensor("lstm.weight_hh_l0", &[4, 1]),
        tensor("lstm.bias_ih_l0", &[4]),
        tensor("lstm.bias_hh_l0", &[4]),
        tensor("head.weight", &[1, 1]),
        tensor("head.bias", &[1]),
    ];
    let labels = ["x".to_owned(), "y".to_owned()];
    let contents = Contents {
        resolved: &resolved,
        labels: &labels,
        encoders: &encoders,
        optimizer_state: weights.clone(),
        weights,
        progress: &Progress::default(),
    };
    checkpoint::save(path, &contents).unwrap();
}

/// Mutates the files of a checkpoint and updates their hashes, as an attacker would.
#[test]
fn checkpoints() {
    use lstmtext::backend::native::NativeInference;
    use lstmtext::run::checkpoint::Checkpoint;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("best");
    save_checkpoint(&path);
    let manifest = fs::read_to_string(path.join("checkpoint.json")).unwrap();
    for name in ["config.yaml", "vocabulary.json", "progress.json", "model.safetensors"] {
        let whole = fs::read(path.join(name)).unwrap();
        let entry = |bytes: &[u8]| {
            let hash = sha256(bytes).unwrap();
            format!("\"bytes\": {},\n      \"sha256\": \"{hash}\"", bytes.len())
        };
        fuzz(&format!("checkpoints, {name}"), std::slice::from_ref(&whole), |bytes| {
            let (start, _) = manifest.rsplit_once("\"sha256\"").unwrap();
            let unsealed = start.replace(&entry(&whole), &entry(bytes)) + "\"sha256\": \"\"\n}\n";
            let seal = format!("\"sha256\": \"{}\"\n}}\n", sha256(unsealed.as_bytes()).unwrap());
            fs::write(
                path.join("checkpoint.json"),
                unsealed.replace("\"sha256\": \"\"\n}\n", &seal),
            )
            .unwrap();
            fs::write(path.join(name), bytes).unwrap();
            let Ok(checkpoint) = Checkpoint::open(&path) else { return false };
            checkpoint.progress().is_ok()
                && checkpoint.optimizer_state().is_ok()
                && checkpoint
                    .weights()
                    .and_then(|weights| NativeInference::new(&checkpoint.model_spec(), weights))
                    .is_ok()
        });
        fs::write(path.join(name), whole).unwrap();
    }
}

/// Mutates the files of a run directory, which commands read without verifying them.
#[test]
fn run_directories() {
    use lstmtext::events::{self, EventWriter, LOSS, SubRun};
    use lstmtext::objective::metrics::Score;
    use lstmtext::run::checkpoint;
    use lstmtext::run::directory::RunDirectory;
    use lstmtext::run::listing;
    use lstmtext::run::new_run::NewRun;
    use lstmtext::run::progress::{Best, Progress};
    use lstmtext::run::records::ValidationRecord;
    use lstmtext::run::report::RunReport;
    use lstmtext::run::summary::RunSummary;

    let directory = tempfile::tempdir().unwrap();
    let run = RunDirectory::open(&directory.path().join("run"));
    NewRun::create(run.path(), &resolved("data: {train: x}\n").to_yaml()).unwrap().begin();
    let validation = Score { loss: 0.5, accuracy: 0.75 };
    for epoch in 1..=3 {
        let step = 10 * epoch as u64;
        let learning_rate = 0.1;
        let train = validation;
        run.append_record(&ValidationRecord { epoch, step, train, validation, learning_rate }, 1.5)
            .unwrap();
    }
    let mut summary: RunSummary = serde_json::from_str(
        "{\"parameters\": 7, \"best_epoch\": 2, \"seconds\": 9.5, \"tokens_per_second\": 100.0, \
         \"validation\": {\"loss\": 0.5, \"accuracy\": 0.75}, \"test\": null}",
    )
    .unwrap();
    summary.test = Some(validation);
    run.write_summary(&summary).unwrap();
    run.write_error(&anyhow::anyhow!("disk full"));
    let progress = Progress {
        epoch: 3,
        step: 30,
        seconds: 4.5,
        best: Some(Best { epoch: 2, validation }),
        waited: 1,
        ..Progress::default()
    };
    fs::create_dir(run.last()).unwrap();
    fs::write(run.last().join("checkpoint.json"), "{}").unwrap();
    fs::write(run.last().join("progress.json"), serde_json::to_vec(&progress).unwrap()).unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH;
    let mut events = EventWriter::create(&SubRun::Train.directory(run.path()), now).unwrap();
    (1..=3).for_each(|step| events.scalar(LOSS, 0.5, step, now).unwrap());
    events.sync().unwrap();
    let event_file = events::first_file(run.path()).unwrap();
    let names = ["metrics.jsonl", "times.jsonl", "summary.json", "error.txt", "last/progress.json"];
    let paths = names.into_iter().map(|name| run.path().join(name)).chain([event_file]);
    let files: Vec<_> = paths.map(|path| (fs::read(&path).unwrap(), path)).collect();
    for (whole, path) in &files {
        let name = path.strip_prefix(run.path()).unwrap().display();
        fuzz(&format!("run directories, {name}"), std::slice::from_ref(whole), |bytes| {
            fs::write(path, bytes).unwrap();
            let _ = RunReport::read(run.path());
            assert_eq!(listing::find(directory.path()).unwrap(), [run.path()]);
            if let Ok(mut progress) = checkpoint::progress(&run.last()) {
                progress.advance(progress.batch + 1);
            }
            let _ = events::scalars(run.path(), SubRun::Train, [LOSS]);
            // Flushes to disk, which takes long.
            if bytes.len().is_multiple_of(32) {
                let records = run.records().unwrap();
                run.truncate_to_step(20, "data: {train: x}\n").unwrap();
                assert!(run.records().unwrap().len() <= records.len());
                files.iter().for_each(|(whole, path)| fs::write(path, whole).unwrap());
            }
            bytes == whole
        });
        fs::write(path, whole).unwrap();
    }
}

/// `lstmtext serve`, as a process of its own.
struct Server {
    process: Child,
    port: u16,
    stderr: PathBuf,
}

impl Server {
    /// Serves a tiny model. The server gives up on a request before the client gives up on the server.
    fn start(directory: &Path) -> Self {
        save_checkpoint(&directory.join("best"));
        let stderr = directory.join("stderr.txt");
        let process = Command::new(env!("CARGO_BIN_EXE_lstmtext"))
            .args(["serve", "best", "--port", "0", "--timeout", "5"])
            .current_dir(directory)
            .env("OMP_NUM_THREADS", "1")
            .stderr(fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self { process, port: 0, stderr };
        let started = Instant::now();
        while server.port == 0 {
            assert!(started.elapsed() < CLIENT_TIMEOUT, "{}", server.printed());
            thread::sleep(Duration::from_millis(10));
            let printed = server.printed();
            let address = printed.lines().find_map(|line| line.split_once(" on http://127.0.0.1:"));
            server.port = address.map_or(0, |(_, port)| port.trim().parse().unwrap());
        }
        server
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Sends bytes in one connection, closes it for writing, and returns what the server sends.
    fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(CLIENT_TIMEOUT)).unwrap();
        // A server that rejects a request may close the connection before all of it is sent.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut response = Vec::new();
        if let Err(error) = stream.read_to_end(&mut response) {
            let hangs = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(!hangs, "the server neither answers nor closes the connection");
        }
        String::from_utf8(response).unwrap()
    }

    /// Sends bytes, and checks that the server has no error of its own and answers the next request.
    /// Returns the status of the first response, 0 if there is none.
    fn status(&self, bytes: &[u8]) -> u16 {
        let response = self.exchange(bytes);
        assert!(!response.lines().any(|line| line.starts_with("HTTP/1.1 5")), "{response}");
        let next = self.exchange(&post("/predict", b"{\"text\": \"a b\", \"top\": 1}"));
        assert!(next.starts_with("HTTP/1.1 200 ") && next.contains("\"label\":"), "{next}");
        response.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Time after which a connection counts as hanging.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(20);

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

const BODIES: [(&str, &[u8]); 4] = [
    ("/predict", b"{\"text\": \"a \\u00e9\\ud83d\\ude00\", \"top\": 1}"),
    ("/predict", b"{\"texts\": [\"a\", \"\", \"b \xC3\xA9\"]}"),
    ("/explain", b"{\"text\": \"a b c\", \"class\": \"x\", \"method\": \"leave-one-out\"}"),
    ("/explain", b" {\"text\": \"b\"}\n"),
];

/// Mutates request lines, headers and bodies, also of several requests in one connection.
#[test]
fn requests() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut corpus = BODIES.map(|(path, body)| post(path, body)).to_vec();
    corpus.push(corpus.concat());
    corpus.push(b"GET /healthz HTTP/1.0\r\n\r\n".to_vec());
    corpus.push(
        b"GET http://localhost/metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n\
          GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nConnection: close\r\n\r\n"
            .to_vec(),
    );
    corpus.push(
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n\
          6\r\n{\"text\r\n7;x=y\r\n\": \"a\"}\r\n0\r\n\r\n"
            .to_vec(),
    );
    fuzz("requests", &corpus, |bytes| server.status(bytes) == 200);
    let printed = server.printed();
    assert!(!printed.contains("panicked"), "{printed}");
}

/// Only valid JSON with known keys is answered.
#[test]
fn bodies() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    for path in ["/predict", "/explain"] {
        let corpus: Vec<_> =
            BODIES.iter().filter(|(to, _)| *to == path).map(|(_, body)| body.to_vec()).collect();
        fuzz(&format!("bodies, {path}"), &corpus, |body| {
            let status = server.status(&post(path, body));
            let object = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(body);
            let is_request = object
                .is_ok_and(|object| object.contains_key("text") != object.contains_key("texts"));
            assert!(is_request || (400..500).contains(&status), "status {status}");
            status == 200
        });
    }
    let printed = server.printed();
    assert!(!printed.contains("panicked"), "{printed}");
}
