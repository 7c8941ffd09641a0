//! Whether the service that listens here works: for containers, and for whoever is at a terminal.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use thiserror::Error as ThisError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::print;
use crate::config::Config;
use crate::tls::{greet, own_connector};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the service does not count as healthy.
#[derive(Debug, ThisError)]
enum Unhealthy {
    #[error("--listen: expected the port the service listens on, not 0")]
    NoPort,
    #[error("nothing listens on {0} ({1}); is the service running, with the same --listen?")]
    Silent(SocketAddr, io::Error),
    #[error("what listens on {0} does not speak TLS as it was set ({1})")]
    NoTls(SocketAddr, io::Error),
    #[error("what listens on {0} does not answer as ironflow-sync does ({1})")]
    Strange(SocketAddr, String),
    #[error("what listens on {address} does not answer within {} s", PATIENCE.as_secs())]
    Slow { address: SocketAddr },
    #[error(
        "the service on {0} is not serving: its database is away, or it is starting or shutting down. Its \
         log says which; or type: ironflow-sync doctor"
    )]
    NotServing(SocketAddr),
}

/// Asks the service how it is.
pub(super) async fn run(config: &Config) -> Result<(), Box<dyn Error>> {
    let address = from_here(config.listen.listen);
    if address.port() == 0 {
        return Err(Unhealthy::NoPort.into());
    }
    let asked = tokio::time::timeout(PATIENCE, ask(config, address)).await;
    let sentence = asked.map_err(|_| Unhealthy::Slow { address })??;
    print(&sentence);
    Ok(())
}

async fn ask(config: &Config, address: SocketAddr) -> Result<String, Box<dyn Error>> {
    let connector = own_connector(&config.tls)?;
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| Unhealthy::Silent(address, error))?;
    let Some(connector) = connector else {
        return check(address, stream).await;
    };
    let stream = greet(&connector, stream).await;
    let stream = stream.map_err(|error| Unhealthy::NoTls(address, error))?;
    match config.tls.tls_client_ca {
        // Without a certificate from there, this is as far as anybody gets.
        Some(_) => Ok(format!(
            "The service on {address} shakes hands; more it tells only to callers with a certificate.\n"
        )),
        None => check(address, stream).await,
    }
}

async fn check<IO>(address: SocketAddr, stream: IO) -> Result<String, Box<dyn Error>>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let strange = |what: String| Unhealthy::Strange(address, what);
    let mut stream = Some(stream);
    let connect = tower::service_fn(move |_| {
        let stream = stream.take().map(TokioIo::new);
        async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connect).await;
    let channel = channel.map_err(|_| strange("no gRPC".to_owned()))?;
    // The empty name: the service as a whole.
    let answer = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await
        .map_err(|status| strange(status.code().description().to_owned()))?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(format!("The service on {address} is serving.\n")),
        ServingStatus::NotServing | ServingStatus::Unknown | ServingStatus::ServiceUnknown => {
            Err(Unhealthy::NotServing(address).into())
        }
    }
}

/// The address to reach from this machine what listens on `listen`.
fn from_here(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_on_all_addresses_is_asked_on_this_machines_own() {
        for (listen, expected) in [
            ("0.0.0.0:50051", "127.0.0.1:50051"),
            ("[::]:7", "[::1]:7"),
            ("10.0.0.2:7", "10.0.0.2:7"),
        ] {
            let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
            assert_eq!(from_here(parse(listen)), parse(expected));
        }
    }
}
