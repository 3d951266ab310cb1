//! How the values of relay rules are written, in a file, in JSON and on the command line.

use std::net::IpAddr;

use crate::relay::{Dscp, Ttl};
use crate::values::endpoint::Endpoint;
use crate::values::limit::{self, Limit};

/// Reads `239.1.1.1:5001@veth0`.
pub(crate) fn parse_endpoint(text: &str) -> Result<Endpoint, String> {
    text.parse::<Endpoint>().map_err(|error| error.to_string())
}

/// Reads the address of a sender, which has neither port nor interface.
pub(crate) fn parse_source(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => match ip.to_ipv4_mapped() {
            Some(ipv4) => Err(format!("write the IPv4 address itself: {ipv4}")),
            None => Ok(IpAddr::V6(ip)),
        },
        Ok(ipv4) => Ok(ipv4),
        Err(_) => Err(NO_SOURCE.to_owned()),
    }
}

/// Reads 1 to 255, or "keep".
pub(crate) fn parse_ttl(text: &str) -> Result<Ttl, String> {
    Ok(number_or_keep(text, &limit::TTL)?.map_or(Ttl::Keep, Ttl::Set))
}

/// Reads 0 to 63, or "keep".
pub(crate) fn parse_dscp(text: &str) -> Result<Dscp, String> {
    Ok(number_or_keep(text, &limit::DSCP)?.map_or(Dscp::Keep, Dscp::Set))
}

fn number_or_keep(text: &str, limit: &Limit<u8>) -> Result<Option<u8>, String> {
    match text {
        KEEP => Ok(None),
        _ => limit
            .parse(text)
            .map(Some)
            .map_err(|message| format!("{message}; \"{KEEP}\" is allowed, too")),
    }
}

/// What takes a datagram's own value in place of a number.
pub(crate) const KEEP: &str = "keep";

const NO_SOURCE: &str = "must be an IP address without port and interface, such as \"10.0.0.1\" or \
                         \"fe80::1\"";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC*|[0-9a-f:.]{0,20}|keep?") {
            let _ = parse_source(&text);
            let _ = parse_ttl(&text);
            let _ = parse_dscp(&text);
        }
    }
}
