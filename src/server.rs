//! Composition: the services, what stands around them, and an orderly end.

mod beside;
mod health;

use std::future::Future;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;
use http::HeaderValue;
use nix::sys::socket::sockopt::TcpUserTimeout;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_web::GrpcWebLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use beside::Beside;
use health::report_health;

use crate::admission::{Admission, AdmissionRules};
use crate::config::{Config, Limits};
use crate::connections::{self, Room};
use crate::domain::catalog::Catalog;
use crate::erasure::Erasing;
use crate::feed::{Feed, FeedOptions};
use crate::grpc::admission::Limited;
use crate::grpc::authn::Authenticated;
use crate::grpc::edge::EdgeLayer;
use crate::grpc::gate::Gatekeeper;
use crate::grpc::metered::MeteredLayer;
use crate::grpc::proto::DESCRIPTORS;
use crate::grpc::proto::sync_service_server::SyncServiceServer;
use crate::grpc::sync::Sync;
use crate::keyring::Keyring;
use crate::metrics::{Metrics, Port, Sources};
use crate::places::Places;
use crate::presence::Presence;
use crate::pull::Pull;
use crate::push::{Push, PushRules};
use crate::retention::{Retention, RetentionOptions};
use crate::store::Store;
use crate::tls::{Certificates, Connection};
use crate::watch::Watch;

/// Largest question to health and reflection, which anybody may ask: they take a name.
const QUESTION_BYTES_MAX: usize = 16 * 1024;

/// How long a quiet connection may be quiet before the server asks whether anybody is there, and
/// how long it waits for the answer: together less than a minute, after which a stream whose peer has
/// vanished is gone.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// After so long without a sign of life from a peer's machine its connection is closed, also one that
/// speaks HTTP/1.1, which has no pings.
const PEER_TIMEOUT: Duration = Duration::from_secs(50);

/// The service cannot run like this.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The listener failed.
    #[error("serving failed")]
    Transport(#[from] tonic::transport::Error),
    /// The listener cannot be set up.
    #[error("the listener cannot be set up")]
    Listener(#[from] nix::Error),
    /// The descriptors made by the build do not fit reflection.
    #[error("reflection failed")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A web origin is not one.
    #[error("IRONFLOW_WEB_ORIGINS: expected origins such as https://app.example.com, got {0}")]
    WebOrigin(String),
}

/// What a service is made of.
pub struct Service {
    /// Where the data is.
    pub store: Store,
    /// Who may call.
    pub keyring: Keyring,
    /// What is known of entity types.
    pub catalog: Catalog,
    /// How callers' connections are encrypted; `None`: not at all.
    pub certificates: Option<Certificates>,
    /// Where metrics are told; `None`: nowhere.
    pub metrics: Option<TcpListener>,
}

/// Serves on `listener` until `shutdown` ends, then drains: new connections are refused, streams
/// end, calls under way get `listen.drain_timeout()`. Work a batch has begun is never cut short by a
/// caller.
pub async fn serve(
    mut service: Service,
    config: &Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let store = service.store.clone();
    let keyring = service.keyring.clone();
    let certificates = service.certificates.take();
    let metrics_listener = service.metrics.take();
    let limits = &config.limits;
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let feed = Feed::new();
    let presence = Presence::new(limits.account_devices_max);
    let catalog = Arc::new(service.catalog.clone());
    let metrics = Metrics::new(&catalog);
    let retention = Retention::new(store.clone(), catalog, RetentionOptions::default());
    let admission = Admission::new(admission_rules(limits));
    // More would wait for a connection, in a queue that knows no users.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let places = Places::new(store.connections_max(), cores, limits.call_wait());
    let room = Arc::new(Room::new(connections::fitting(limits.connections_max)));
    let sources = Sources {
        store: store.clone(),
        places: places.clone(),
        admission: admission.clone(),
        feed: feed.clone(),
        room: room.clone(),
        compaction: retention.progress(),
    };
    let around = Around {
        admission: admission.clone(),
        feed: feed.clone(),
        metrics: metrics.clone(),
        places,
        presence: presence.clone(),
        tasks: tasks.clone(),
        stop: stop.clone(),
    };
    let sync = sync_service(service, config, around);
    let (health, health_service) = tonic_health::server::health_reporter();
    // Before the first call: nobody hears SERVING, or that there is no such service, too early.
    report_health(&health, ServingStatus::NotServing).await;

    let mut builder = Server::builder();
    if let Some(age) = config.listen.connection_age_max() {
        // Calls end by themselves within the grace; watches are cut, and go on elsewhere from their cursors.
        builder = builder
            .max_connection_age(age)
            .max_connection_age_grace(limits.call_timeout());
    }
    let server = builder
        .accept_http1(true) // for gRPC-Web
        .max_concurrent_streams(limits.connection_streams_max)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(cors(&config.listen.web_origins)?)
        .layer(GrpcWebLayer::new())
        .layer(MeteredLayer {
            metrics: metrics.clone(),
        })
        .layer(EdgeLayer {
            admission: admission.clone(),
            call_timeout: limits.call_timeout(),
            message_bytes_max: limits.message_bytes_max,
        })
        .add_service(health_service.max_decoding_message_size(QUESTION_BYTES_MAX))
        .add_service(
            reflection()
                .build_v1()?
                .max_decoding_message_size(QUESTION_BYTES_MAX),
        )
        .add_service(
            reflection()
                .build_v1alpha()?
                .max_decoding_message_size(QUESTION_BYTES_MAX),
        )
        .add_service(sync);
    let stopping = stop.clone().cancelled_owned();
    let incoming = connections::limited(incoming(listener)?, room.clone());
    let server = match &certificates {
        Some(certificates) => {
            // Once more: who has shaken hands has to say something soon, too.
            let talking = Arc::new(Room::new(room.size()));
            let incoming = connections::limited(certificates.around(Box::pin(incoming)), talking);
            Either::Left(server.serve_with_incoming_shutdown(incoming, stopping))
        }
        None => Either::Right(server.serve_with_incoming_shutdown(incoming, stopping)),
    };
    let beside = Beside {
        store,
        keyring,
        certificates,
        feed,
        feed_options: FeedOptions {
            notify: config.watching.notify,
            poll_interval: config.watching.poll_interval(),
        },
        presence,
        admission,
        retention,
        compact_interval: config.compaction.interval(),
        port: metrics_listener.map(|listener| Port {
            listener,
            metrics: metrics.clone(),
            sources,
        }),
        metrics,
        health,
    };
    let beside = beside.start(&stop);

    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        () = shutdown => (),
    }
    tracing::info!("shutting down");
    stop.cancel();
    tasks.close();
    let drained = tokio::time::timeout(config.listen.drain_timeout(), async {
        let served = server.await;
        tasks.wait().await;
        beside.wait().await;
        served
    });
    match drained.await {
        Ok(served) => served?,
        Err(_) => tracing::warn!("calls were still under way when the drain timeout passed"),
    }
    Ok(())
}

/// Who is at the other end is in the token, and nowhere else.
impl<IO> Connected for Connection<IO> {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

/// Connections as they come in. What is set on the listener they inherit.
fn incoming(listener: TcpListener) -> Result<TcpIncoming, ServeError> {
    let timeout_ms = PEER_TIMEOUT.as_millis() as u32;
    nix::sys::socket::setsockopt(&listener, TcpUserTimeout, &timeout_ms)?;
    Ok(TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(KEEPALIVE_INTERVAL)))
}

/// Room for server copies in the answers to a batch. A device takes messages as large as it may send;
/// an eighth of that is left for all else in the answers, 1 KiB an item by default.
fn copy_bytes_max(limits: &Limits) -> usize {
    limits.message_bytes_max - limits.message_bytes_max / 8
}

/// What the calls share with what runs beside them.
struct Around {
    admission: Admission,
    feed: Feed,
    metrics: Metrics,
    places: Places,
    presence: Presence,
    tasks: TaskTracker,
    stop: CancellationToken,
}

fn admission_rules(limits: &Limits) -> AdmissionRules {
    AdmissionRules {
        user_calls_per_s: limits.user_calls_per_s,
        user_calls_burst: limits.user_calls_burst,
        user_calls_max: limits.user_calls_max,
        user_watches_max: limits.user_watches_max,
        calls_max: limits.calls_max,
        watches_max: limits.watches_max,
        received_bytes_max: limits.received_bytes_max,
    }
}

fn sync_service(
    service: Service,
    config: &Config,
    around: Around,
) -> Authenticated<Limited<SyncServiceServer<Sync>>> {
    let Service {
        store,
        keyring,
        catalog,
        certificates: _,
        metrics: _,
    } = service;
    let Around {
        admission,
        feed,
        metrics,
        places,
        presence,
        tasks,
        stop,
    } = around;
    let limits = config.limits.clone();
    let catalog = Arc::new(catalog);
    let message_bytes_max = limits.message_bytes_max;
    let pull = Pull::new(
        store.clone(),
        catalog.clone(),
        presence.clone(),
        places.clone(),
        metrics.clone(),
        tasks.clone(),
    );
    let rules = PushRules {
        catalog: catalog.clone(),
        item_bytes_max: limits.item_bytes_max,
        copy_bytes_max: copy_bytes_max(&limits),
        account_devices_max: limits.account_devices_max,
        account_entities_max: limits.account_entities_max,
    };
    let sync = Sync {
        erasing: Erasing::new(store.clone(), feed.clone(), tasks.clone()),
        push: Push::new(
            store.clone(),
            feed.clone(),
            places.clone(),
            metrics.clone(),
            tasks,
            rules,
        ),
        watch: Watch::new(
            pull.clone(),
            feed,
            metrics.clone(),
            config.watching.heartbeat_interval(),
            stop.clone(),
        ),
        pull,
        store,
        catalog,
        gatekeeper: Gatekeeper::new(&config.auth.subscription),
        limits,
        metrics,
        presence,
        places,
        stop,
    };
    let sync = SyncServiceServer::new(sync)
        .max_decoding_message_size(message_bytes_max)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd);
    Authenticated::new(Limited::new(sync, admission, message_bytes_max), keyring)
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Which web pages may call, and what of an answer they may see.
fn cors(origins: &[String]) -> Result<CorsLayer, ServeError> {
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let values: Result<Vec<HeaderValue>, ServeError> = origins
            .iter()
            .map(|origin| {
                HeaderValue::from_str(origin).map_err(|_| ServeError::WebOrigin(origin.clone()))
            })
            .collect();
        AllowOrigin::list(values?)
    };
    Ok(CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([http::Method::POST])
        // Not `*`: to browsers that does not cover `authorization` (Fetch standard).
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(Any))
}
