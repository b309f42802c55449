//! An HTTP server that plays a script: one connection, one request and one
//! reply after the other.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The longest a test may take before the server gives up on it.
const DEADLINE: Duration = Duration::from_secs(20);

/// What to answer to one request.
pub struct Reply {
    head: String,
    body: Vec<u8>,
    stays_open: bool,
}

impl Reply {
    pub fn new(status: &str) -> Self {
        Self {
            head: format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n"),
            body: Vec::new(),
            stays_open: false,
        }
    }

    /// Hangs up without a word.
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

    /// A body and its length.
    pub fn content(self, body: &[u8]) -> Self {
        self.header("Content-Length", &body.len().to_string()).unmeasured(body)
    }

    /// A body that ends with the connection.
    pub fn unmeasured(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// Closes the connection after `sent` bytes of the body.
    pub fn cut_after(mut self, sent: usize) -> Self {
        self.body.truncate(sent);
        self
    }

    /// Sends `sent` bytes of the body and then nothing.
    pub fn silent_after(self, sent: usize) -> Self {
        Self { stays_open: true, ..self.cut_after(sent) }
    }
}

/// What a client asked for: the request line and the headers.
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
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// A running server. It ends by itself after its last reply; then connections
/// are refused.
pub struct Server {
    pub url: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Request>>,
}

impl Server {
    pub fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/data.bin", listener.local_addr().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || serve(&listener, replies, &stop))
        };
        Self { url, stop, thread }
    }

    /// Stops the server: the requests it got.
    pub fn requests(self) -> Vec<Request> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn serve(listener: &TcpListener, replies: Vec<Reply>, stop: &AtomicBool) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut open = Vec::new();
    for reply in replies {
        let Some(mut stream) = accept(listener, stop) else {
            break;
        };
        requests.push(read_request(&mut stream));
        // The client may have seen enough and hung up.
        let _ = stream.write_all(reply.head.as_bytes());
        let _ = stream.write_all(&reply.body);
        if reply.stays_open {
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
