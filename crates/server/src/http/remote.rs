//! Which client sent a request?
//!
//! The TCP peer, unless that is a proxy we trust: then the address that the proxy names. The
//! right-most address in `X-Forwarded-For` that is not itself a trusted proxy counts; everything
//! left of it is the client's own invention.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::HeaderMap;

use super::connections::places::Slot;
use crate::config::Cidr;

/// The connection that a request came on.
#[derive(Clone)]
pub struct Remote {
    /// The TCP peer.
    pub peer: SocketAddr,
    /// Its place among the connections; `None` in tests.
    pub slot: Option<Arc<Slot>>,
}

/// The sender of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address; the port is 0 where a proxy hides it.
    pub address: SocketAddr,
    /// Whether it is on this machine: a loopback peer that forwards for no other client.
    pub is_local: bool,
    /// Whether the TCP peer is a proxy that we trust.
    pub is_proxied: bool,
}

impl Client {
    /// Finds the sender of a request.
    pub fn of(peer: SocketAddr, headers: &HeaderMap, trusted: &[Cidr]) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        let forwarded = headers.contains_key("x-forwarded-for") || headers.contains_key("forwarded");
        if !is_trusted(peer.ip()) {
            return Self { address: peer, is_local: peer.ip().is_loopback() && !forwarded, is_proxied: false };
        }
        let hops = headers.get_all("x-forwarded-for").iter().flat_map(|value| {
            value.to_str().unwrap_or_default().split(',').map(|hop| parse_hop(hop.trim())).collect::<Vec<_>>()
        });
        let mut address = peer;
        for hop in hops.collect::<Vec<_>>().into_iter().rev() {
            // Behind something that is no address nothing can be believed.
            let Some(hop) = hop else { break };
            address = SocketAddr::new(hop, 0);
            if !is_trusted(hop) {
                break;
            }
        }
        let is_local = address == peer && peer.ip().is_loopback() && !forwarded;
        Self { address, is_local, is_proxied: true }
    }
}

/// Some proxies add a port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    hop.parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
        let trusted: Vec<Cidr> = vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let check = |peer: &str, forwarded: &[&str], address: &str, local: bool| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let client = Client::of(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(
                (client.address.to_string().as_str(), client.is_local),
                (address, local),
                "{peer} {forwarded:?}"
            );
        };
        check("192.0.2.1:5", &[], "192.0.2.1:5", false);
        check("192.0.2.1:5", &["198.51.100.1"], "192.0.2.1:5", false);
        check("10.0.0.1:5", &[], "10.0.0.1:5", false);
        check("10.0.0.1:5", &["198.51.100.1"], "198.51.100.1:0", false);
        check("10.0.0.1:5", &["1.1.1.1, 198.51.100.1, 10.0.0.9"], "198.51.100.1:0", false);
        check("10.0.0.1:5", &["1.1.1.1", "198.51.100.1:44"], "198.51.100.1:0", false);
        check("10.0.0.1:5", &["1.1.1.1, junk"], "10.0.0.1:5", false);
        check("10.0.0.1:5", &["2001:db8::1"], "[2001:db8::1]:0", false);
        check("127.0.0.1:5", &[], "127.0.0.1:5", true);
        check("127.0.0.1:5", &["127.0.0.1"], "127.0.0.1:0", false);
        check("[::1]:5", &[], "[::1]:5", true);
        check("[::1]:5", &["1.1.1.1"], "[::1]:5", false);
        check("[::ffff:127.0.0.1]:5", &[], "127.0.0.1:5", true);
    }
}
