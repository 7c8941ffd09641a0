//! A server of key sets that does as it is told, and counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// 200 with a body.
    Body(String),
    /// The same, once so much time has passed.
    After(Duration, String),
    /// A status and headers, and a body all the same.
    Head(String, String),
    /// A head that promises more than follows.
    CutOff(String),
    /// Keys without end, and without a length.
    Endless,
    /// Nothing: the connection is closed.
    HangUp,
}

/// A server of key sets on a port of its own.
pub struct KeyServer {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl KeyServer {
    /// One that gives an answer until told otherwise.
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let answer = Arc::new(Mutex::new(answer));
        let asked = Arc::new(AtomicUsize::new(0));
        let (told, count) = (answer.clone(), asked.clone());
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                count.fetch_add(1, Ordering::SeqCst);
                let answer = told.lock().expect("no panic").clone();
                tokio::spawn(async move {
                    // Who asks may hang up.
                    let _ = serve(stream, answer).await;
                });
            }
        });
        Self {
            address,
            answer,
            asked,
            serving,
        }
    }

    /// Where the keys are.
    pub fn url(&self) -> String {
        format!("http://{}/keys.json", self.address)
    }

    /// From now on it answers otherwise.
    pub fn tell(&self, answer: Answer) {
        *self.answer.lock().expect("no panic") = answer;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until it has been asked so many times more, and has answered.
    pub async fn asked_again(&self, times: usize) {
        let wanted = self.asked() + times;
        while self.asked() < wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let whole = |body: String| {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    match answer {
        Answer::Body(body) => stream.write_all(whole(body).as_bytes()).await,
        Answer::After(pause, body) => {
            tokio::time::sleep(pause).await;
            stream.write_all(whole(body).as_bytes()).await
        }
        Answer::Head(head, body) => {
            let length = body.len();
            let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await
        }
        Answer::CutOff(body) => {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
            stream.write_all(format!("{head}{body}").as_bytes()).await
        }
        Answer::Endless => {
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"keys\":[";
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(&[b' '; 4096]).await?;
            }
        }
        Answer::HangUp => Ok(()),
    }
}
