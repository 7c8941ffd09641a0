//! What the settings come to: which algorithms, which rules, which keys from where. Settings that
//! contradict each other, or under which nobody could sign in, are refused by name.

use thiserror::Error;

use super::source::{Source, SourceError};
use crate::auth::{Algorithm, Rules, SubscriptionClaims};
use crate::config::{Auth, Preset, SignatureAlgorithm, Subscription};

/// Settings that cannot be meant. Named by their variables; the arguments are called alike.
#[derive(Debug, Error)]
pub enum SettingError {
    /// A text is empty.
    #[error("{0}: expected text; leave it unset to accept any")]
    Empty(&'static str),
    /// A name, or one of several, is empty.
    #[error("{0}: expected text; leave it unset for the default")]
    EmptyName(&'static str),
    /// A preset without its project, or the other way round.
    #[error("{set} is set: expected {missing} beside it")]
    Alone {
        /// What is set.
        set: &'static str,
        /// What belongs to it.
        missing: &'static str,
    },
    /// A project that is no name of one.
    #[error(
        "IRONFLOW_JWT_PROJECT: expected letters, digits and hyphens, as in the provider's console"
    )]
    Project,
    /// An algorithm that nothing could have signed with.
    #[error("IRONFLOW_JWT_ALGORITHMS has {algorithm}: expected {missing} for it")]
    NoKey {
        /// The algorithm.
        algorithm: &'static str,
        /// What would have to be set.
        missing: &'static str,
    },
    /// A secret, or keys, that no algorithm uses.
    #[error("{set} is set: expected {expected} in IRONFLOW_JWT_ALGORITHMS, or {set} unset")]
    Unused {
        /// What is set.
        set: &'static str,
        /// What would use it.
        expected: &'static str,
    },
    /// The keys cannot be read, or never could.
    #[error("IRONFLOW_JWT_KEYS")]
    Keys(#[from] SourceError),
}

/// What the settings come to.
#[derive(Debug)]
pub(super) struct Settings {
    /// What tokens of the key set may be signed with; never HS256.
    pub(super) of_set: Vec<Algorithm>,
    pub(super) rules: Rules,
    pub(super) source: Option<Source>,
}

/// What a preset fills in.
struct Defaults {
    issuer: String,
    audience: String,
    keys: String,
    algorithms: &'static [SignatureAlgorithm],
}

const OF_KEYS: [SignatureAlgorithm; 4] = [
    SignatureAlgorithm::Rs256,
    SignatureAlgorithm::Ps256,
    SignatureAlgorithm::Es256,
    SignatureAlgorithm::EdDsa,
];

impl Settings {
    /// Reads the settings of a service that has a secret or has none.
    pub(super) fn new(auth: &Auth, has_secret: bool) -> Result<Self, SettingError> {
        let filled_in = defaults(auth)?;
        // Who names HS256 alone asks for the secret, and not for the keys of a preset.
        let secret_alone = [SignatureAlgorithm::Hs256];
        let keys = match (&auth.jwt_keys, &filled_in) {
            (Some(keys), _) => Some(keys.as_str()),
            (None, Some(_)) if auth.jwt_algorithms == secret_alone => None,
            (None, Some(preset)) => Some(preset.keys.as_str()),
            (None, None) => None,
        };
        let of_keys = filled_in
            .as_ref()
            .map_or(&OF_KEYS[..], |preset| preset.algorithms);
        let of_set = algorithms(auth, has_secret, keys.is_some().then_some(of_keys))?;
        let issuer = auth.jwt_issuer.clone();
        let mut audiences = auth.jwt_audience.clone();
        let user_claim = auth.jwt_user_claim.clone();
        if issuer.as_deref() == Some("") {
            return Err(SettingError::Empty("IRONFLOW_JWT_ISSUER"));
        }
        if audiences.iter().any(String::is_empty) {
            return Err(SettingError::Empty("IRONFLOW_JWT_AUDIENCE"));
        }
        if user_claim.as_deref() == Some("") {
            return Err(SettingError::Empty("IRONFLOW_JWT_USER_CLAIM"));
        }
        let source = keys.map(Source::new).transpose()?;
        let (preset_issuer, preset_audience) = filled_in
            .map(|preset| (preset.issuer, preset.audience))
            .unzip();
        if audiences.is_empty() {
            audiences.extend(preset_audience);
        }
        Ok(Self {
            of_set,
            rules: Rules {
                issuer: issuer.or(preset_issuer),
                audiences,
                user_claim: user_claim.unwrap_or_else(|| Rules::default().user_claim),
                subscription: subscription_claims(&auth.subscription)?,
            },
            source,
        })
    }
}

fn subscription_claims(settings: &Subscription) -> Result<SubscriptionClaims, SettingError> {
    for (variable, is_empty) in [
        ("IRONFLOW_SUBSCRIPTION_CLAIM", settings.claim.is_empty()),
        (
            "IRONFLOW_SUBSCRIPTION_VALUES",
            settings.values.iter().any(String::is_empty),
        ),
        (
            "IRONFLOW_SUBSCRIPTION_EXPIRES_CLAIM",
            settings.expires_claim.is_empty(),
        ),
    ] {
        if is_empty {
            return Err(SettingError::EmptyName(variable));
        }
    }
    Ok(SubscriptionClaims {
        claim: settings.claim.clone(),
        values: settings.values.clone(),
        expires_claim: settings.expires_claim.clone(),
    })
}

/// What the preset says, if there is one.
fn defaults(auth: &Auth) -> Result<Option<Defaults>, SettingError> {
    let (preset, project) = match (auth.jwt_preset, &auth.jwt_project) {
        (Some(preset), Some(project)) => (preset, project),
        (None, None) => return Ok(None),
        (Some(_), None) => {
            return Err(SettingError::Alone {
                set: "IRONFLOW_JWT_PRESET",
                missing: "IRONFLOW_JWT_PROJECT",
            });
        }
        (None, Some(_)) => {
            return Err(SettingError::Alone {
                set: "IRONFLOW_JWT_PROJECT",
                missing: "IRONFLOW_JWT_PRESET",
            });
        }
    };
    // It becomes part of a host name: nothing in it may end that.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if project.is_empty() || !project.bytes().all(is_name) {
        return Err(SettingError::Project);
    }
    Ok(Some(match preset {
        Preset::Supabase => {
            let issuer = format!("https://{project}.supabase.co/auth/v1");
            Defaults {
                keys: format!("{issuer}/.well-known/jwks.json"),
                issuer,
                audience: "authenticated".to_owned(),
                algorithms: &[
                    SignatureAlgorithm::Es256,
                    SignatureAlgorithm::Rs256,
                    SignatureAlgorithm::EdDsa,
                ],
            }
        }
        Preset::Firebase => Defaults {
            issuer: format!("https://securetoken.google.com/{project}"),
            audience: project.clone(),
            keys: "https://www.googleapis.com/service_accounts/v1/jwk/\
                   securetoken@system.gserviceaccount.com"
                .to_owned(),
            algorithms: &[SignatureAlgorithm::Rs256],
        },
    }))
}

/// What tokens of the key set may be signed with. `of_keys`: the default, if there are keys. HS256
/// belongs to the secret and the others to the keys, so a key can never be mistaken for a secret.
fn algorithms(
    auth: &Auth,
    has_secret: bool,
    of_keys: Option<&[SignatureAlgorithm]>,
) -> Result<Vec<Algorithm>, SettingError> {
    let asked = &auth.jwt_algorithms;
    let is_asked = !asked.is_empty();
    let asks_for_secret = asked.contains(&SignatureAlgorithm::Hs256);
    let mut pinned: Vec<SignatureAlgorithm> = asked.clone();
    pinned.retain(|algorithm| *algorithm != SignatureAlgorithm::Hs256);
    if asks_for_secret && !has_secret {
        return Err(SettingError::NoKey {
            algorithm: "HS256",
            missing: "IRONFLOW_JWT_SECRET",
        });
    }
    let is_of_use = match auth.jwt_preset {
        Some(Preset::Firebase) => asks_for_secret,
        Some(Preset::Supabase) | None => asks_for_secret || !is_asked,
    };
    // A development secret is not set by anybody, and nobody has to unset it.
    if auth.jwt_secret.is_some() && !is_of_use {
        return Err(SettingError::Unused {
            set: "IRONFLOW_JWT_SECRET",
            expected: "HS256",
        });
    }
    match (of_keys, pinned.first()) {
        (None, Some(first)) => Err(SettingError::NoKey {
            algorithm: name(*first),
            missing: "IRONFLOW_JWT_KEYS",
        }),
        (Some(_), None) if is_asked => Err(SettingError::Unused {
            set: "IRONFLOW_JWT_KEYS",
            expected: "RS256, PS256, ES256 or EdDSA",
        }),
        (Some(of_keys), None) => Ok(of_keys.iter().copied().filter_map(of_key_set).collect()),
        (None, None) => Ok(Vec::new()),
        (Some(_), Some(_)) => Ok(pinned.into_iter().filter_map(of_key_set).collect()),
    }
}

fn of_key_set(algorithm: SignatureAlgorithm) -> Option<Algorithm> {
    match algorithm {
        SignatureAlgorithm::Hs256 => None,
        SignatureAlgorithm::Rs256 => Some(Algorithm::RS256),
        SignatureAlgorithm::Ps256 => Some(Algorithm::PS256),
        SignatureAlgorithm::Es256 => Some(Algorithm::ES256),
        SignatureAlgorithm::EdDsa => Some(Algorithm::EdDSA),
    }
}

fn name(algorithm: SignatureAlgorithm) -> &'static str {
    match algorithm {
        SignatureAlgorithm::Hs256 => "HS256",
        SignatureAlgorithm::Rs256 => "RS256",
        SignatureAlgorithm::Ps256 => "PS256",
        SignatureAlgorithm::Es256 => "ES256",
        SignatureAlgorithm::EdDsa => "EdDSA",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Config;

    const SECRET: [&str; 2] = ["--jwt-secret", "0123456789abcdef0123456789abcdef"];
    const KEYS: [&str; 2] = ["--jwt-keys", "/keys.json"];
    const FIREBASE: [&str; 4] = ["--jwt-preset", "firebase", "--jwt-project", "gym-1"];
    const SUPABASE: [&str; 4] = ["--jwt-preset", "supabase", "--jwt-project", "abcd1234"];

    fn settings(arguments: &[&[&str]]) -> Result<Settings, SettingError> {
        let line = [&["ironflow-sync"][..], &arguments.concat()].concat();
        let auth = Config::try_parse_from(line).expect("parses").auth;
        Settings::new(&auth, auth.jwt_secret.is_some())
    }

    fn address(source: Option<&Source>) -> String {
        match source {
            Some(Source::Address { uri, .. }) => uri.to_string(),
            Some(Source::File(path)) => path.display().to_string(),
            None => String::new(),
        }
    }

    #[test]
    fn presets_fill_in_what_is_left_out() {
        let firebase = settings(&[&FIREBASE]).expect("settings");
        assert_eq!(firebase.of_set, [Algorithm::RS256]);
        assert_eq!(
            firebase.rules,
            Rules {
                issuer: Some("https://securetoken.google.com/gym-1".to_owned()),
                audiences: vec!["gym-1".to_owned()],
                user_claim: "sub".to_owned(),
                ..Rules::default()
            }
        );
        assert_eq!(
            address(firebase.source.as_ref()),
            "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
        );
        let supabase = settings(&[&SUPABASE, &SECRET]).expect("settings");
        let expected = [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA];
        assert_eq!(supabase.of_set, expected);
        let issuer = "https://abcd1234.supabase.co/auth/v1";
        assert_eq!(supabase.rules.issuer.as_deref(), Some(issuer));
        assert_eq!(supabase.rules.audiences, ["authenticated"]);
        assert_eq!(
            address(supabase.source.as_ref()),
            format!("{issuer}/.well-known/jwks.json")
        );
    }

    #[test]
    fn explicit_settings_count_for_more_than_the_preset() {
        let explicit = [
            "--jwt-issuer",
            "https://id.example",
            "--jwt-audience",
            "web,ios",
            "--jwt-user-claim",
            "user_id",
            "--jwt-algorithms",
            "EdDSA",
        ];
        let settings = settings(&[&FIREBASE, &KEYS, &explicit]).expect("settings");
        assert_eq!(settings.of_set, [Algorithm::EdDSA]);
        assert_eq!(
            settings.rules,
            Rules {
                issuer: Some("https://id.example".to_owned()),
                audiences: vec!["web".to_owned(), "ios".to_owned()],
                user_claim: "user_id".to_owned(),
                ..Rules::default()
            }
        );
        assert_eq!(address(settings.source.as_ref()), "/keys.json");
    }

    #[test]
    fn the_secret_alone_needs_no_keys_of_the_preset() {
        let alone = settings(&[&SUPABASE, &SECRET, &["--jwt-algorithms", "HS256"]]);
        let alone = alone.expect("settings");
        assert!(alone.source.is_none() && alone.of_set.is_empty());
        let all = settings(&[&SECRET, &KEYS]).expect("settings");
        assert_eq!(all.of_set.len(), 4);
        let none = settings(&[&SECRET]).expect("settings");
        assert!(none.source.is_none() && none.of_set.is_empty());
        assert_eq!(none.rules, Rules::default());
    }

    #[test]
    fn settings_that_can_not_be_meant_are_refused_by_name() {
        let algorithms = |value| ["--jwt-algorithms", value];
        let project = |value| ["--jwt-preset", "supabase", "--jwt-project", value];
        for (arguments, words) in [
            (
                vec![&FIREBASE[..2]],
                ["IRONFLOW_JWT_PRESET", "IRONFLOW_JWT_PROJECT"],
            ),
            (
                vec![&FIREBASE[2..]],
                ["IRONFLOW_JWT_PROJECT", "IRONFLOW_JWT_PRESET"],
            ),
            (
                vec![&project("evil.example/")],
                ["IRONFLOW_JWT_PROJECT", "letters"],
            ),
            (vec![&project("")], ["IRONFLOW_JWT_PROJECT", "letters"]),
            (
                vec![&FIREBASE, &SECRET, &algorithms("RS256")],
                ["IRONFLOW_JWT_SECRET", "HS256"],
            ),
            (
                vec![&KEYS, &algorithms("HS256")],
                ["HS256", "IRONFLOW_JWT_SECRET"],
            ),
            (
                vec![&SECRET, &KEYS, &algorithms("HS256")],
                ["IRONFLOW_JWT_KEYS", "RS256"],
            ),
            (
                vec![&SECRET, &algorithms("HS256,ES256")],
                ["ES256", "IRONFLOW_JWT_KEYS"],
            ),
            (
                vec![&SECRET, &["--jwt-issuer", ""]],
                ["IRONFLOW_JWT_ISSUER", "text"],
            ),
            (
                vec![&SECRET, &["--jwt-audience", ""]],
                ["IRONFLOW_JWT_AUDIENCE", "text"],
            ),
            (
                vec![&SECRET, &["--jwt-audience", "a,"]],
                ["IRONFLOW_JWT_AUDIENCE", "text"],
            ),
            (
                vec![&SECRET, &["--jwt-user-claim", ""]],
                ["IRONFLOW_JWT_USER_CLAIM", "text"],
            ),
        ] {
            let refused = settings(&arguments).expect_err(words[0]).to_string();
            for word in words {
                assert!(refused.contains(word), "{arguments:?}: {refused}");
            }
        }
        for keys in [
            "",
            "ftp://id.example/keys",
            "https://",
            "https://me:pw@id.example/keys",
        ] {
            let refused = settings(&[&["--jwt-keys", keys]]).expect_err(keys);
            assert_eq!(refused.to_string(), "IRONFLOW_JWT_KEYS", "{keys}");
            let cause = std::error::Error::source(&refused)
                .expect("a cause")
                .to_string();
            assert!(
                cause.contains("expected a file, or an address"),
                "{keys}: {cause}"
            );
        }
    }

    #[test]
    fn a_secret_that_no_default_uses_is_refused() {
        let refused = settings(&[&FIREBASE, &SECRET]).expect_err("Firebase has no HS256");
        assert!(
            refused.to_string().contains("IRONFLOW_JWT_SECRET"),
            "{refused}"
        );
    }
}
