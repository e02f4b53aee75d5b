//! Where other nodes reach this one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses that belong to nobody. The system knows by which of its own addresses it would reach them, and sends nothing.
const ELSEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// The address others are told: the one that was asked for, or the host that was, with the port that was taken. Of all
/// addresses of a machine the one by which it reaches others; its name when it reaches nobody.
#[must_use]
pub(crate) fn advertised(bind: &str, bound: SocketAddr) -> String {
    let port = bound.port();
    if !bound.ip().is_unspecified() {
        let host = bind.rsplit_once(':').map_or(bind, |(host, _)| host);
        return format!("{host}:{port}");
    }
    match own_address() {
        Some(address) => SocketAddr::new(address, port).to_string(),
        None => format!("{}:{port}", host_name().unwrap_or_else(|| "localhost".to_owned())),
    }
}

/// What the machine calls itself.
pub(crate) fn host_name() -> Option<String> {
    rustix::system::uname().nodename().to_str().ok().map(str::to_owned).filter(|name| !name.is_empty())
}

fn own_address() -> Option<IpAddr> {
    ELSEWHERE.into_iter().find_map(|elsewhere| {
        let any =
            if elsewhere.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((elsewhere, 9)).ok()?;
        let own = socket.local_addr().ok()?.ip();
        (!own.is_loopback() && !own.is_unspecified()).then_some(own)
    })
}

/// Whether an address or URL is one by which a machine reaches only itself.
pub(crate) fn is_loopback(address: &str) -> bool {
    let uri: Option<axum::http::Uri> = address.parse().ok();
    let host = uri.as_ref().and_then(axum::http::Uri::host).unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A host and a port, as they are told to others.
pub(crate) fn parse_address(text: &str) -> Result<String, String> {
    let wrong = || format!("'{text}' is not a host and a port, such as node1.example:8181");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let authority: Option<axum::http::uri::Authority> = text.parse().ok();
    if is_port && !host.is_empty() && authority.is_some() { Ok(text.to_owned()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_the_host_that_was_bound_and_the_port_that_was_taken() {
        check_advertised("127.0.0.1:0", "127.0.0.1:4711", "127.0.0.1:4711");
        check_advertised("db.example:8181", "10.0.0.7:8181", "db.example:8181");
        check_advertised("[::1]:8181", "[::1]:8181", "[::1]:8181");
    }

    #[track_caller]
    fn check_advertised(bind: &str, bound: &str, expected: &str) {
        assert_eq!(advertised(bind, bound.parse().expect("an address")), expected);
    }

    #[test]
    fn nobody_is_told_to_ask_everywhere() {
        let told = advertised("0.0.0.0:8181", "0.0.0.0:8181".parse().expect("an address"));
        assert!(told.ends_with(":8181") && !told.starts_with("0.0.0.0"), "{told}");
    }

    #[test]
    fn a_machine_reaches_only_itself_by_some_addresses() {
        for own in ["127.0.0.1:8181", "[::1]:8181", "localhost:8181", "http://127.0.0.2:9000/path", "https://LOCALHOST"]
        {
            assert!(is_loopback(own), "{own}");
        }
        for other in ["10.0.0.1:8181", "node1.example:8181", "http://[fd00::1]:9000", "localhost.example:1", ""] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["a:1", "10.0.0.1:8181", "[::1]:8181", "node-1.example:443"] {
            assert_eq!(parse_address(good).as_deref(), Ok(good));
        }
        for bad in ["", "a", ":1", "a:", "a:0", "a:70000", "http://a:1", "a b:1", "a/b:1"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }
}
