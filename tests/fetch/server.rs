//! HTTP server with scripted responses: one connection and one request at a time.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Time after which the server gives up on a test.
const DEADLINE: Duration = Duration::from_secs(20);

/// Response to a request.
pub struct Response {
    head: String,
    body: Vec<u8>,
    stays_open: bool,
}

impl Response {
    pub fn new(status: &str) -> Self {
        Self {
            head: format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n"),
            body: Vec::new(),
            stays_open: false,
        }
    }

    /// Closes the connection without a response.
    pub fn none() -> Self {
        Self { head: String::new(), ..Self::new("") }
    }

    /// `200 OK` with all of `content`.
    pub fn whole(content: &[u8]) -> Self {
        Self::new("200 OK").content(content)
    }

    /// `206 Partial Content` with `content` from `start` on.
    pub fn rest(content: &[u8], start: usize) -> Self {
        let end = content.len() - 1;
        let range = format!("bytes {start}-{end}/{}", content.len());
        Self::new("206 Partial Content").header("Content-Range", &range).content(&content[start..])
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        let before_the_blank_line = self.head.len() - 2;
        self.head.insert_str(before_the_blank_line, &format!("{name}: {value}\r\n"));
        self
    }

    /// Adds a body and its Content-Length.
    pub fn content(self, body: &[u8]) -> Self {
        self.header("Content-Length", &body.len().to_string()).without_length(body)
    }

    /// Adds a body that ends with the connection.
    pub fn without_length(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// Closes the connection after `sent` bytes of the body.
    pub fn cut_after(mut self, sent: usize) -> Self {
        self.body.truncate(sent);
        self
    }

    /// Sends `sent` bytes of the body, then nothing, and keeps the connection open.
    pub fn silent_after(self, sent: usize) -> Self {
        Self { stays_open: true, ..self.cut_after(sent) }
    }
}

/// Request line and headers of a client.
pub struct Request {
    head: String,
}

impl Request {
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(each, _)| each.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// A running server. It stops after its last response and then refuses connections.
pub struct Server {
    pub url: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Request>>,
}

impl Server {
    pub fn start(responses: Vec<Response>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/data.bin", listener.local_addr().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || serve(&listener, responses, &stop))
        };
        Self { url, stop, thread }
    }

    /// Stops the server and returns the requests.
    pub fn requests(self) -> Vec<Request> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn serve(listener: &TcpListener, responses: Vec<Response>, stop: &AtomicBool) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut open = Vec::new();
    for response in responses {
        let Some(mut stream) = accept(listener, stop) else {
            break;
        };
        requests.push(read_request(&mut stream));
        // The client may have closed the connection.
        let _ = stream.write_all(response.head.as_bytes());
        let _ = stream.write_all(&response.body);
        if response.stays_open {
            open.push(stream);
        }
    }
    requests
}

fn accept(listener: &TcpListener, stop: &AtomicBool) -> Option<TcpStream> {
    listener.set_nonblocking(true).unwrap();
    let started = Instant::now();
    while !stop.load(Ordering::Relaxed) && started.elapsed() < DEADLINE {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                stream.set_write_timeout(Some(DEADLINE)).unwrap();
                return Some(stream);
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
    None
}

fn read_request(stream: &mut TcpStream) -> Request {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    Request { head: String::from_utf8(head).unwrap() }
}

/// Starts a server that answers each connection with `first`, and then sends `more` again and again. Returns
/// the URL of a file.
pub fn endless_server(first: &'static str, more: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/data.bin", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let mut sent = stream.write_all(first.as_bytes());
            while sent.is_ok() {
                sent = stream.write_all(more.as_bytes());
                thread::sleep(Duration::from_millis(20));
            }
        }
    });
    url
}
