//! Calls of any method, as every gRPC service counts them: stock dashboards know these names.

use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;

use super::{Counters, Durations, InSeconds, Metrics, Register};

/// A method of a service, as labels. Methods there are none of are all one, [`Method::UNKNOWN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Method {
    /// `unary`, `server_stream` or `bidi_stream`.
    pub grpc_type: &'static str,
    /// With its package.
    pub grpc_service: &'static str,
    /// Its name.
    pub grpc_method: &'static str,
}

impl Method {
    /// Whatever else is asked for.
    pub const UNKNOWN: Self = Self {
        grpc_type: "unknown",
        grpc_service: "unknown",
        grpc_method: "unknown",
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handled {
    grpc_type: &'static str,
    grpc_service: &'static str,
    grpc_method: &'static str,
    grpc_code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: String,
}

pub(super) struct Calls {
    started: Counters<Method>,
    handled: Counters<Handled>,
    seconds: Durations<Method>,
    refusals: Counters<Reason>,
}

impl Calls {
    pub(super) fn new(register: &mut Register) -> Self {
        Self {
            started: register.add("grpc_server_started", "Calls that began"),
            handled: register.add(
                "grpc_server_handled",
                "Calls that ended, streams too, by status code; Canceled: the caller hung up",
            ),
            seconds: register.keep(
                "grpc_server_handling_seconds",
                "How long calls took to their end, streams too",
                Durations::new_with_constructor(InSeconds),
            ),
            refusals: register.add(
                "ironflow_refusals",
                "Calls that were answered with an error, by the reason in its details",
            ),
        }
    }
}

/// A call that has begun. Dropped before it ends, it was given up by its caller.
pub struct CallUnderWay {
    metrics: Metrics,
    method: Method,
    begun: Instant,
    ended: bool,
}

impl Metrics {
    /// A call of a method has begun.
    pub fn call_began(&self, method: Method) -> CallUnderWay {
        self.0.calls.started.get_or_create(&method).inc();
        CallUnderWay {
            metrics: self.clone(),
            method,
            begun: Instant::now(),
            ended: false,
        }
    }

    fn call_ended(&self, method: Method, code: &'static str, took: Duration) {
        let Method {
            grpc_type,
            grpc_service,
            grpc_method,
        } = method;
        let handled = Handled {
            grpc_type,
            grpc_service,
            grpc_method,
            grpc_code: code,
        };
        let calls = &self.0.calls;
        calls.handled.get_or_create(&handled).inc();
        let seconds = calls.seconds.get_or_create(&method);
        seconds.observe(took.as_secs_f64());
    }
}

impl CallUnderWay {
    /// The call has ended with this status code.
    pub fn ended(mut self, code: &'static str) {
        self.ended = true;
        let took = self.begun.elapsed();
        self.metrics.call_ended(self.method, code, took);
    }

    /// The call has ended with an error that gives a reason: one of the contract's.
    pub fn refused(self, code: &'static str, reason: &str) {
        let refusals = &self.metrics.0.calls.refusals;
        let reason = reason.to_owned();
        refusals.get_or_create(&Reason { reason }).inc();
        self.ended(code);
    }
}

impl Drop for CallUnderWay {
    fn drop(&mut self) {
        if !self.ended {
            let took = self.begun.elapsed();
            self.metrics.call_ended(self.method, "Canceled", took);
        }
    }
}
