//! How does the server start, and how does it end?
//!
//! Every configuration error is found before the first connection is accepted, and printed in one
//! line. SIGTERM and SIGINT end it in order: no new sessions, goodbye to the old ones, all within
//! `shutdown_timeout`.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Config, ConfigError, HttpConfig, LogFormat, Tls};
use crate::doctor;
use crate::engine::Engine;
use crate::http::connections::tls::Certificates;
use crate::http::{Front, connections};
use crate::log;

/// Runs the server until a signal ends it.
pub async fn run(config: Config, remarks: Vec<String>) -> anyhow::Result<()> {
    log::start(&config.log);
    for remark in remarks.into_iter().chain(doctor::remarks(&config)) {
        tracing::warn!("{remark}");
    }
    let certificates = Certificates::open(&config.http.tls)?;
    let listeners = listen(&config.http)?;
    let engine = Engine::start(&config.media).await?;
    let (stop, stopping) = watch::channel(false);
    let front = Arc::new(Front::new(engine.clone(), &config, stopping.clone()));
    if let Some(certificates) = &certificates {
        tokio::spawn(Arc::clone(certificates).reload_on_change());
    }
    welcome(&config, &listeners);
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let http = config.http.clone();
    let serving =
        tokio::spawn(async move { connections::serve(listeners, front, certificates, &http, stopping).await });

    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: saying goodbye"),
        _ = interrupt.recv() => tracing::info!("SIGINT: saying goodbye; once more ends at once"),
    }
    stop.send_replace(true);
    tokio::select! {
        ((), _) = async { tokio::join!(engine.shut_down(), serving) } => tracing::info!("goodbye"),
        () = tokio::time::sleep(config.shutdown_timeout) => tracing::warn!("shutdown_timeout has passed; ending now"),
        _ = interrupt.recv() => tracing::warn!("SIGINT again; ending now"),
    }
    Ok(())
}

/// Binds all listeners, or returns the option of the one that fails.
fn listen(config: &HttpConfig) -> Result<Vec<TcpListener>, ConfigError> {
    let mut listeners = Vec::new();
    for address in &config.listen {
        match connections::bind(*address) {
            Ok(listener) => listeners.push(listener),
            Err(error)
                if config.ipv6_is_optional && address.is_ipv6() && !listeners.is_empty() && has_no_ipv6(&error) =>
            {
                tracing::info!("this machine has no IPv6; listening on IPv4 alone");
            }
            Err(error) => {
                let advice = match error.kind() {
                    std::io::ErrorKind::AddrInUse => {
                        "is taken by another program (another nowcast?); end it, or choose another port with --http"
                    }
                    std::io::ErrorKind::PermissionDenied => "needs privileges; choose a port above 1023",
                    std::io::ErrorKind::AddrNotAvailable => {
                        "is not an address of this machine; `ip address` lists them"
                    }
                    _ => "cannot be used",
                };
                let reason = format!("{address} {advice} ({error})");
                return Err(ConfigError { option: "http.listen".into(), reason });
            }
        }
    }
    Ok(listeners)
}

/// EAFNOSUPPORT, or IPv6 switched off.
fn has_no_ipv6(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAFNOSUPPORT) || error.kind() == std::io::ErrorKind::AddrNotAvailable
}

/// Prints the links of the pages and of the API.
fn welcome(config: &Config, listeners: &[TcpListener]) {
    let addresses: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let Some(base) = base_url(&addresses, &config.http.tls) else { return };
    let base = format!("{base}{}", config.http.base_path.as_str());
    let (publish, watch, api) =
        (format!("{base}/publish/demo"), format!("{base}/watch/demo"), format!("{base}/api/v1/streams"));
    let version = env!("CARGO_PKG_VERSION");
    if config.log.format == LogFormat::Json {
        tracing::info!(version, publish, watch, api, udp_port = config.media.udp_port, "ready");
        return;
    }
    println!("\n  Nowcast {version} is ready.\n\n    publish  {publish}\n    watch    {watch}\n    API      {api}\n");
    if config.dev {
        println!("  --dev: anyone on this machine may publish and watch. Key “devkey”, secret “secret”.\n");
    } else if !config.auth.anonymous.publish {
        println!("  Publishing needs a token: nowcast token --key … --secret … --stream demo --publish\n");
    }
}

/// Returns the URL for a browser on this machine.
fn base_url(addresses: &[SocketAddr], tls: &Tls) -> Option<String> {
    let scheme = if *tls == Tls::Off { "http" } else { "https" };
    let first = addresses.first()?;
    let is_here = |address: &SocketAddr| address.ip().is_unspecified() || address.ip().is_loopback();
    // A browser may resolve `localhost` to IPv6 or IPv4, so the name is used only if the server
    // listens on both.
    let both = addresses.iter().all(|address| is_here(address) && address.port() == first.port());
    if first.ip().is_unspecified() || (both && addresses.len() > 1) {
        return Some(format!("{scheme}://localhost:{}", first.port()));
    }
    Some(format!("{scheme}://{first}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_can_be_clicked() {
        let check = |addresses: &[&str], tls: Tls, expected: &str| {
            let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(base_url(&addresses, &tls).unwrap(), expected);
        };
        check(&["0.0.0.0:7880"], Tls::Off, "http://localhost:7880");
        check(&["0.0.0.0:7880", "[::]:7880"], Tls::Off, "http://localhost:7880");
        check(&["127.0.0.1:80", "[::1]:80"], Tls::SelfSigned, "https://localhost:80");
        check(&["127.0.0.1:80"], Tls::Off, "http://127.0.0.1:80");
        check(&["127.0.0.1:80", "[::1]:81"], Tls::Off, "http://127.0.0.1:80");
        check(&["192.0.2.1:7880", "127.0.0.1:7880"], Tls::SelfSigned, "https://192.0.2.1:7880");
        check(&["[2001:db8::1]:7880"], Tls::Off, "http://[2001:db8::1]:7880");
    }
}
