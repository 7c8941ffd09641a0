//! The keys tokens are checked against, and how they stay fresh.
//!
//! A request checks its token against the keys at hand and waits for nothing. Only a token whose key
//! is not known asks for fresher keys, and waits a moment for them: the first token after a rotation
//! is as good as any. [`Keyring::run`] is the only one who reads keys, at most once per interval,
//! however many ask. While that fails the keys at hand stay in service; a key that is missing in a set
//! that was read is revoked.

mod remembered;
mod settings;
mod source;

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use remembered::Remembered;
pub use settings::SettingError;
use settings::Settings;
use source::Source;
pub use source::SourceError;

use crate::auth::{self, Algorithm, Caller, KeySet, Keys, Rules, Secret};
use crate::config::Auth;
use crate::domain::clock::Millis;
use crate::error::Refusal;

/// How long a request waits for fresher keys. Longer than a fetch takes, shorter than a person waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// How soon to try again while there are no keys at all, so nobody can sign in with one.
const FIRST_READ_PAUSE: Duration = Duration::from_secs(5);

/// What tokens are checked against, and those that were accepted. With other keys every token is checked anew.
struct Check {
    keys: Keys,
    remembered: Remembered,
}

impl Check {
    fn with(keys: Keys) -> Arc<Self> {
        let remembered = Remembered::default();
        Arc::new(Self { keys, remembered })
    }
}

/// Says who calls. Cheap to clone; all clones are one keyring.
#[derive(Clone)]
pub struct Keyring {
    ring: Arc<Ring>,
}

struct Ring {
    rules: Rules,
    /// What tokens of the key set may be signed with.
    of_set: Vec<Algorithm>,
    source: Option<Source>,
    refetch_interval: Duration,
    refresh_interval: Duration,
    state: watch::Sender<State>,
    /// A token named a key that is not known.
    wanted: Notify,
}

struct State {
    check: Arc<Check>,
    /// Whether a key set was ever read.
    is_loaded: bool,
    /// Before then keys are not read again; `None`: they are being read.
    rest_until: Option<Instant>,
}

impl Keyring {
    /// The keyring that the settings ask for: a secret (the one that was set, or one made for
    /// development), a key set, or both. A file has to be readable now; an address may answer later.
    pub fn new(auth: &Auth, secret: Option<&Secret>) -> Result<Self, SettingError> {
        let settings = Settings::new(auth, secret.is_some())?;
        let set = match &settings.source {
            Some(Source::File(path)) => {
                let document = source::read_file(path)?;
                KeySet::parse(&document, &settings.of_set).map_err(SourceError::NoKeySet)?
            }
            Some(Source::Address { .. }) | None => KeySet::empty(&settings.of_set),
        };
        let state = State {
            is_loaded: matches!(settings.source, Some(Source::File(_))),
            check: Check::with(Keys::new(secret, set)),
            rest_until: None,
        };
        Ok(Self {
            ring: Arc::new(Ring {
                rules: settings.rules,
                of_set: settings.of_set,
                source: settings.source,
                refetch_interval: auth.refetch_interval(),
                refresh_interval: auth.refresh_interval(),
                state: watch::Sender::new(state),
                wanted: Notify::new(),
            }),
        })
    }

    /// What tokens must say.
    pub fn rules(&self) -> &Rules {
        &self.ring.rules
    }

    /// Reads the key set as it is now, and says how many of its keys can be used; `None`: there is only a secret.
    /// What tokens are checked against stays as it is.
    pub async fn look(&self) -> Result<Option<usize>, SourceError> {
        let Some(source) = &self.ring.source else {
            return Ok(None);
        };
        let set = KeySet::parse(&source.read().await?, &self.ring.of_set)?;
        Ok(Some(set.len()))
    }

    /// Checks a token and says who calls.
    pub async fn verify(&self, token: &str, now: Millis) -> Result<Caller, Refusal> {
        match self.check(token, now) {
            Err(Refusal::KeyUnknown) if self.ring.source.is_some() => (),
            decided => return decided,
        }
        self.refreshed().await;
        match self.check(token, now) {
            Err(Refusal::KeyUnknown) if !self.ring.state.borrow().is_loaded => {
                Err(Refusal::KeysMissing)
            }
            decided => decided,
        }
    }

    fn check(&self, token: &str, now: Millis) -> Result<Caller, Refusal> {
        let check = self.ring.state.borrow().check.clone();
        let verify = || auth::verify(token, &check.keys, &self.ring.rules, now);
        check.remembered.or(token, now, verify)
    }

    /// Waits until the keys have been read again, if they may be, and for a moment at most.
    async fn refreshed(&self) {
        let mut state = self.ring.state.subscribe();
        let asked = Instant::now();
        let rests = |state: &State| state.rest_until.is_some_and(|until| asked < until);
        if rests(&state.borrow()) {
            return;
        }
        self.ring.wanted.notify_one();
        // In vain, should the reading take longer: then the keys are as they were.
        let _ = tokio::time::timeout(PATIENCE, state.wait_for(rests)).await;
    }

    /// Keeps the key set fresh until `stop`. Returns at once if there is none.
    pub async fn run(&self, stop: CancellationToken) {
        let Some(source) = &self.ring.source else {
            return;
        };
        if source.is_exposed() {
            tracing::warn!(
                "IRONFLOW_JWT_KEYS: fetched without TLS; whoever stands in between can be anyone"
            );
        }
        let mut known = Vec::new();
        let kept = async {
            loop {
                let due = self.read(source, &mut known).await;
                tokio::select! {
                    () = self.wanted_again() => (),
                    () = tokio::time::sleep_until(due) => (),
                }
                self.ring.state.send_modify(|state| state.rest_until = None);
            }
        };
        tokio::select! {
            () = stop.cancelled() => (),
            () = kept => (),
        }
    }

    /// Ends when a token has asked for fresher keys and they may be read.
    async fn wanted_again(&self) {
        let rest_until = self.ring.state.borrow().rest_until;
        if let Some(until) = rest_until {
            tokio::time::sleep_until(until).await;
        }
        self.ring.wanted.notified().await;
    }

    /// Reads the key set once, and says when to do it again. `known` is the document read before.
    async fn read(&self, source: &Source, known: &mut Vec<u8>) -> Instant {
        let read = source.read().await.and_then(|document| {
            if document == *known {
                return Ok(None);
            }
            let set = KeySet::parse(&document, &self.ring.of_set)?;
            *known = document;
            Ok(Some(set))
        });
        let failed = read.is_err();
        let set = match read {
            Ok(set) => set,
            Err(error) => {
                let cause = causes(&error);
                tracing::warn!(
                    cause,
                    "IRONFLOW_JWT_KEYS: {error}; the keys at hand stay in service"
                );
                None
            }
        };
        if let Some(set) = &set {
            let (usable, unusable) = (set.len(), set.unusable());
            if set.is_empty() {
                tracing::warn!(unusable, "IRONFLOW_JWT_KEYS: no key that could be used");
            } else {
                tracing::info!(usable, unusable, "IRONFLOW_JWT_KEYS: keys read");
            }
        }
        // Whoever asked until now asked for what has just been read.
        let _ = self.ring.wanted.notified().now_or_never();
        let mut due = Instant::now();
        self.ring.state.send_modify(|state| {
            if let Some(set) = set {
                state.check = Check::with(state.check.keys.with_set(set));
            }
            state.is_loaded |= !failed;
            let rest = match state.is_loaded {
                true => self.ring.refetch_interval,
                false => self.ring.refetch_interval.min(FIRST_READ_PAUSE),
            };
            state.rest_until = Some(due + rest);
            due += match source {
                Source::Address { .. } if !failed => self.ring.refresh_interval.max(rest),
                Source::Address { .. } | Source::File(_) => rest,
            };
        });
        due
    }
}

/// What lies below an error: why a connection failed is told three levels down.
fn causes(error: &SourceError) -> Option<String> {
    let causes = successors(error.source(), |cause| (*cause).source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(": "))
}
