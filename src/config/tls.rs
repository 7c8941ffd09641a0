//! Encrypted connections.

use std::path::PathBuf;

use clap::Args;

/// TLS for callers. Without a certificate the service speaks without TLS.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "TLS")]
pub struct Tls {
    /// The certificate callers are shown, its chain behind it: a PEM file, read again on SIGHUP and when
    /// it changes [default: none, no TLS]
    #[arg(long, env = "IRONFLOW_TLS_CERT", value_name = "FILE", global = true)]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate: a PEM file
    #[arg(long, env = "IRONFLOW_TLS_KEY", value_name = "FILE", global = true)]
    pub tls_key: Option<PathBuf>,
    /// The authorities callers' own certificates must come from: a PEM file [default: callers need none]
    #[arg(
        long,
        env = "IRONFLOW_TLS_CLIENT_CA",
        value_name = "FILE",
        global = true
    )]
    pub tls_client_ca: Option<PathBuf>,
}
