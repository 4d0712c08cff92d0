//! How do connections come in?
//!
//! Our own accept loop around hyper, because a server on the internet needs deadlines for every
//! stage (threat T22): the TLS handshake ([`tls`]), the head of a request, idleness and a reader
//! that does not read ([`activity`]), a request's body ([`super::exchange`]). The number of
//! connections is bounded, in all and per address ([`places`]). Frames of HTTP/2 are counted
//! ([`frames`]), and no connection is read for longer than its turn ([`watched`]).

mod activity;
mod drive;
pub mod frames;
pub(super) mod places;
pub mod tls;
mod watched;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::front::Front;
use super::limits::TLS_TIMEOUT;
use super::remote::Remote;
use crate::config::HttpConfig;
use drive::drive;
use places::Connections;
use tls::Certificates;

/// Connections that the kernel completes and keeps until the server accepts them. The kernel caps
/// it at `net.core.somaxconn`, 4,096 since Linux 5.4. With 1,024, a burst of 1,000 connections
/// filled the queue, and the client whose SYN was dropped waited 1 s for its retransmission.
const BACKLOG: i32 = 4096;
/// After `accept` has failed (no descriptors left, mostly), wait this long. A guess.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Binds a listener. An IPv6 one is for IPv6 alone, so that both wildcards can stand side by side.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restarted server finds its port free although old connections linger.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts and serves until `stopping`; then lets requests that have begun end, and returns.
pub async fn serve(
    listeners: Vec<TcpListener>,
    front: Arc<Front>,
    certificates: Option<Arc<Certificates>>,
    config: &HttpConfig,
    stopping: watch::Receiver<bool>,
) {
    let counters = Arc::clone(front.counters());
    let connections = Arc::new(Connections::new(config, counters));
    let mut loops = JoinSet::new();
    for listener in listeners {
        let (front, certificates) = (Arc::clone(&front), certificates.clone());
        loops.spawn(accept_loop(listener, front, certificates, Arc::clone(&connections), stopping.clone()));
    }
    while loops.join_next().await.is_some() {}
}

async fn accept_loop(
    listener: TcpListener,
    front: Arc<Front>,
    certificates: Option<Arc<Certificates>>,
    connections: Arc<Connections>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Forgets those that have ended.
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                connections.accept_failed(&error);
                sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let Some(slot) = connections.take(peer.ip()) else {
            continue;
        };
        let remote = Remote { peer, slot: Some(Arc::new(slot)) };
        tasks.spawn(connection(stream, remote, Arc::clone(&front), certificates.clone(), stopping.clone()));
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    remote: Remote,
    front: Arc<Front>,
    certificates: Option<Arc<Certificates>>,
    stopping: watch::Receiver<bool>,
) {
    // Small answers must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let Some(certificates) = certificates else {
        return drive(stream, remote, front, stopping).await;
    };
    match timeout(TLS_TIMEOUT, certificates.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => drive(stream, remote, front, stopping).await,
        Ok(Err(_)) | Err(_) => front.counters().tls_failed(),
    }
}
