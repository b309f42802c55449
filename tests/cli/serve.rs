//! `lstmtext serve`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{DEADLINE, TestDir, assert_fails, python, stdout_json};

/// Server on a free port.
pub struct Server {
    process: Child,
    port: u16,
    stderr: BufReader<ChildStderr>,
}

impl Server {
    pub fn start(dir: &TestDir, line: &str) -> Self {
        Self::spawn(&mut dir.process(&format!("serve {line} --port 0")))
    }

    /// Starts a command that serves on a free port and has a pipe for stderr.
    pub fn spawn(command: &mut Command) -> Self {
        let mut process = command.spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut first = String::new();
        stderr.read_line(&mut first).unwrap();
        let port = first.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("no address: {first}"));
        Self { process, port, stderr }
    }

    /// Returns the process ID.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn connect(&self) -> TcpStream {
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
        // A server that rejects a request may close the connection before all of it is sent.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        stream
    }

    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        receive(self.send(method, path, body))
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, response) = self.request("POST", path, body.to_string().as_bytes());
        (status, serde_json::from_str(&response).unwrap())
    }

    /// Sends a signal and waits for the process to end. Returns the exit code and the rest of
    /// stderr.
    fn stop(mut self, signal: i32) -> (Option<i32>, String) {
        let id = libc::pid_t::try_from(self.process.id()).unwrap();
        // SAFETY: kill takes integers only. The process is our child and has not been waited for.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0);
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr).unwrap();
        (self.process.wait().unwrap().code(), stderr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads the status and the body of a response.
pub fn receive(stream: TcpStream) -> (u16, String) {
    let (status, _, body) = parse(&read_all(stream));
    (status, body)
}

/// Returns everything that the server sends.
pub fn read_all(mut stream: TcpStream) -> String {
    let mut response = String::new();
    // The response may be complete even if the connection is reset afterwards.
    let _ = stream.read_to_string(&mut response);
    response
}

/// Returns status, head in lower case, and body of a response.
pub fn parse(response: &str) -> (u16, String, String) {
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((response, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no response: {response}"));
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn predictions_match_the_predict_command() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run");
    let texts = ["n1 pos3", "neg2 neg3", "ünïcode 好 \"quoted\"\n", ""];
    let (status, response) = server.post("/predict", &json!({"texts": texts}));
    assert_eq!(status, 200);
    for (text, prediction) in texts.iter().zip(response["predictions"].as_array().unwrap()) {
        let mut command = dir.lstmtext("predict run --format jsonl --top 2");
        let expected = stdout_json(&command.arg(text).assert().success());
        for key in ["label", "classes"] {
            let rounded = |value: &Value| value.to_string().chars().take(30).collect::<String>();
            assert_eq!(rounded(&prediction[key]), rounded(&expected[key]), "{text}");
        }
        let (status, alone) = server.post("/predict", &json!({"text": text, "top": 1}));
        assert_eq!((status, &alone["label"]), (200, &prediction["label"]));
        assert_eq!(alone["classes"].as_array().unwrap().len(), 1);
    }
    assert_eq!(server.post("/predict", &json!({"texts": []})).1, json!({"predictions": []}));
}

#[test]
fn explanations_match_the_explain_command() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run");
    let mut command = dir.lstmtext("explain run --class neg --method leave-one-out --json");
    let expected = stdout_json(&command.arg("n1 pos3 neg2").assert().success());
    let request = json!({"text": "n1 pos3 neg2", "class": "neg", "method": "leave-one-out"});
    let (status, mut explanation) = server.post("/explain", &request);
    let mut expected = expected[0].clone();
    // The last bits of sums depend on the number of threads.
    for pointer in ["/log_odds", "/inputs/0/words/1/contribution"] {
        let number = |value: &Value| value.pointer(pointer).unwrap().as_f64().unwrap();
        assert!((number(&explanation) - number(&expected)).abs() < 1e-5);
    }
    for value in [&mut explanation, &mut expected] {
        for word in value["inputs"][0]["words"].as_array_mut().unwrap() {
            word["contribution"].take();
        }
    }
    assert_eq!((status, &explanation["inputs"]), (200, &expected["inputs"]));
}

/// The page inserts this fragment, so untrusted text must be escaped.
#[test]
fn explanations_are_served_as_html_fragments() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run");
    let body = json!({"text": "pos3 <script>alert(1)</script> \"neg2\""}).to_string();
    let mut stream = server.connect();
    let head = format!(
        "POST /explain HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (status, fragment) = receive(stream);
    assert_eq!(status, 200);
    assert!(fragment.starts_with("<article>") && fragment.ends_with("</article>\n"), "{fragment}");
    assert!(fragment.contains("<span class=\"word for"), "{fragment}");
    assert!(fragment.contains(">pos3</span>"), "{fragment}");
    assert!(!fragment.contains("<script") && fragment.contains("&lt;"), "{fragment}");
}

#[test]
fn health_metrics_and_the_page_are_served() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run");
    let (status, health) = server.request("GET", "/healthz", b"");
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!((status, &health["status"]), (200, &json!("ok")));
    assert_eq!((&health["labels"], &health["columns"]), (&json!(["neg", "pos"]), &json!(["text"])));
    server.post("/predict", &json!({"texts": ["a", "b", "c"]}));
    server.request("GET", "/nowhere", b"");
    let (_, metrics) = server.request("GET", "/metrics", b"");
    for line in [
        "lstmtext_requests_total{path=\"/predict\",status=\"200\"} 1\n",
        "lstmtext_requests_total{path=\"other\",status=\"404\"} 1\n",
        "lstmtext_texts_total 3\n",
        "lstmtext_waiting_texts 0",
        "lstmtext_request_seconds_count{path=\"/predict\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let (status, page) = server.request("GET", "/", b"");
    assert_eq!(status, 200);
    assert!(page.contains("<form") && page.contains(".word {") && page.ends_with("</html>\n"));
    for part in ["/* page.css */", "http:", "https:"] {
        assert!(!page.contains(part), "{part}");
    }
}

#[test]
fn invalid_requests_get_an_error_response() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run --max-body-kb 8 --max-text-kb 1 --queue 4");
    let long = "word ".repeat(300);
    let large = json!({"text": "word ".repeat(3000)}).to_string();
    for (path, body, status, message) in [
        ("/predict", "", 400, "expected a JSON object"),
        ("/predict", "{\"text\": \"a\"", 400, "EOF"),
        ("/predict", "[\"a\"]", 400, "expected a JSON object"),
        ("/predict", "\u{0}\u{1}", 400, "expected a JSON object"),
        ("/predict", "{\"txt\": \"a\"}", 422, "unknown field `txt`"),
        ("/predict", "{\"text\": 3}", 422, "expected a string"),
        ("/predict", "{\"texts\": [\"a\", null]}", 422, "text 2 of \\\"texts\\\""),
        ("/predict", "{\"text\": \"a\", \"texts\": []}", 422, "either"),
        ("/predict", "{}", 422, "either"),
        ("/predict", "{\"text\": \"a\", \"top\": -1}", 422, "a positive integer, not -1"),
        ("/predict", "{\"text\": \"a\", \"top\": 0}", 422, "a positive integer, not 0"),
        ("/predict", "{\"texts\": [\"a\", \"a\", \"a\", \"a\", \"a\"]}", 413, "5 texts"),
        ("/predict", &json!({"text": long}).to_string(), 413, "1500 bytes"),
        ("/predict", &large, 413, "--max-body-kb"),
        ("/explain", "{\"text\": \"a\", \"class\": \"meh\"}", 422, "neg, pos"),
        ("/explain", "{\"text\": \"a\", \"method\": \"magic\"}", 422, "leave-one-out"),
        ("/nowhere", "{}", 404, "no endpoint POST /nowhere"),
        ("/healthz", "{}", 405, "expected POST /predict"),
    ] {
        let (actual, response) = server.request("POST", path, body.as_bytes());
        assert_eq!(actual, status, "{path} {body}: {response}");
        assert!(response.contains(message) && response.starts_with("{\"error\":"), "{response}");
    }
    assert_eq!(server.request("GET", "/predict", b"").0, 405);
    // Bytes that are not HTTP do no harm.
    server.connect().write_all(b"\x16\x03\x01 hello\r\n\r\n").unwrap();
    assert_eq!(server.post("/predict", &json!({"text": "a"})).0, 200);
}

#[test]
fn slow_requests_time_out_and_delay_no_others() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run --timeout 1");
    let mut slow = server.connect();
    slow.write_all(
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"text\"",
    )
    .unwrap();
    let started = Instant::now();
    assert_eq!(server.post("/predict", &json!({"text": "a"})).0, 200);
    assert!(started.elapsed() < Duration::from_millis(900));
    let (status, response) = receive(slow);
    assert_eq!(status, 408);
    assert!(response.contains("within --timeout"), "{response}");
    // A connection that does not even send its headers is closed.
    let mut silent = server.connect();
    silent.write_all(b"POST /predict HTTP/1.1\r\nHos").unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut rest = Vec::new();
    assert!(silent.read_to_end(&mut rest).is_ok(), "the server closes the connection");
}

#[test]
fn signals_stop_the_server_after_requests_in_progress() {
    let dir = TestDir::with_run();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let server = Server::start(&dir, "run --max-wait 300");
        // The signal arrives while the request waits for its batch. Idle connections are closed.
        let _idle = server.connect();
        let pending = server.send("POST", "/predict", b"{\"text\": \"pos1\"}");
        thread::sleep(Duration::from_millis(100));
        let (code, stderr) = server.stop(signal);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains("stopping: "), "{stderr}");
        assert!(stderr.contains("all requests were answered"), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert_eq!(receive(pending).0, 200);
    }
}

/// Each of 1,000 connections sends several requests and checks its own responses.
#[test]
fn a_thousand_connections_get_their_own_responses() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run");
    let result = python("serve_load.py", &[&server.port.to_string(), "1000", "5"]);
    assert_eq!(result, json!({"answered": 5000, "wrong": 0, "open_at_once": 1000}));
    let (_, metrics) = server.request("GET", "/metrics", b"");
    let number = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(number("lstmtext_texts_total"), 5000.0);
    assert!(number("lstmtext_batch_texts_count") < 2500.0, "requests are batched");
}

#[test]
fn address_errors_name_the_address() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run");
    let line = format!("serve run --port {}", server.port);
    assert_fails(dir.lstmtext(&line), 1, &["cannot listen on 127.0.0.1", "in use", "--port"]);
    assert_fails(dir.lstmtext("serve run --host nowhere"), 2, &["nowhere"]);
    assert_fails(dir.lstmtext("serve nowhere"), 1, &["no checkpoint \"nowhere\""]);
}
