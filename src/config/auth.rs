//! Who may call.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::subscription::Subscription;

/// Who may call. What is left out a preset fills in, where one is named.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Authentication")]
pub struct Auth {
    /// The secret that bearer tokens (JWT, HS256) are signed with, at least 32 bytes. With DATABASE_URL
    /// a secret or keys are required; without any the data folder gets a secret for development
    #[arg(
        long,
        env = "IRONFLOW_JWT_SECRET",
        hide_env_values = true,
        global = true
    )]
    pub jwt_secret: Option<String>,
    /// The public keys that bearer tokens are signed with: a key set (JWKS), a file or an address
    /// https://...
    #[arg(
        long,
        env = "IRONFLOW_JWT_KEYS",
        hide_env_values = true, // an address may hold a password
        value_name = "FILE|URL",
        global = true
    )]
    pub jwt_keys: Option<String>,
    /// What tokens may be signed with, separated by commas [default: HS256 with a secret, the others with
    /// keys]
    #[arg(
        long,
        env = "IRONFLOW_JWT_ALGORITHMS",
        value_delimiter = ',',
        value_enum,
        global = true
    )]
    pub jwt_algorithms: Vec<SignatureAlgorithm>,
    /// What the claim iss of a token must be [default: anything]
    #[arg(long, env = "IRONFLOW_JWT_ISSUER", global = true)]
    pub jwt_issuer: Option<String>,
    /// What the claim aud of a token must name, one of these, separated by commas [default: anything]
    #[arg(
        long,
        env = "IRONFLOW_JWT_AUDIENCE",
        value_delimiter = ',',
        global = true
    )]
    pub jwt_audience: Vec<String>,
    /// The claim that holds the user id [default: sub]
    #[arg(long, env = "IRONFLOW_JWT_USER_CLAIM", global = true)]
    pub jwt_user_claim: Option<String>,
    /// Whose tokens these are: fills in keys, algorithms, issuer and audience of --jwt-project
    #[arg(long, env = "IRONFLOW_JWT_PRESET", value_enum, global = true)]
    pub jwt_preset: Option<Preset>,
    /// The project of the preset: the reference of a Supabase project, the id of a Firebase project
    #[arg(long, env = "IRONFLOW_JWT_PROJECT", global = true)]
    pub jwt_project: Option<String>,
    /// Shortest time between two reads of the keys, in milliseconds, however many tokens name a key
    /// that is not known. A file is read again this often
    #[arg(long, env = "IRONFLOW_JWT_REFETCH_INTERVAL_MS", default_value_t = 60_000, global = true,
          value_parser = clap::value_parser!(u64).range(10..))]
    jwt_refetch_interval_ms: u64,
    /// How often the keys of an address are fetched, in milliseconds: after so long a key that was
    /// withdrawn is refused
    #[arg(long, env = "IRONFLOW_JWT_REFRESH_INTERVAL_MS", default_value_t = 300_000, global = true,
          value_parser = clap::value_parser!(u64).range(10..))]
    jwt_refresh_interval_ms: u64,
    /// Who needs a subscription.
    #[command(flatten)]
    pub subscription: Subscription,
}

impl Auth {
    /// Shortest time between two reads of the keys.
    pub fn refetch_interval(&self) -> Duration {
        Duration::from_millis(self.jwt_refetch_interval_ms)
    }

    /// How often the keys of an address are fetched.
    pub fn refresh_interval(&self) -> Duration {
        Duration::from_millis(self.jwt_refresh_interval_ms)
    }
}

/// How a token may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SignatureAlgorithm {
    /// HMAC with SHA-256: the shared secret.
    #[value(name = "HS256")]
    Hs256,
    /// RSA, PKCS #1 v1.5.
    #[value(name = "RS256")]
    Rs256,
    /// RSA, PSS.
    #[value(name = "PS256")]
    Ps256,
    /// ECDSA on P-256.
    #[value(name = "ES256")]
    Es256,
    /// Ed25519.
    #[value(name = "EdDSA")]
    EdDsa,
}

/// Whose tokens these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Access tokens of Supabase Auth.
    Supabase,
    /// ID tokens of Firebase Authentication.
    Firebase,
}
