//! Logs: text for people on a terminal, one JSON object a line otherwise. They go to standard
//! error; standard output is for what a command prints.
//!
//! A call is one span, with one event when it is done (see [`crate::push`], [`crate::pull`],
//! [`crate::watch`]). Spans and events never hold data, tokens or ids; users, devices and entities are there
//! by their [`LogName`](crate::domain::scope::LogName).

use std::io::{self, IsTerminal};

use thiserror::Error;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config::Config;
#[cfg(feature = "otlp")]
use crate::trace::otlp::Exporter;

/// Logging cannot begin like this.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// What to log is not said as it should be.
    #[error("IRONFLOW_LOG: expected a level, or target=level pairs separated by commas")]
    Directives(#[from] ParseError),
    /// Spans cannot be exported there.
    #[cfg(feature = "otlp")]
    #[error("IRONFLOW_OTLP_ENDPOINT: expected an address such as http://127.0.0.1:4317")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// What has to be ended before the program ends.
#[must_use]
pub struct Telemetry {
    #[cfg(feature = "otlp")]
    exporter: Option<Exporter>,
}

impl Telemetry {
    /// Starts logging.
    pub fn start(config: &Config) -> Result<Self, TelemetryError> {
        let filter = EnvFilter::builder().parse(config.log())?;
        let lines = fmt::layer().with_writer(io::stderr);
        let lines = if io::stderr().is_terminal() {
            lines.boxed()
        } else {
            // The call is one span; a list of spans would only say it twice.
            lines.json().with_span_list(false).boxed()
        };
        let all = tracing_subscriber::registry()
            .with(secretive())
            .with(lines.with_filter(filter));
        #[cfg(feature = "otlp")]
        {
            let exporter = config.otlp_endpoint.as_deref().map(Exporter::new);
            let exporter = exporter.transpose()?;
            all.with(exporter.as_ref().map(Exporter::layer)).init();
            Ok(Self { exporter })
        }
        #[cfg(not(feature = "otlp"))]
        {
            all.init();
            Ok(Self {})
        }
    }

    /// Exports what is left to be exported.
    pub async fn end(self) {
        #[cfg(feature = "otlp")]
        if let Some(exporter) = self.exporter {
            // It waits for what runs beside it.
            let _ = tokio::task::spawn_blocking(|| exporter.end()).await;
        }
    }
}

/// What is logged at most, whatever the directives say. Libraries log what passes through them where they
/// are asked for details: HTTP/2 its headers with the tokens in them, the client of Postgres statements
/// and notices.
fn secretive() -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(env!("CARGO_CRATE_NAME"), LevelFilter::TRACE)
}
