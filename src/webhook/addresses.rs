//! Where webhooks may go: addresses of the open Internet, and networks that the settings allow.
//!
//! # Invariants
//!
//! * What is not known to be public is forbidden: loopback, private, link-local (where clouds keep
//!   their metadata), shared, reserved, multicast, and whatever carries such an IPv4 address inside
//!   an IPv6 one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Some addresses that begin alike, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

/// The text is not a network such as `10.0.0.0/8`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a network such as 10.0.0.0/8 or fd00::/8")]
pub struct NetworkError(String);

impl Network {
    /// Whether the address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                alike(first.to_bits().into(), address.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                alike(first.to_bits(), address.to_bits(), 128, self.bits)
            }
            _ => false,
        }
    }
}

/// Whether the first `bits` of two numbers of `width` bits are the same.
fn alike(a: u128, b: u128, width: u32, bits: u8) -> bool {
    let rest = width - u32::from(bits);
    rest == 128 || (a ^ b) >> rest == 0
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads an address, which stands for itself, or an address with the number of bits that count.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.to_owned());
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let first: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| wrong())?,
            None => width,
        };
        if bits > width { Err(wrong()) } else { Ok(Self { first, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

/// Whether a webhook may go to the address, if these networks are allowed.
pub(super) fn may_reach(address: IpAddr, allowed: &[Network]) -> bool {
    let inner = carried(address);
    let is_allowed = |address| allowed.iter().any(|network| network.contains(address));
    is_allowed(address) || is_allowed(inner) || is_public(address, inner)
}

/// The host of a URL as an address, if it is none that has to be looked up. `host` is what the
/// URL's parser has made of it: every way to write an IPv4 address is one way by then.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The IPv4 address that an IPv6 address leads to, or the address itself.
fn carried(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    let v4 = |high: u16, low: u16| {
        IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    match segments {
        // Mapped, compatible and translated forms, and the translation's well-known prefix.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] if v6 != Ipv6Addr::LOCALHOST => v4(high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4.
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

fn is_public(address: IpAddr, inner: IpAddr) -> bool {
    match inner {
        IpAddr::V4(inner) => {
            // The compatible form has been out of use since 2006.
            let is_compatible = matches!(address, IpAddr::V6(v6) if v6.segments()[..6] == [0; 6]);
            !is_compatible && !among(IpAddr::V4(inner), PRIVATE_V4)
        }
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000 && !among(inner, PRIVATE_V6),
    }
}

fn among(address: IpAddr, networks: &[(IpAddr, u8)]) -> bool {
    networks.iter().any(|&(first, bits)| Network { first, bits }.contains(address))
}

const fn v4(a: u8, b: u8, c: u8, bits: u8) -> (IpAddr, u8) {
    (IpAddr::V4(Ipv4Addr::new(a, b, c, 0)), bits)
}

const fn v6(a: u16, b: u16, bits: u8) -> (IpAddr, u8) {
    (IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), bits)
}

/// IPv4 addresses that are not of the open Internet (IANA's special-purpose registry).
const PRIVATE_V4: &[(IpAddr, u8)] = &[
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 88, 99, 24),
    v4(192, 168, 0, 16),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 3),
];

/// IPv6 addresses among those of global unicast that are not of the open Internet.
const PRIVATE_V6: &[(IpAddr, u8)] =
    &[v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses of the open Internet, many beside networks that are not.
    const PUBLIC: &[&str] = &[
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450:4001::5",
        "::ffff:1.1.1.1",
        "64:ff9b::808:808",
    ];
    /// Addresses that are not of the open Internet, in all their forms.
    const PRIVATE: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "169.254.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::2",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "::1.1.1.1",
        "::ffff:0:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:a00:1::",
        "2002:7f00:1::",
        "3fff::1",
        "4000::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_addresses_of_the_open_internet_are_reached() {
        for public in PUBLIC {
            assert!(may_reach(address(public), &[]), "{public}");
        }
        for private in PRIVATE {
            assert!(!may_reach(address(private), &[]), "{private}");
        }
    }

    #[test]
    fn a_network_that_is_allowed_is_reached_in_every_form_of_its_addresses() {
        let allowed = ["10.1.0.0/16", "127.0.0.1", "fd00::/8"].map(|text| text.parse().unwrap());
        for ok in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "127.0.0.1", "fdab::1"] {
            assert!(may_reach(address(ok), &allowed), "{ok}");
        }
        for no in ["10.2.0.1", "127.0.0.2", "::1", "fc00::1", "::ffff:10.2.0.1"] {
            assert!(!may_reach(address(no), &allowed), "{no}");
        }
        let all: [Network; 2] = ["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap());
        assert!(may_reach(address("10.0.0.1"), &all) && may_reach(address("::1"), &all));
    }

    #[test]
    fn a_network_is_read_as_it_is_shown_and_nothing_else_is_one() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "fe80::/10", "127.0.0.1/32"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("::1".parse::<Network>().unwrap().to_string(), "::1/128");
        for text in ["", "10", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "a/8", "10.0.0.0/8/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_way_to_write_an_address_in_a_url_is_seen_through() {
        for (url, is) in [
            ("http://2130706433/", "127.0.0.1"),
            ("http://0x7f000001/", "127.0.0.1"),
            ("http://0177.0.0.1/", "127.0.0.1"),
            ("http://127.1/", "127.0.0.1"),
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://127.0.0.1./", "127.0.0.1"),
            ("http://%31%32%37.0.0.1/", "127.0.0.1"),
            ("http://１２７.０.０.１/", "127.0.0.1"),
            ("http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1"),
            ("http://[::1]:80/", "::1"),
        ] {
            let url = reqwest::Url::parse(url).unwrap();
            let found = literal(url.host_str().unwrap());
            assert_eq!(found, Some(address(is)), "{url}");
            assert!(!may_reach(found.unwrap(), &[]), "{url}");
        }
        assert!(reqwest::Url::parse("http://[fe80::1%25eth0]/").is_err());
        assert!(reqwest::Url::parse("http://[fe80::1%eth0]/").is_err());
        assert_eq!(literal("example.org"), None);
    }
}
