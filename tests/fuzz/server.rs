//! Requests to `lstmtext serve`.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::checkpoints::save_checkpoint;
use crate::fuzzer::fuzz;

/// Time after which a connection counts as hanging.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(20);

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
            let object = serde_json::from_slice::<Map<String, Value>>(body);
            let is_request = object
                .is_ok_and(|object| object.contains_key("text") != object.contains_key("texts"));
            assert!(is_request || (400..500).contains(&status), "status {status}");
            status == 200
        });
    }
    let printed = server.printed();
    assert!(!printed.contains("panicked"), "{printed}");
}
