//! The addresses to listen on.

use std::net::{IpAddr, SocketAddr};

/// The most addresses to listen on: each is a socket and a receive in every worker's ring.
pub const LISTEN_MAX: usize = 64;

/// Reads `ADDRESS:PORT`, IPv6 in brackets, and refuses what no tracker can be reached at.
pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let Ok(listen) = text.parse::<SocketAddr>() else {
        return Err(not_an_address(text));
    };
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast() => {
            Err("multicast and broadcast addresses cannot be listened on".to_owned())
        }
        IpAddr::V6(ip) if ip.is_multicast() => {
            Err("multicast addresses cannot be listened on".to_owned())
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ipv4) => Err(format!("write the IPv4 address itself: {ipv4}:{}", listen.port())),
            None => Ok(listen),
        },
        IpAddr::V4(_) => Ok(listen),
    }
}

/// Checks the list as a whole.
pub(crate) fn check_listen(listen: &[SocketAddr]) -> Result<(), String> {
    if listen.is_empty() {
        return Err("needs at least one address, such as \"0.0.0.0:6969\"".to_owned());
    }
    if listen.len() > LISTEN_MAX {
        let reason = "each is a socket in every worker";
        let count = listen.len();
        return Err(format!(
            "allowed are 1 to {LISTEN_MAX} addresses, not {count}, because {reason}"
        ));
    }
    for (index, address) in listen.iter().enumerate() {
        if listen[..index].contains(address) {
            return Err(format!("{address} is listed twice"));
        }
    }
    Ok(())
}

fn not_an_address(text: &str) -> String {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => format!("the port is missing: write \"{ip}:6969\""),
        Ok(IpAddr::V6(ip)) => format!("brackets and port are missing: write \"[{ip}]:6969\""),
        Err(_) => "must be an IP address and a port, such as \"0.0.0.0:6969\" or \"[::]:6969\"; \
                   host names are not looked up"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_with_ports_are_read() {
        for text in ["0.0.0.0:6969", "[::]:6969", "127.0.0.5:0", "[fe80::1%3]:6969"] {
            assert_eq!(parse_listen(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, hint) in [
            ("0.0.0.0", "write \"0.0.0.0:6969\""),
            ("::", "write \"[::]:6969\""),
            ("localhost:6969", "host names are not looked up"),
            (":6969", "must be an IP address and a port"),
            ("0.0.0.0:70000", "must be an IP address and a port"),
            ("239.1.1.1:6969", "multicast"),
            ("255.255.255.255:6969", "broadcast"),
            ("[ff15::1]:6969", "multicast"),
            ("[::ffff:10.0.0.1]:6969", "10.0.0.1:6969"),
        ] {
            let error = parse_listen(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn the_list_has_bounds_and_no_duplicates() {
        let numbered = |count: usize| -> Vec<SocketAddr> {
            (1..=count).map(|port| SocketAddr::from(([127, 0, 0, 1], port as u16))).collect()
        };
        assert!(check_listen(&[]).is_err());
        assert_eq!(check_listen(&numbered(LISTEN_MAX)), Ok(()));
        assert!(check_listen(&numbered(LISTEN_MAX + 1)).unwrap_err().contains("not 65"));
        let mut twice = numbered(3);
        twice.push(twice[1]);
        assert_eq!(check_listen(&twice).unwrap_err(), "127.0.0.1:2 is listed twice");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC*") {
            let _ = parse_listen(&text);
        }

        #[test]
        fn addresses_survive_a_round_trip(ip in any::<u32>(), port in any::<u16>()) {
            let address = SocketAddr::from((std::net::Ipv4Addr::from(ip), port));
            match parse_listen(&address.to_string()) {
                Ok(read) => prop_assert_eq!(read, address),
                Err(_) => prop_assert!(ip >= 0xe000_0000, "only multicast and broadcast fail"),
            }
        }
    }
}
