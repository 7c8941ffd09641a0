//! Asking for metrics, and reading the answer as Prometheus does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::TestService;

/// Arguments of a service that tells its metrics.
pub const LISTEN: [&str; 2] = ["--metrics-listen", "127.0.0.1:0"];

/// More than anything here takes, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a service told of itself.
pub struct Told {
    /// As it came.
    pub text: String,
}

impl Told {
    /// Asks a service.
    pub async fn by(service: &TestService) -> Self {
        let (status, text) = get(service.metrics.expect("it listens"), "/metrics").await;
        assert_eq!(status, 200, "{text}");
        Self { text }
    }

    /// The value of one sample, written out with its labels as it is told.
    pub fn value(&self, sample: &str) -> f64 {
        let value = self.samples().find(|(name, _)| *name == sample);
        let (_, value) = value.unwrap_or_else(|| panic!("no {sample} in {}", self.text));
        value
    }

    /// All samples: each with its labels, and the value.
    pub fn samples(&self) -> impl Iterator<Item = (&str, f64)> {
        let lines = self.text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            (name, value.parse().expect("a number"))
        })
    }

    /// The values of a label.
    pub fn labels(&self, name: &str, label: &str) -> BTreeSet<String> {
        let begins = format!("{label}=\"");
        self.samples()
            .filter_map(|(sample, _)| sample.strip_prefix(name))
            .filter_map(|labels| {
                labels
                    .split(['{', ',', '}'])
                    .find_map(|pair| pair.strip_prefix(&begins))
            })
            .map(|value| value.trim_end_matches('"').to_owned())
            .collect()
    }

    /// The names and types of all metrics. Each has a help text, a type and at least one sample; no sample
    /// is without.
    pub fn families(&self) -> BTreeMap<String, String> {
        let mut helped = BTreeSet::new();
        let mut typed = BTreeMap::new();
        let mut sampled = BTreeSet::new();
        for line in self.text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(help.ends_with('.') && !help.ends_with(".."), "{line}");
                assert!(helped.insert(name.to_owned()), "twice: {line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert!(helped.contains(name), "{line} before its help");
                typed.insert(name.to_owned(), kind.to_owned());
            } else {
                assert!(!line.starts_with('#'), "{line}");
                let name = line.split(['{', ' ']).next().expect("a name");
                sampled.insert(family(name, &typed));
            }
        }
        let names: BTreeSet<String> = typed.keys().cloned().collect();
        assert_eq!(helped, names);
        assert_eq!(sampled, names, "{}", self.text);
        typed
    }
}

/// The metric a sample is of: those of a histogram have endings of their own.
pub fn family(sample: &str, typed: &BTreeMap<String, String>) -> String {
    let ending = ["_bucket", "_sum", "_count"]
        .into_iter()
        .find_map(|ending| {
            let name = sample.strip_suffix(ending)?;
            (typed.get(name)? == "histogram").then(|| name.to_owned())
        });
    ending.unwrap_or_else(|| sample.to_owned())
}

/// Asks until it is so.
pub async fn until(service: &TestService, so: impl Fn(&Told) -> bool) -> Told {
    let begun = Instant::now();
    loop {
        let told = Told::by(service).await;
        if so(&told) {
            return told;
        }
        assert!(begun.elapsed() < PATIENCE, "in vain: {}", told.text);
    }
}

/// The status and body of the answer to a GET.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let question = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    let answer = say(address, question.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// All that is answered to these bytes, until the other side hangs up.
pub async fn say(address: SocketAddr, bytes: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).await.expect("it listens");
    // Whoever is hung up on may notice while writing.
    let _ = connection.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = connection.read_to_end(&mut answer);
    let read = tokio::time::timeout(PATIENCE, read).await.expect("in time");
    let _ = read;
    String::from_utf8_lossy(&answer).into_owned()
}
