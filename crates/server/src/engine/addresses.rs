//! Which addresses are clients told to send media to?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::config::MediaConfig;

/// The addresses to offer, in order of preference: what was configured, or what this machine has and the filters
/// leave. Port 0 is the one that media is bound to.
pub(crate) fn candidates(config: &MediaConfig) -> anyhow::Result<Vec<SocketAddr>> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let loopback = || loopback.into_iter().filter(has).map(|ip| SocketAddr::new(ip, 0));
    let mut list = config.advertised.clone();
    // A loopback address in the configuration is meant for clients of this machine, which must not
    // use another one.
    let names_loopback = list.iter().any(|address| address.ip().is_loopback());
    if config.loopback_only {
        return Ok(if list.is_empty() { loopback().collect() } else { list });
    }
    if !list.is_empty() {
        if config.offer_loopback && !names_loopback {
            list.extend(loopback());
        }
        return Ok(list);
    }
    let mut list: Vec<IpAddr> = Vec::new();
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
    Ok(list.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect())
}

/// Leaves out the loopback addresses of a family that this machine lacks.
pub(super) fn bindable(listen: Vec<IpAddr>) -> Vec<IpAddr> {
    listen.into_iter().filter(|ip| !ip.is_loopback() || has(ip)).collect()
}

fn has(ip: &IpAddr) -> bool {
    UdpSocket::bind((*ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, load};

    #[test]
    fn advertised_addresses_replace_those_of_the_machine() {
        let dev = Flags { dev: true, ..Flags::default() };
        let loopback = Flags { dev: true, loopback: true, ..Flags::default() };
        let rows = [
            ("203.0.113.5", &Flags::default(), vec!["203.0.113.5:0"]),
            ("203.0.113.5:40000,[2001:db8::5]:7", &Flags::default(), vec!["203.0.113.5:40000", "[2001:db8::5]:7"]),
            // An advertised loopback address replaces all others.
            ("127.0.0.1:7000", &dev, vec!["127.0.0.1:7000"]),
            ("127.0.0.1:7000", &loopback, vec!["127.0.0.1:7000"]),
            ("203.0.113.5:40000,127.0.0.1:7000", &loopback, vec!["127.0.0.1:7000"]),
        ];
        for (advertised, flags, offered) in rows {
            let key = ("NOWCAST_KEYS".to_owned(), "key: 0123456789abcdef0123456789abcdef".to_owned());
            let option = ("NOWCAST_MEDIA_ADVERTISED_ADDRESSES".to_owned(), advertised.to_owned());
            let (config, _) = load(None, [key, option], flags).unwrap();
            let seen: Vec<_> = candidates(&config.media).unwrap().iter().map(SocketAddr::to_string).collect();
            assert_eq!(seen, offered, "{advertised}");
        }
        let (config, _) =
            load(None, [("NOWCAST_MEDIA_ADVERTISED_ADDRESSES".to_owned(), "203.0.113.5".to_owned())], &dev).unwrap();
        let seen = candidates(&config.media).unwrap();
        assert!(seen.len() > 1 && seen.iter().skip(1).all(|address| address.ip().is_loopback()), "{seen:?}");
    }
}
