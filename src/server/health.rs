//! The standard health service, kept true.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::grpc::proto::sync_service_server::SERVICE_NAME;
use crate::metrics::Metrics;
use crate::store::Store;

/// How often the health status is brought up to date. Also bounds how long it stays wrong.
const INTERVAL: Duration = Duration::from_secs(1);

/// What health is told of: the server as a whole, and the service.
const SERVICES: [&str; 2] = ["", SERVICE_NAME];

/// Keeps the health status true: overall and for the service, NOT_SERVING while Postgres is away.
pub(super) async fn watch_health(
    store: Store,
    mut health: HealthReporter,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut reported = None;
    loop {
        let status = match store.ping().await {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        if reported != Some(status) {
            metrics.serves(status == ServingStatus::Serving);
            report_health(&health, status).await;
            reported = Some(status);
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(INTERVAL) => (),
        }
    }
    metrics.serves(false);
    report_health(&health, ServingStatus::NotServing).await;
    // Ends the streams of those who watch it: left open, they would hold up the drain.
    for service in SERVICES {
        health.clear_service_status(service).await;
    }
}

/// Says how it is.
pub(super) async fn report_health(health: &HealthReporter, status: ServingStatus) {
    tracing::info!(?status, "health");
    for service in SERVICES {
        health.set_service_status(service, status).await;
    }
}
