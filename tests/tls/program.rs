//! The program with its TLS settings: what it refuses, what it says, and SIGHUP.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;
use super::authority::{Authority, Files};
use super::client::Caller;
use super::reload::shows;
use crate::support::TestDatabase;
use crate::support::program::program;
use crate::support::service::SECRET;
use crate::support::serving::{folder, stderr};

/// The program, serving.
struct Serving {
    child: Child,
    /// What it says on standard output, then what it logs.
    said: mpsc::Receiver<String>,
    logged: mpsc::Receiver<String>,
}

impl Serving {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let said = lines(child.stdout.take().expect("piped"));
        let logged = lines(child.stderr.take().expect("piped"));
        Self {
            child,
            said,
            logged,
        }
    }

    /// One on a database of its own.
    fn on(database: &TestDatabase, files: Option<&Files>, listen: &str) -> Self {
        let url = database.url();
        let own = ["--database-url", &url, "--jwt-secret", SECRET];
        let listen = ["--listen", listen, "--compact-interval-s", "0"];
        let arguments = files.map(Files::arguments);
        let tls = arguments.iter().flatten().map(String::as_str);
        let arguments = own.into_iter().chain(listen).chain(tls);
        Self::start(&arguments.collect::<Vec<_>>())
    }

    /// Where it says that it listens.
    fn address(&self) -> SocketAddr {
        let line = next(&self.said, |line| line.contains(" is ready on "));
        let (_, address) = line.split_once(" is ready on ").expect("an address");
        let address = address.trim_end_matches(" with TLS");
        address.parse().expect("an address")
    }

    fn logs(&self, text: &str) -> String {
        next(&self.logged, |line| line.contains(text))
    }

    fn hang_up(&self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGHUP).expect("it runs");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The next line that is wanted.
fn next(lines: &mpsc::Receiver<String>, wanted: impl Fn(&str) -> bool) -> String {
    let mut others = Vec::new();
    loop {
        let line = lines.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|_| panic!("waited in vain after {others:#?}"));
        if wanted(&line) {
            return line;
        }
        others.push(line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_has_the_certificate_read_again_and_broken_files_leave_the_old_one_in_service() {
    let database = TestDatabase::new().await;
    let authority = Authority::new();
    let [first, second] = [(); 2].map(|()| authority.sign("localhost"));
    let files = Files::with(&first);
    let serving = Serving::on(&database, Some(&files), "127.0.0.1:0");
    let address = serving.address();
    let caller = Caller::trusting(&authority);
    assert_eq!(caller.shown(address).await.expect("shown"), first.der);

    // Nothing has changed: only SIGHUP can be why it is read.
    serving.hang_up();
    serving.logs("IRONFLOW_TLS_CERT: certificate read");
    assert_eq!(caller.shown(address).await.expect("shown"), first.der);

    let key = files.name("key.pem");
    for (name, text, reason) in [
        (
            "cert.pem",
            "",
            "IRONFLOW_TLS_CERT: expected a certificate and its chain",
        ),
        (
            "cert.pem",
            &second.pem,
            "IRONFLOW_TLS_KEY: expected the key of the certificate in",
        ),
        (
            "key.pem",
            "-----BEGIN",
            "IRONFLOW_TLS_KEY: expected the private key",
        ),
    ] {
        files.write(name, text);
        let line = serving.logs(reason);
        assert!(line.contains("WARN"), "{line}");
        assert!(
            line.contains("; the certificate in service stays"),
            "{line}"
        );
        assert_eq!(caller.shown(address).await.expect("shown"), first.der);
        // It goes on to look.
        files.replace(&first);
        serving.logs("IRONFLOW_TLS_CERT: certificate read");
    }
    fs::remove_file(&key).expect("removed");
    serving.logs("IRONFLOW_TLS_KEY: expected the private key of the certificate");
    assert_eq!(caller.shown(address).await.expect("shown"), first.der);

    files.replace(&second);
    serving.hang_up();
    shows(&caller, address, &second).await;
    assert!(caller.gets_through(address).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_an_address_others_can_reach_is_warned_of() {
    const WARNING: &str = "tokens and data travel in the clear";
    let database = TestDatabase::new().await;
    let files = Files::with(&Authority::new().sign("localhost"));
    let open = Serving::on(&database, None, "0.0.0.0:0");
    open.logs(WARNING);
    for (files, listen) in [(None, "127.0.0.1:0"), (Some(&files), "0.0.0.0:0")] {
        let quiet = Serving::on(&database, files, listen);
        // It comes before the service says how it is.
        let line = next(&quiet.logged, |line| {
            line.contains(WARNING) || line.contains("health")
        });
        assert!(line.contains("health"), "{line}");
    }
}

#[test]
fn the_start_up_message_has_a_call_for_tls() {
    let data_dir = folder();
    let authority = Authority::new();
    let files = Files::with(&authority.sign("sync.example.com"));
    let client_ca = files.write("friends.pem", &authority.pem());
    let [a, b, c, d] = files.arguments();
    let data_dir = data_dir.path().to_str().expect("UTF-8");
    let own = ["--data-dir", data_dir, "--listen", "127.0.0.1:0"];
    let tls = [&a, &b, &c, &d, "--tls-client-ca", &client_ca];
    let serving = Serving::start(&[&own[..], &tls].concat());
    serving.address();
    let call = next(&serving.said, |line| line.starts_with("grpcurl"));
    let cert = files.name("cert.pem");
    let expected = format!(
        "grpcurl -cacert '{cert}' -authority sync.example.com -cert YOURS.pem -key YOURS-KEY.pem -H \
         'authorization: Bearer "
    );
    assert!(call.starts_with(&expected), "{call}");
    assert!(!call.contains("plaintext"), "{call}");
}

#[test]
fn settings_that_can_not_be_used_are_told_by_setting_and_file_before_anything_starts() {
    let authority = Authority::new();
    let identity = authority.sign("localhost");
    let files = Files::with(&identity);
    let (cert, key) = (files.name("cert.pem"), files.name("key.pem"));
    let other = files.write("other.pem", &authority.sign("localhost").key_pem);
    let empty = files.write("empty.pem", "");
    let broken = files.write(
        "broken.pem",
        &identity.key_pem.replace("PRIVATE KEY-----\n", "?"),
    );
    let garbled = files.write(
        "garbled.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let locked = files.write(
        "locked.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let huge = files.write("huge.pem", &"x".repeat(2_000_000));
    let data_dir = folder();
    let data_dir = data_dir.path().join("never-made");
    let data_dir = data_dir.to_str().expect("UTF-8");
    fs::set_permissions(files.folder(), fs::Permissions::from_mode(0o755)).expect("ours");
    let nowhere = "/nowhere/x.pem";
    for (arguments, expected) in [
        (
            vec![("--tls-cert", cert.as_str())],
            "IRONFLOW_TLS_KEY is not set: expected the private key of the certificate (PEM, \
             -----BEGIN PRIVATE KEY-----), as IRONFLOW_TLS_CERT is"
                .to_owned(),
        ),
        (
            vec![("--tls-key", &key)],
            "IRONFLOW_TLS_CERT is not set: expected a certificate and its chain".to_owned(),
        ),
        (
            vec![("--tls-client-ca", &cert)],
            "IRONFLOW_TLS_CERT is not set: expected a certificate and its chain (PEM, \
             -----BEGIN CERTIFICATE-----), as IRONFLOW_TLS_CLIENT_CA is"
                .to_owned(),
        ),
        (
            vec![("--tls-cert", nowhere), ("--tls-key", &key)],
            format!(
                "IRONFLOW_TLS_CERT: expected a certificate and its chain (PEM, \
                 -----BEGIN CERTIFICATE-----) to read at {nowhere}: No such file"
            ),
        ),
        (
            vec![("--tls-cert", &cert), ("--tls-key", nowhere)],
            format!(
                "IRONFLOW_TLS_KEY: expected the private key of the certificate (PEM, \
                 -----BEGIN PRIVATE KEY-----) to read at {nowhere}: No such file"
            ),
        ),
        (
            vec![("--tls-cert", &key), ("--tls-key", &key)],
            format!(
                "IRONFLOW_TLS_CERT: expected a certificate and its chain (PEM, \
                 -----BEGIN CERTIFICATE-----) in {key}, found none"
            ),
        ),
        (
            vec![("--tls-cert", &garbled), ("--tls-key", &key)],
            format!("in {garbled}, found one that is broken"),
        ),
        (
            vec![("--tls-cert", &huge), ("--tls-key", &key)],
            format!("in {huge}, found more than 1048576 bytes"),
        ),
        (
            vec![("--tls-cert", &cert), ("--tls-key", &other)],
            format!(
                "IRONFLOW_TLS_KEY: expected the key of the certificate in {cert} \
                 (IRONFLOW_TLS_CERT), found another in {other}"
            ),
        ),
        (
            vec![("--tls-cert", &cert), ("--tls-key", &cert)],
            format!("in {cert}, found none"),
        ),
        (
            vec![("--tls-cert", &cert), ("--tls-key", &broken)],
            format!("in {broken}, found PEM that is broken"),
        ),
        (
            vec![("--tls-cert", &cert), ("--tls-key", &locked)],
            format!("in {locked}, found one that is encrypted with a password"),
        ),
        (
            vec![
                ("--tls-cert", &cert),
                ("--tls-key", &key),
                ("--tls-client-ca", &empty),
            ],
            format!(
                "IRONFLOW_TLS_CLIENT_CA: expected the certificates of authorities (PEM, \
                 -----BEGIN CERTIFICATE-----) in {empty}, found none"
            ),
        ),
    ] {
        let mut line = vec!["--data-dir", data_dir, "--listen", "127.0.0.1:0"];
        line.extend(arguments.iter().flat_map(|(name, value)| [*name, *value]));
        let refused = program(&line).output().expect("the program runs");
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        let text = stderr(&refused);
        assert!(text.contains(&expected), "{arguments:?}: {text}");
        assert!(refused.stdout.is_empty(), "{arguments:?}");
        assert!(!std::path::Path::new(data_dir).exists(), "{arguments:?}");
        let secret = identity.key_pem.lines().nth(1).expect("a key");
        assert!(!text.contains(secret), "{text}");
    }
}
