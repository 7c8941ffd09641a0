//! The start-up message: where the service is, where the data lies, and a call to paste.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use super::Database;
use crate::config::{Auth, Preset};
use crate::tls::Certificates;

/// A workout to try the service with: `{"title":"Push day","exercises":[]}` in base64, as JSON
/// callers of gRPC write bytes.
const TRIAL_DATA: &str = "eyJ0aXRsZSI6IlB1c2ggZGF5IiwiZXhlcmNpc2VzIjpbXX0=";
const TRIAL_ENTITY: &str = "6f1c5a4e-0d5b-4c57-9d0e-3f6f4f3a2b10";

/// What a newcomer wants to know. At most a dozen lines.
pub(super) struct Welcome<'a> {
    /// Where the service listens.
    pub(super) address: SocketAddr,
    /// Where it tells its metrics.
    pub(super) metrics: Option<SocketAddr>,
    /// Where it keeps its data.
    pub(super) database: &'a Database,
    /// Where the development secret lies.
    pub(super) data_dir: &'a Path,
    /// Where tokens come from.
    pub(super) sign_in: SignIn,
    /// How connections are encrypted.
    pub(super) certificates: Option<&'a Certificates>,
}

/// Where tokens come from.
pub(super) enum SignIn {
    /// The development secret, with a token to try it with.
    Trial(String),
    /// Whoever has the secret that was set.
    Secret,
    /// Wherever the users of the app sign in.
    Keys,
    /// Supabase Auth.
    Supabase,
    /// Firebase Authentication.
    Firebase,
}

impl SignIn {
    /// Where tokens come from, by the settings.
    pub(super) fn of(auth: &Auth) -> Self {
        match auth.jwt_preset {
            Some(Preset::Supabase) => Self::Supabase,
            Some(Preset::Firebase) => Self::Firebase,
            None if auth.jwt_keys.is_some() => Self::Keys,
            None => Self::Secret,
        }
    }
}

impl fmt::Display for Welcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        let tls = self.certificates.map_or("", |_| " with TLS");
        writeln!(
            f,
            "Ironflow Sync {} is ready on {address}{tls}",
            env!("CARGO_PKG_VERSION")
        )?;
        match &self.database.cluster {
            Some(cluster) => {
                let socket = cluster.socket_dir().display();
                let version = cluster.server_version();
                writeln!(
                    f,
                    "  data: {} (private Postgres {version})",
                    self.data_dir.display()
                )?;
                writeln!(f, "  look: psql -h {socket} -U ironflow ironflow")?;
            }
            None => writeln!(f, "  data: the Postgres of DATABASE_URL")?,
        }
        if let Some(metrics) = self.metrics {
            writeln!(f, "  metrics: http://{metrics}/metrics")?;
        }
        let token = match &self.sign_in {
            SignIn::Trial(token) => token,
            SignIn::Secret => {
                return writeln!(
                    f,
                    "  auth: tokens signed with IRONFLOW_JWT_SECRET; get one: ironflow-sync token \
                     --user NAME"
                );
            }
            SignIn::Keys => {
                return writeln!(
                    f,
                    "  auth: tokens signed with the keys of IRONFLOW_JWT_KEYS; get one by signing in \
                     where your users do"
                );
            }
            SignIn::Supabase => {
                return writeln!(
                    f,
                    "  auth: tokens of Supabase; get one by signing in: access_token of the session"
                );
            }
            SignIn::Firebase => {
                return writeln!(
                    f,
                    "  auth: tokens of Firebase; get one by signing in: getIdToken() of the user"
                );
            }
        };
        writeln!(
            f,
            "  auth: FOR DEVELOPMENT. Whoever can read {} can be anyone;\n        \
             set IRONFLOW_JWT_SECRET before others can reach this address.",
            self.data_dir.join("jwt_secret").display(),
        )?;
        writeln!(
            f,
            "Paste this to push a workout as user {}:\n",
            super::TRIAL_USER
        )?;
        writeln!(f, "{}", call(address, token, self.certificates))
    }
}

/// A call that works as printed.
fn call(address: SocketAddr, token: &str, certificates: Option<&Certificates>) -> String {
    // An address to listen on everywhere is none to call.
    let host = match address.ip() {
        ip if ip.is_unspecified() => format!("127.0.0.1:{}", address.port()),
        _ => address.to_string(),
    };
    let security = certificates.map_or("-plaintext".to_owned(), with_tls);
    format!(
        "grpcurl {security} -H 'authorization: Bearer {token}' -d '{{\"device_id\":\"my-phone\",\
         \"items\":[{{\"entity_type\":\"workout\",\"entity_id\":\"{TRIAL_ENTITY}\",\
         \"operation\":\"create\",\"data\":\"{TRIAL_DATA}\"}}]}}' {host} \
         ironflow.sync.v1.SyncService/Sync"
    )
}

/// What makes grpcurl trust the certificate whoever signed it, and call the service by the name it is for.
fn with_tls(certificates: &Certificates) -> String {
    let mut flags = format!("-cacert '{}'", certificates.file().display());
    if let Some(name) = certificates.name() {
        flags.push_str(&format!(" -authority {name}"));
    }
    if certificates.asks_callers() {
        flags.push_str(" -cert YOURS.pem -key YOURS-KEY.pem");
    }
    flags
}
