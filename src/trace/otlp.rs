//! Spans of calls for a collector of traces (OpenTelemetry, OTLP over gRPC). The crates of OpenTelemetry
//! change together and often: they are known here and nowhere else.
//!
//! What is exported is what the log holds: spans with their fields and events, ids as digests.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::registry::LookupSpan;

use super::Trace;

const NAME: &str = "ironflow-sync";

/// How long the last spans may take to be exported at the end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Exports spans in the background, from a queue that drops what does not fit.
#[derive(Debug)]
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Exports to a collector, such as `http://127.0.0.1:4317`. Connects when there is something to export.
    pub fn new(endpoint: &str) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()?;
        let resource = Resource::builder().with_service_name(NAME).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(exporter)
            .build();
        Ok(Self(provider))
    }

    /// What makes spans of the service those of the exporter, from level info on.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(NAME))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(LevelFilter::INFO)
    }

    /// Exports what is left. Blocks meanwhile.
    pub fn end(self) {
        // At the end there is nobody to tell, and nothing to be done.
        let _ = self.0.shutdown_with_timeout(END_TIMEOUT);
    }
}

/// Makes a span go on from where its caller is. Without an exporter nothing follows.
pub(super) fn follow(span: &Span, trace: Trace) {
    let flags = match trace.sampled {
        true => TraceFlags::SAMPLED,
        false => TraceFlags::default(),
    };
    let caller = SpanContext::new(
        TraceId::from_bytes(trace.id.to_be_bytes()),
        SpanId::from_bytes(trace.parent.to_be_bytes()),
        flags,
        true,
        TraceState::default(),
    );
    let _ = span.set_parent(Context::new().with_remote_span_context(caller));
}
