//! Is this address in that network?

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network such as `10.0.0.0/8` or `fd00::/8`; a bare address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Returns whether the network contains the address; an IPv4 address mapped into IPv6 counts as
    /// IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => masked_v4(address, self.prefix) == network,
            (IpAddr::V6(network), IpAddr::V6(address)) => masked_v6(address, self.prefix) == network,
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| BadCidr::NotANetwork)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= longest).ok_or(BadCidr::BadPrefix)?,
        };
        let network = match address {
            IpAddr::V4(address) => IpAddr::V4(masked_v4(address, prefix)),
            IpAddr::V6(address) => IpAddr::V6(masked_v6(address, prefix)),
        };
        if network != address {
            return Err(BadCidr::HostBits { network, prefix });
        }
        Ok(Self { network, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// Why a text names no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCidr {
    /// Neither an address nor a network.
    #[error("not a network; write it like 10.0.0.0/8 or fd00::/8")]
    NotANetwork,
    /// The number behind the slash is wrong.
    #[error("its prefix length is out of range; IPv4 has 0 to 32, IPv6 0 to 128")]
    BadPrefix,
    /// It names an address within a network; which of them is meant?
    #[error("has bits set behind the prefix; if you mean the network, write {network}/{prefix}")]
    HostBits {
        /// The network it is in.
        network: IpAddr,
        /// The prefix that was written.
        prefix: u8,
    },
}

fn masked_v4(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

fn masked_v6(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let check = |network: &str, address: &str, expected: bool| {
            let network: Cidr = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check("0.0.0.0/0", "255.255.255.255", true);
        check("0.0.0.0/0", "::1", false);
        check("::/0", "fe80::1", true);
        check("::/0", "1.2.3.4", false);
        check("fd00::/8", "fdff::1", true);
        check("fd00::/8", "fe00::1", false);
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("2001:db8::1/128", "2001:db8::1", true);
    }

    #[test]
    fn other_texts_are_refused_with_what_to_write() {
        let check = |text: &str, expected: &str| {
            assert!(text.parse::<Cidr>().unwrap_err().to_string().contains(expected), "{text}");
        };
        check("", "not a network");
        check("localhost", "not a network");
        check("10.0.0.0/33", "prefix length");
        check("10.0.0.0/-1", "prefix length");
        check("::/129", "prefix length");
        check("10.1.0.0/8", "write 10.0.0.0/8");
    }
}
