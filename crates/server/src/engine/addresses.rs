//! Which addresses are clients told to send media to?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use crate::config::MediaConfig;

/// The addresses to offer, in order of preference: what was configured, or what this machine has and the filters
/// leave.
pub(crate) fn candidates(config: &MediaConfig) -> anyhow::Result<Vec<IpAddr>> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    if config.loopback_only {
        return Ok(loopback.into_iter().filter(has).collect());
    }
    if !config.advertised.is_empty() {
        let mut list = config.advertised.clone();
        if config.offer_loopback {
            list.extend(loopback.into_iter().filter(has));
        }
        return Ok(list);
    }
    let mut list = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        let ip = interface.ip();
        let is_link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let wanted = if ip.is_loopback() { config.offer_loopback } else { config.interfaces.permits(&interface.name) };
        // Link-local IPv6 needs a zone that no candidate can carry.
        if wanted && !is_link_local && config.candidates.permits(ip) && !list.contains(&ip) {
            list.push(ip);
        }
    }
    // IPv4 first: more networks carry it.
    list.sort_by_key(|ip| (ip.is_ipv6(), ip.is_loopback()));
    Ok(list)
}

/// Leaves out the loopback addresses of a family that this machine lacks.
pub(super) fn bindable(listen: Vec<IpAddr>) -> Vec<IpAddr> {
    listen.into_iter().filter(|ip| !ip.is_loopback() || has(ip)).collect()
}

fn has(ip: &IpAddr) -> bool {
    UdpSocket::bind((*ip, 0)).is_ok()
}
