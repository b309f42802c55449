//! `lstmtext serve` and clients that are hostile, slow or greedy.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{TestDir, assert_fails};
use crate::serve::{Server, parse, read_all, receive};

/// Sends a request as it is. Returns everything that the server sends.
fn exchange(server: &Server, request: &str) -> String {
    let mut stream = server.connect();
    stream.write_all(request.as_bytes()).unwrap();
    read_all(stream)
}

/// Sends a request with these lines in its head. Returns status, head in lower case, and body.
fn send(server: &Server, line: &str, headers: &[&str], body: &str) -> (u16, String, String) {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    parse(&exchange(
        server,
        &format!("{line}\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"),
    ))
}

fn texts_classified(server: &Server) -> String {
    let (_, metrics) = server.request("GET", "/metrics", b"");
    metrics.lines().find(|line| line.starts_with("lstmtext_texts_total")).unwrap().to_owned()
}

/// With DNS rebinding, a page of another site reaches this server under the name of its own.
#[test]
fn only_requests_that_name_the_server_are_answered() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run --allow-host model.example");
    for (status, line, headers) in [
        (200, "GET /healthz HTTP/1.1", &["Host: localhost"][..]),
        (200, "GET /healthz HTTP/1.1", &["Host: MODEL.example.:8000"]),
        (200, "GET http://127.0.0.1/healthz HTTP/1.1", &["Host: 127.0.0.1"]),
        (200, "GET /healthz HTTP/1.0", &[]),
        (403, "GET /healthz HTTP/1.1", &["Host: evil.example"]),
        (403, "GET /healthz HTTP/1.0", &["Host: evil.example"]),
        (403, "GET / HTTP/1.1", &["Host: evil.example", "Origin: http://evil.example"]),
        (403, "GET /metrics HTTP/1.1", &["Host: evil.example"]),
        (403, "GET /nowhere HTTP/1.1", &["Host: evil.example"]),
        (403, "OPTIONS /predict HTTP/1.1", &["Host: evil.example"]),
        (403, "GET http://evil.example/healthz HTTP/1.1", &["Host: localhost"]),
        (400, "GET /healthz HTTP/1.1", &[]),
        (400, "GET /healthz HTTP/1.1", &["Host: localhost", "Host: evil.example"]),
        (400, "GET /healthz HTTP/1.1", &["Host: localhost@evil.example"]),
    ] {
        let (actual, _, body) = send(&server, line, headers, "");
        assert_eq!(actual, status, "{line} {headers:?}: {body}");
        assert_eq!(body.contains("pos"), status == 200, "{body}");
    }
    let (_, _, body) = send(&server, "GET / HTTP/1.1", &["Host: Evil.example:80"], "");
    assert!(body.contains("--allow-host evil.example"), "{body}");
    // HTTP/2 without an upgrade is not spoken.
    let response = exchange(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(!response.contains("200"), "{response}");
    assert_fails(dir.lstmtext("serve run --allow-host a.example:80"), 2, &["without a port"]);
}

#[test]
fn requests_of_other_sites_are_not_processed() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run");
    let body = r#"{"text": "a"}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json"] {
        for from in ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
            let headers = ["Host: localhost", &format!("Content-Type: {kind}"), from];
            for path in ["/predict", "/explain"] {
                let line = format!("POST {path} HTTP/1.1");
                let (status, head, response) = send(&server, &line, &headers, body);
                assert_eq!(status, 403, "{headers:?}: {response}");
                assert!(!head.contains("access-control"), "{head}");
            }
        }
    }
    assert_eq!(texts_classified(&server), "lstmtext_texts_total 0");
    // Programs such as curl name no origin.
    let form = ["Host: localhost", "Content-Type: application/x-www-form-urlencoded"];
    assert_eq!(send(&server, "POST /predict HTTP/1.1", &form, body).0, 200);
}

#[test]
fn pages_of_allowed_origins_may_use_the_server() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run --allow-origin https://app.example");
    let preflight = |origin: &str| {
        let headers = [
            "Host: localhost",
            origin,
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: content-type",
        ];
        send(&server, "OPTIONS /predict HTTP/1.1", &headers, "").1
    };
    let allowed = preflight("Origin: https://app.example");
    for header in [
        "access-control-allow-origin: https://app.example\r\n",
        "access-control-allow-methods: get,post\r\n",
        "access-control-allow-headers: content-type\r\n",
    ] {
        assert!(allowed.contains(header), "{header} is not in {allowed}");
    }
    assert!(!preflight("Origin: https://evil.example").contains("allow-origin"));
    let post = |origin: &str, body: &str| {
        send(&server, "POST /predict HTTP/1.1", &["Host: localhost", origin], body)
    };
    for (body, expected) in [(r#"{"text": "a"}"#, 200), ("{}", 422)] {
        let (status, head, _) = post("Origin: https://app.example", body);
        assert_eq!(status, expected);
        assert!(head.contains("access-control-allow-origin: https://app.example"), "{head}");
    }
    assert_eq!(post("Origin: https://evil.example", r#"{"text": "a"}"#).0, 403);
    assert_fails(dir.lstmtext("serve run --allow-origin app.example"), 2, &["https://example.com"]);
}

#[test]
fn every_response_has_security_headers() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run");
    for (line, policy) in [
        ("GET / HTTP/1.1", "script-src 'self'; connect-src 'self'"),
        ("GET /page.js HTTP/1.1", "default-src 'none'"),
        ("GET /healthz HTTP/1.1", "default-src 'none'"),
        ("GET /nowhere HTTP/1.1", "default-src 'none'"),
        ("POST /predict HTTP/1.1", "default-src 'none'"),
    ] {
        let (_, head, _) = send(&server, line, &["Host: localhost"], "");
        for header in [
            "x-content-type-options: nosniff\r\n",
            "x-frame-options: deny\r\n",
            "referrer-policy: no-referrer\r\n",
            "cross-origin-resource-policy: same-origin\r\n",
            "frame-ancestors 'none'",
            policy,
        ] {
            assert!(head.contains(header), "{line}: {header} is not in {head}");
        }
    }
}

#[test]
fn no_response_reveals_a_path_of_the_server() {
    let dir = TestDir::with_run();
    let directory = dir.path("run");
    let path = directory.parent().unwrap().display().to_string();
    for checkpoint in ["run", "run/best"] {
        let server = Server::start(&dir, &format!("{path}/{checkpoint}"));
        let (_, health) = server.request("GET", "/healthz", b"");
        let health: Value = serde_json::from_str(&health).unwrap();
        assert_eq!(health["model"], "run");
        for target in ["/", "/page.js", "/healthz", "/metrics", "/predict", "/../run"] {
            let (_, response) = server.request("GET", target, b"");
            assert!(!response.contains(&path), "{response}");
        }
    }
}

/// Starts a prediction whose body never ends.
fn unfinished(server: &Server, body: &[u8]) -> TcpStream {
    let mut stream = server.connect();
    let head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    // The server may have refused the rest.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    stream
}

fn resident_megabytes(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1000
}

#[test]
fn unfinished_bodies_share_one_limit_and_their_memory_is_returned() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run --max-bodies-mb 60 --timeout 5");
    let before = resident_megabytes(&server);
    let body = [b"{\"text\": \"".to_vec(), vec![b'a'; 990_000]].concat();
    let connections: Vec<TcpStream> = (0..80).map(|_| unfinished(&server, &body)).collect();
    for _ in 0..20 {
        let during = resident_megabytes(&server) - before;
        assert!(during < 100, "{during} MB for 60 MB of bodies");
        thread::sleep(Duration::from_millis(100));
    }
    let (_, metrics) = server.request("GET", "/metrics", b"");
    assert!(metrics.contains("{path=\"/predict\",status=\"503\"}"), "{metrics}");
    let started = Instant::now();
    while resident_megabytes(&server) > before + 30 {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "the memory is not returned: {} MB, {before} MB before",
            resident_megabytes(&server)
        );
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(server.post("/predict", &json!({"text": "a"})).0, 200);
    drop(connections);
}

#[test]
fn slow_requests_end_after_the_timeout_however_often_they_send_a_byte() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run --timeout 1");
    for start in [
        "GET / HTTP/1.1\r\nHost: ",
        "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(start.as_bytes()).unwrap();
        let started = Instant::now();
        let mut buffer = [0; 1000];
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        // The server answers, or closes the connection.
        while stream
            .read(&mut buffer)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        {
            assert!(started.elapsed() < Duration::from_secs(10), "{start}");
            let _ = stream.write_all(b"a");
        }
    }
}

#[test]
fn connections_beyond_the_limit_wait() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run --max-connections 2 --timeout 1");
    let started = Instant::now();
    let _silent = [server.connect(), server.connect()];
    assert_eq!(server.post("/predict", &json!({"text": "a"})).0, 200);
    assert!(started.elapsed() > Duration::from_millis(500), "{:?}", started.elapsed());
}

#[test]
fn a_client_may_close_its_side_after_the_request() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run --max-wait 200");
    let body = r#"{"text": "pos1"}"#;
    let mut stream = server.connect();
    write!(
        stream,
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receive(stream).0, 200);
}

#[test]
fn responses_have_a_maximum_size() {
    let dir = TestDir::with_run();
    let server = Server::start(&dir, "run --queue 200000");
    let texts = vec![""; 140_000];
    let (status, response) = server.post("/predict", &json!({"texts": texts}));
    assert_eq!(status, 413);
    assert!(response["error"].as_str().unwrap().contains("lower \"top\""), "{response}");
}

/// A terminal would execute the control characters of labels, words and requests.
#[test]
fn json_responses_have_no_control_characters() {
    let label = "a\u{9b}31m\u{202e}";
    let rows: String = (0..40)
        .map(|row| if row % 2 == 0 { format!("n1 n{row},{label}\n") } else { "n2,b\n".to_owned() })
        .collect();
    let dir = TestDir::with_data().file("train.csv", format!("text,label\n{rows}"));
    dir.train(
        "small.yaml --out run --set train.epochs=1 --set data.split.test=0 --set data.test=null",
    );
    let server = Server::start(&dir, "run");
    let get = |path: &str| server.request("GET", path, b"");
    let post = |path: &str, body: &str| server.request("POST", path, body.as_bytes());
    let responses = [
        get("/healthz"),
        get("/no\u{9b}where"),
        post("/predict", "{\"text\": \"n1\"}"),
        post("/explain", "{\"text\": \"n1 \u{9b}\u{202e}\"}"),
        post("/explain", "{\"text\": \"n1\", \"class\": \"\u{9b}\"}"),
        post("/predict", "{\"text\": \"n1\", \"\u{9b}\u{202e}\": 1}"),
    ];
    for (_, response) in &responses {
        let bad = |c: &char| c.is_control() || *c == '\u{202e}';
        assert_eq!(response.chars().find(bad), None, "{response:?}");
        assert!(serde_json::from_str::<Value>(response).is_ok(), "{response}");
    }
    let health: Value = serde_json::from_str(&responses[0].1).unwrap();
    assert_eq!(health["labels"], json!([label, "b"]), "the escapes keep the value");
}
