//! `lstmtext serve`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{DEADLINE, Place, assert_fails, python, stdout_json};

/// A server on a port of its own.
struct Server {
    process: Child,
    port: u16,
    said: BufReader<ChildStderr>,
}

impl Server {
    fn start(place: &Place, line: &str) -> Self {
        let mut process = place.process(&format!("serve {line} --port 0")).spawn().unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap());
        let mut first = String::new();
        said.read_line(&mut first).unwrap();
        let port = first.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("no address: {first}"));
        Self { process, port, said }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    fn send(&self, method: &str, path: &str, body: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        // Who refuses a request may close before all of it is sent.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        stream
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        received(self.send(method, path, body))
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, answer) = self.ask("POST", path, body.to_string().as_bytes());
        (status, serde_json::from_str(&answer).unwrap())
    }

    /// Sends a signal and waits for the end: the exit code and what is said from now on.
    fn stop(mut self, signal: i32) -> (Option<i32>, String) {
        let id = libc::pid_t::try_from(self.process.id()).unwrap();
        // SAFETY: kill takes plain numbers; the process is ours and nobody has waited for it.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0);
        let mut said = String::new();
        self.said.read_to_string(&mut said).unwrap();
        (self.process.wait().unwrap().code(), said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Status and body of an answer.
fn received(mut stream: TcpStream) -> (u16, String) {
    let mut answer = String::new();
    // A connection that is reset has said what there was to say.
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {answer}")), body.to_owned())
}

#[test]
fn answers_are_those_of_predict() {
    let place = Place::with_run();
    let server = Server::start(&place, "run");
    let texts = ["n1 pos3", "neg2 neg3", "ünïcode 好 \"quoted\"\n", ""];
    let (status, answer) = server.post("/predict", &json!({"texts": texts}));
    assert_eq!(status, 200);
    for (text, found) in texts.iter().zip(answer["predictions"].as_array().unwrap()) {
        let mut command = place.lstmtext("predict run --format jsonl --top 2");
        let expected = stdout_json(&command.arg(text).assert().success());
        for key in ["label", "classes"] {
            let near = |value: &Value| value.to_string().chars().take(30).collect::<String>();
            assert_eq!(near(&found[key]), near(&expected[key]), "{text}");
        }
        let (status, alone) = server.post("/predict", &json!({"text": text, "top": 1}));
        assert_eq!((status, &alone["label"]), (200, &found["label"]));
        assert_eq!(alone["classes"].as_array().unwrap().len(), 1);
    }
    assert_eq!(server.post("/predict", &json!({"texts": []})).1, json!({"predictions": []}));
}

#[test]
fn explanations_are_those_of_explain() {
    let place = Place::with_run();
    let server = Server::start(&place, "run");
    let mut command = place.lstmtext("explain run --class neg --method leave-one-out --json");
    let expected = stdout_json(&command.arg("n1 pos3 neg2").assert().success());
    let question = json!({"text": "n1 pos3 neg2", "class": "neg", "method": "leave-one-out"});
    let (status, mut found) = server.post("/explain", &question);
    let mut expected = expected[0].clone();
    // On one thread or two, sums differ in their last bits.
    for (pointer, _) in [("/log_odds", 0), ("/inputs/0/words/1/contribution", 0)] {
        let number = |value: &Value| value.pointer(pointer).unwrap().as_f64().unwrap();
        assert!((number(&found) - number(&expected)).abs() < 1e-5);
    }
    for value in [&mut found, &mut expected] {
        for word in value["inputs"][0]["words"].as_array_mut().unwrap() {
            word["contribution"].take();
        }
    }
    assert_eq!((status, &found["inputs"]), (200, &expected["inputs"]));
}

/// What the page shows is made here, of texts that anybody may have written.
#[test]
fn an_explanation_can_be_a_part_of_a_page() {
    let place = Place::with_run();
    let server = Server::start(&place, "run");
    let body = json!({"text": "pos3 <script>alert(1)</script> \"neg2\""}).to_string();
    let mut stream = server.connect();
    let head = format!(
        "POST /explain HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (status, part) = received(stream);
    assert_eq!(status, 200);
    assert!(part.starts_with("<article>") && part.ends_with("</article>\n"), "{part}");
    assert!(part.contains("<span class=\"word for") && part.contains(">pos3</span>"), "{part}");
    assert!(!part.contains("<script") && part.contains("&lt;"), "{part}");
}

#[test]
fn health_measures_and_the_page_are_there() {
    let place = Place::with_run();
    let server = Server::start(&place, "run");
    let (status, health) = server.ask("GET", "/healthz", b"");
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!((status, &health["status"]), (200, &json!("ok")));
    assert_eq!((&health["labels"], &health["columns"]), (&json!(["neg", "pos"]), &json!(["text"])));
    server.post("/predict", &json!({"texts": ["a", "b", "c"]}));
    server.ask("GET", "/nowhere", b"");
    let (_, measures) = server.ask("GET", "/metrics", b"");
    for line in [
        "lstmtext_requests_total{path=\"/predict\",status=\"200\"} 1\n",
        "lstmtext_requests_total{path=\"other\",status=\"404\"} 1\n",
        "lstmtext_texts_total 3\n",
        "lstmtext_waiting_texts 0",
        "lstmtext_request_seconds_count{path=\"/predict\"} 1\n",
    ] {
        assert!(measures.contains(line), "{line}: {measures}");
    }
    let (status, page) = server.ask("GET", "/", b"");
    assert_eq!(status, 200);
    assert!(page.contains("<form") && page.contains(".word {") && page.ends_with("</html>\n"));
    for part in ["/* page.css */", "http:", "https:", "src="] {
        assert!(!page.contains(part), "{part}");
    }
}

#[test]
fn what_cannot_be_answered_is_refused_with_its_reason() {
    let place = Place::with_run();
    let server = Server::start(&place, "run --max-body-kb 8 --max-text-kb 1 --queue 4");
    let long = "word ".repeat(300);
    let large = json!({"text": "word ".repeat(3000)}).to_string();
    for (path, body, status, words) in [
        ("/predict", "", 400, "expected a JSON object"),
        ("/predict", "{\"text\": \"a\"", 400, "EOF"),
        ("/predict", "[\"a\"]", 400, "expected a JSON object"),
        ("/predict", "\u{0}\u{1}", 400, "expected a JSON object"),
        ("/predict", "{\"txt\": \"a\"}", 422, "unknown field `txt`"),
        ("/predict", "{\"text\": 3}", 422, "expected a string"),
        ("/predict", "{\"texts\": [\"a\", null]}", 422, "text 2 of \\\"texts\\\""),
        ("/predict", "{\"text\": \"a\", \"texts\": []}", 422, "either"),
        ("/predict", "{}", 422, "either"),
        ("/predict", "{\"text\": \"a\", \"top\": -1}", 422, "-1, allowed is a whole number from 1"),
        ("/predict", "{\"text\": \"a\", \"top\": 0}", 422, "0, allowed is"),
        ("/predict", "{\"texts\": [\"a\", \"a\", \"a\", \"a\", \"a\"]}", 413, "5 texts"),
        ("/predict", &json!({"text": long}).to_string(), 413, "1500 bytes"),
        ("/predict", &large, 413, "--max-body-kb"),
        ("/explain", "{\"text\": \"a\", \"class\": \"meh\"}", 422, "neg, pos"),
        ("/explain", "{\"text\": \"a\", \"method\": \"magic\"}", 422, "leave-one-out"),
        ("/nowhere", "{}", 404, "there is no"),
        ("/healthz", "{}", 405, "takes GET"),
    ] {
        let (found, answer) = server.ask("POST", path, body.as_bytes());
        assert_eq!(found, status, "{path} {body}: {answer}");
        assert!(answer.contains(words) && answer.starts_with("{\"error\":"), "{answer}");
    }
    assert_eq!(server.ask("GET", "/predict", b"").0, 405);
    let mut stream = server.connect();
    let foreign =
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nOrigin: http://elsewhere.example\r\n\
        Connection: close\r\nContent-Length: 13\r\n\r\n{\"text\": \"a\"}";
    stream.write_all(foreign).unwrap();
    assert_eq!(received(stream).0, 403, "a page of another site");
    // What is no HTTP does no harm either.
    server.connect().write_all(b"\x16\x03\x01 hello\r\n\r\n").unwrap();
    assert_eq!(server.post("/predict", &json!({"text": "a"})).0, 200);
}

#[test]
fn a_slow_request_is_given_up_and_delays_nobody() {
    let place = Place::with_run();
    let server = Server::start(&place, "run --timeout 1");
    let mut slow = server.connect();
    slow.write_all(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"text\"")
        .unwrap();
    let begun = Instant::now();
    assert_eq!(server.post("/predict", &json!({"text": "a"})).0, 200);
    assert!(begun.elapsed() < Duration::from_millis(900), "it waits for nobody");
    let (status, answer) = received(slow);
    assert_eq!(status, 408);
    assert!(answer.contains("within --timeout"), "{answer}");
    // Who does not even say what is asked is hung up on.
    let mut silent = server.connect();
    silent.write_all(b"POST /predict HTTP/1.1\r\nHos").unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut rest = Vec::new();
    assert!(silent.read_to_end(&mut rest).is_ok(), "the server ends the connection");
}

#[test]
fn a_signal_ends_it_after_the_last_answers() {
    let place = Place::with_run();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let server = Server::start(&place, "run --max-wait 300");
        // It waits for other texts; meanwhile the signal comes. Connections that ask nothing are
        // closed.
        let _idle = server.connect();
        let asked = server.send("POST", "/predict", b"{\"text\": \"pos1\"}");
        thread::sleep(Duration::from_millis(100));
        let (code, said) = server.stop(signal);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("ending: ") && said.contains("every request was answered"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(received(asked).0, 200);
    }
}

/// Each of 1,000 connections asks several times; every answer is its own.
#[test]
fn a_thousand_connections_lose_no_answer() {
    let place = Place::with_run();
    let server = Server::start(&place, "run");
    let found = python("serve_load.py", &[&server.port.to_string(), "1000", "5"]);
    assert_eq!(found, json!({"answered": 5000, "wrong": 0, "open_at_once": 1000}));
    let (_, measures) = server.ask("GET", "/metrics", b"");
    let number = |name: &str| -> f64 {
        let line = measures.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(number("lstmtext_texts_total"), 5000.0);
    assert!(number("lstmtext_batch_texts_count") < 2500.0, "texts go together");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let place = Place::with_run();
    let server = Server::start(&place, "run");
    let line = format!("serve run --port {}", server.port);
    assert_fails(place.lstmtext(&line), 1, &["cannot listen on 127.0.0.1", "in use", "--port"]);
    assert_fails(place.lstmtext("serve run --host nowhere"), 2, &["nowhere"]);
    assert_fails(place.lstmtext("serve nowhere"), 1, &["no checkpoint \"nowhere\""]);
}
