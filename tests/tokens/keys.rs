//! Key sets that change, and sources that fail, are slow or lie.

use std::fs;
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::FutureExt;
use futures_util::future::join_all;
use ironflow_sync::auth::{Algorithm, Caller};
use ironflow_sync::config::Config;
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::error::Refusal;
use ironflow_sync::keyring::{Keyring, SettingError};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::key_server::{Answer, KeyServer};
use super::signer::{Signer, key_set, now_s};

/// Keys are read again as soon as anybody asks, and only then.
const WHEN_ASKED: [&str; 4] = [
    "--jwt-refetch-interval-ms",
    "10",
    "--jwt-refresh-interval-ms",
    "3600000",
];

/// Keys are read all the time.
const ALL_THE_TIME: [&str; 4] = [
    "--jwt-refetch-interval-ms",
    "10",
    "--jwt-refresh-interval-ms",
    "10",
];

/// More than anything that is waited for takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(40);

/// A keyring that is kept fresh until it is dropped.
struct Fresh {
    keyring: Keyring,
    running: JoinHandle<()>,
}

impl Fresh {
    fn new(keys: &str, arguments: &[&str]) -> Result<Self, SettingError> {
        let line = [&["ironflow-sync", "--jwt-keys", keys], arguments].concat();
        let config = Config::try_parse_from(line).expect("arguments");
        let keyring = Keyring::new(&config.auth, None)?;
        let run = keyring.clone();
        let running = tokio::spawn(async move { run.run(CancellationToken::new()).await });
        Ok(Self { keyring, running })
    }

    async fn of(server: &KeyServer, arguments: &[&str]) -> Self {
        Self::new(&server.url(), arguments).expect("an address")
    }

    async fn verify(&self, token: &str) -> Result<Caller, Refusal> {
        self.keyring.verify(token, Millis(now_s() * 1000)).await
    }

    /// Waits until a token is taken, or is not.
    async fn until(&self, taken: bool, token: &str) {
        let begun = Instant::now();
        while self.verify(token).await.is_ok() != taken {
            assert!(begun.elapsed() < PATIENCE, "waited in vain");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn ed(kid: &str) -> Signer {
    Signer::new(Algorithm::EdDSA, kid)
}

#[tokio::test]
async fn the_first_token_after_the_start_and_after_a_rotation_is_as_good_as_any() {
    let (old, new) = (ed("old"), ed("new"));
    let server = KeyServer::start(Answer::Body(key_set(&[&old]))).await;
    let fresh = Fresh::of(&server, &WHEN_ASKED).await;
    fresh.verify(&old.token("mia")).await.expect("at the start");
    assert_eq!(server.asked(), 1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.asked(), 1, "known keys are not asked for");

    server.tell(Answer::Body(key_set(&[&old, &new])));
    fresh
        .verify(&new.token("mia"))
        .await
        .expect("after rotation");
    fresh
        .verify(&old.token("mia"))
        .await
        .expect("still in the set");
    assert_eq!(server.asked(), 2);

    let nameless = ed("any").nameless();
    server.tell(Answer::Body(key_set(&[&nameless])));
    tokio::time::sleep(Duration::from_millis(50)).await;
    fresh
        .verify(&nameless.token("mia"))
        .await
        .expect("keys without names");
}

#[tokio::test]
async fn a_key_that_has_left_the_set_is_refused() {
    let (old, new) = (ed("old"), ed("new"));
    // The same tokens again and again.
    let (of_old, of_new) = (old.token("mia"), new.token("mia"));
    let server = KeyServer::start(Answer::Body(key_set(&[&old, &new]))).await;
    let fresh = Fresh::of(&server, &ALL_THE_TIME).await;
    fresh.verify(&of_old).await.expect("in the set");
    server.tell(Answer::Body(key_set(&[&new])));
    fresh.until(false, &of_old).await;
    fresh.verify(&of_new).await.expect("in the set");

    let other = Signer {
        kid: new.kid.clone(),
        ..ed("x")
    };
    server.tell(Answer::Body(key_set(&[&other])));
    fresh.until(false, &of_new).await;
    fresh
        .verify(&other.token("mia"))
        .await
        .expect("the name's new key");

    server.tell(Answer::Body("{\"keys\":[]}".to_owned()));
    fresh.until(false, &other.token("mia")).await;
    let refused = fresh.verify(&other.token("mia")).await;
    assert_eq!(refused, Err(Refusal::KeyUnknown), "an empty set is a set");
}

#[tokio::test]
async fn a_token_that_was_accepted_counts_no_longer_than_one_that_is_new() {
    let signer = ed("key");
    let server = KeyServer::start(Answer::Body(key_set(&[&signer]))).await;
    let fresh = Fresh::of(&server, &[]).await;
    let now_s = now_s();
    let token = signer.sign(&json!({"sub": "mia", "nbf": now_s, "exp": now_s + 60}));
    let after = async |seconds: i64| {
        let then = Millis((now_s + seconds) * 1000);
        fresh.keyring.verify(&token, then).await
    };
    after(0).await.expect("it is valid");
    after(59).await.expect("still");
    after(89).await.expect("with half a minute of leeway");
    assert_eq!(after(91).await, Err(Refusal::TokenOutdated { ago_s: 31 }));
    let early = Err(Refusal::TokenInvalid("it is not valid yet"));
    assert_eq!(after(-31).await, early, "the clock went back");
    after(0).await.expect("and on");
}

#[tokio::test]
async fn however_many_unknown_keys_are_named_the_set_is_read_once_per_interval() {
    let known = ed("known");
    let server = KeyServer::start(Answer::Body(key_set(&[&known]))).await;
    let slow = ["--jwt-refetch-interval-ms", "3000"];
    let fresh = Fresh::of(&server, &slow).await;
    fresh.verify(&known.token("mia")).await.expect("in the set");
    let storm = || async {
        let stranger = ed("stranger");
        let tokens: Vec<String> = (0..200)
            .map(|at| {
                let kid = Some(format!("stranger {at}"));
                let signer = Signer {
                    kid,
                    ..stranger.clone()
                };
                signer.token("mia")
            })
            .collect();
        let refused = join_all(tokens.iter().map(|token| fresh.verify(token))).await;
        for refused in refused {
            assert_eq!(refused, Err(Refusal::KeyUnknown));
        }
    };
    let token = ed("stranger").token("mia");
    let at_once = fresh.verify(&token).now_or_never();
    assert_eq!(at_once, Some(Err(Refusal::KeyUnknown)), "nobody waits");
    storm().await;
    assert_eq!(server.asked(), 1, "it has just been read");
    tokio::time::sleep(Duration::from_millis(3100)).await;
    assert_eq!(server.asked(), 1, "nobody asks");
    storm().await;
    storm().await;
    assert_eq!(server.asked(), 2, "all of them share one fetch");
}

#[tokio::test]
async fn while_the_source_is_down_its_last_keys_stay_in_service() {
    let (known, late) = (ed("known"), ed("late"));
    let set = key_set(&[&known]);
    let server = KeyServer::start(Answer::Body(set.clone())).await;
    let elsewhere = KeyServer::start(Answer::Body(key_set(&[&late]))).await;
    let fresh = Fresh::of(&server, &ALL_THE_TIME).await;
    fresh.verify(&known.token("mia")).await.expect("in the set");
    let to = format!("302 Found\r\nlocation: {}", elsewhere.url());
    let status = |head: &str| Answer::Head(head.to_owned(), key_set(&[&late]));
    let padded = format!("{}{}", " ".repeat(256 * 1024), key_set(&[&late]));
    for failure in [
        status("503 Service Unavailable"),
        status("404 Not Found"),
        status("203 Non-Authoritative Information"),
        status(&to),
        status("302 Found\r\nlocation: file:///etc/passwd"),
        Answer::Body("<html>down for maintenance</html>".to_owned()),
        Answer::Body("{}".to_owned()),
        Answer::Body(String::new()),
        Answer::Body(padded),
        Answer::CutOff(key_set(&[&late])),
        Answer::Endless,
        Answer::HangUp,
    ] {
        let what = format!("{failure:?}");
        let what = what.get(..60).unwrap_or(&what);
        server.tell(failure.clone());
        // The second was asked for after the first was answered.
        server.asked_again(3).await;
        fresh.verify(&known.token("mia")).await.expect(what);
        let refused = fresh.verify(&late.token("mia")).await;
        assert_eq!(refused, Err(Refusal::KeyUnknown), "{what}");
    }
    assert_eq!(elsewhere.asked(), 0, "redirects are not followed");
    server.tell(Answer::Body(key_set(&[&late])));
    fresh.until(true, &late.token("mia")).await;
}

#[tokio::test]
async fn a_slow_source_holds_up_only_who_needs_it_and_not_for_long() {
    let (known, late) = (ed("known"), ed("late"));
    let server = KeyServer::start(Answer::Body(key_set(&[&known]))).await;
    let fresh = Fresh::of(&server, &WHEN_ASKED).await;
    fresh.verify(&known.token("mia")).await.expect("in the set");
    tokio::time::sleep(Duration::from_millis(30)).await;
    let both = key_set(&[&known, &late]);
    server.tell(Answer::After(Duration::from_secs(3600), both.clone()));
    let begun = Instant::now();
    let token = late.token("mia");
    let waiting = fresh.verify(&token);
    let others = async {
        server.asked_again(1).await;
        let token = known.token("mia");
        let at_once = fresh.verify(&token).now_or_never();
        at_once.expect("it waits for nothing").expect("in the set");
    };
    let both_end = async { tokio::join!(waiting, others) };
    let ended = tokio::time::timeout(PATIENCE, both_end).await;
    let (refused, ()) = ended.expect("not for as long as the source takes");
    assert_eq!(refused, Err(Refusal::KeyUnknown));
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(2), "{waited:?}");

    // The fetch ends by itself, and the next one is as quick as the source.
    server.tell(Answer::After(Duration::from_millis(300), both));
    fresh.until(true, &late.token("mia")).await;
}

#[tokio::test]
async fn before_there_were_any_keys_a_token_is_not_called_invalid() {
    let signer = ed("a");
    let server = KeyServer::start(Answer::HangUp).await;
    let fresh = Fresh::of(&server, &WHEN_ASKED).await;
    let refused = fresh.verify(&signer.token("mia")).await;
    assert_eq!(refused, Err(Refusal::KeysMissing));
    let garbage = fresh.verify("x.y.z").await;
    assert!(
        matches!(garbage, Err(Refusal::TokenInvalid(_))),
        "{garbage:?}"
    );
    server.tell(Answer::Body(key_set(&[&signer])));
    fresh.until(true, &signer.token("mia")).await;
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_kept_when_it_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    let name = path.to_str().expect("UTF-8");
    let (old, new) = (ed("old"), ed("new"));
    fs::write(&path, key_set(&[&old])).expect("written");
    let fresh = Fresh::new(name, &WHEN_ASKED).expect("a file");
    fresh.verify(&old.token("mia")).await.expect("in the file");
    fs::write(&path, key_set(&[&new])).expect("written");
    fresh.until(false, &old.token("mia")).await;
    fresh.verify(&new.token("mia")).await.expect("in the file");
    for content in ["", "{\"keys\":", &" ".repeat(300_000)] {
        fs::write(&path, content).expect("written");
        tokio::time::sleep(Duration::from_millis(50)).await;
        fresh
            .verify(&new.token("mia"))
            .await
            .expect("half a file is none");
    }
    fs::remove_file(&path).expect("removed");
    tokio::time::sleep(Duration::from_millis(50)).await;
    fresh
        .verify(&new.token("mia"))
        .await
        .expect("the last keys");
    fs::write(&path, key_set(&[&old])).expect("written");
    fresh.until(true, &old.token("mia")).await;
}

#[tokio::test]
async fn a_file_without_keys_to_read_is_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    fs::write(&path, "-----BEGIN PUBLIC KEY-----").expect("written");
    let missing = folder.path().join("none.json");
    for (file, expected) in [
        (&path, "expected a key set"),
        (&missing, "expected a file to read"),
        (&folder.path().to_owned(), "expected a file to read"),
    ] {
        let name = file.to_str().expect("UTF-8");
        let Err(refused) = Fresh::new(name, &[]) else {
            panic!("{name} was taken");
        };
        let cause = std::error::Error::source(&refused).expect("a cause");
        assert_eq!(refused.to_string(), "IRONFLOW_JWT_KEYS");
        assert!(cause.to_string().contains(expected), "{cause}");
    }
}
