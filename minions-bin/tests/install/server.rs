//! A server of files that answers as it is told.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What it answers.
#[derive(Clone)]
pub enum Answer {
    Whole(Vec<u8>),
    /// These bytes of so many, and then the line is dead.
    Cut {
        bytes: Vec<u8>,
        promised: usize,
    },
    Missing,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Answer>,
    asked: usize,
}

/// Lives as long as the test.
pub struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let its = state.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // Whoever hangs up early does not want the rest.
                let _ = answer(stream.unwrap(), &its);
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn has(&self, path: &str, answer: Answer) {
        self.state.lock().unwrap().files.insert(path.to_owned(), answer);
    }

    pub fn bytes(&self, path: &str) -> Vec<u8> {
        match self.state.lock().unwrap().files.get(path) {
            Some(Answer::Whole(bytes)) => bytes.clone(),
            _ => panic!("no {path}"),
        }
    }

    /// How often anything was asked for.
    pub fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = {
        let mut state = state.lock().unwrap();
        state.asked += 1;
        state.files.get(&path).cloned().unwrap_or(Answer::Missing)
    };
    let (status, length, bytes) = match answer {
        Answer::Whole(bytes) => ("200 OK", bytes.len(), bytes),
        Answer::Cut { bytes, promised } => ("200 OK", promised, bytes),
        Answer::Missing => ("404 Not Found", 0, Vec::new()),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(&bytes)
}
