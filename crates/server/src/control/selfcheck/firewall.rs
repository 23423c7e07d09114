//! Whether the firewall lets in whatever comes, while something is there to be reached.

use super::{Finding, Severity, listeners::listening};
use polydev_sandbox::host::{
    firewall::{self, Closed},
    listeners::{Listener, Protocol, has_global_ipv6},
};
use std::net::IpAddr;

/// What operators reach a machine by: it is meant to be open.
const SSH: u16 = 22;
/// How many listeners are named.
const NAMED: usize = 5;

/// Asks the firewall, and what listens.
pub(super) async fn look() -> Result<Vec<Finding>, String> {
    let closed = firewall::closed().await.map_err(|why| format!("whether a firewall is on cannot be told: {why}"))?;
    Ok(judge(closed, &listening().await?, has_global_ipv6()))
}

/// IPv6 is of no account on a host that nobody reaches by it.
fn judge(closed: Closed, all: &[Listener], has_ipv6: bool) -> Vec<Finding> {
    let exposed: Vec<&Listener> = all
        .iter()
        .filter(|it| it.protocol == Protocol::Tcp && it.is_exposed() && it.address.port() != SSH)
        .filter(|it| match it.address.ip().to_canonical() {
            IpAddr::V4(_) => !closed.ipv4,
            // Most programs that listen at `[::]` are reached by IPv4 there too.
            IpAddr::V6(ip) if ip.is_unspecified() => !closed.ipv4 || (has_ipv6 && !closed.ipv6),
            IpAddr::V6(_) => has_ipv6 && !closed.ipv6,
        })
        .collect();
    if exposed.is_empty() {
        return Vec::new();
    }
    let mut names: Vec<String> = exposed.iter().map(|it| format!("`{}`", it.address)).collect();
    names.sort();
    names.dedup();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let by = match (closed.ipv4, closed.ipv6) {
        (false, true) => "lets everything in by IPv4",
        (true, false) => "lets everything in by IPv6",
        (false, false) | (true, true) => "is off, or lets everything in",
    };
    vec![Finding {
        subject: "firewall".to_owned(),
        severity: Severity::Warning,
        text: format!("the firewall of this host {by}, and can be reached: {}{more}", names.join(", ")),
        hint:
            "Refuse what comes in but for what is to be reached (`nft`, `ufw`), unless another firewall stands before \
               this machine."
                .to_owned(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Closed = Closed { ipv4: false, ipv6: false };

    fn told(closed: Closed, addresses: &[&str], has_ipv6: bool) -> Option<String> {
        let listener =
            |address: &&str| Listener { protocol: Protocol::Tcp, address: address.parse().unwrap(), owner: None };
        let all: Vec<Listener> = addresses.iter().map(listener).collect();
        judge(closed, &all, has_ipv6).pop().map(|finding| finding.text)
    }

    #[test]
    fn an_open_firewall_matters_where_something_can_be_reached() {
        assert_eq!(told(OPEN, &["127.0.0.1:4000", "0.0.0.0:22", "[::]:22"], true), None);
        let said = told(OPEN, &["0.0.0.0:80", "0.0.0.0:22"], false).unwrap();
        assert!(said.contains("is off") && said.ends_with("can be reached: `0.0.0.0:80`"), "{said}");
        assert_eq!(told(Closed { ipv4: true, ipv6: true }, &["0.0.0.0:80", "[::]:80"], true), None);
    }

    #[test]
    fn a_family_that_was_forgotten_is_told() {
        let v4_alone = Closed { ipv4: true, ipv6: false };
        let said = told(v4_alone, &["0.0.0.0:80", "[::]:443"], true).unwrap();
        assert!(said.contains("lets everything in by IPv6") && said.ends_with("can be reached: `[::]:443`"), "{said}");
        assert_eq!(told(v4_alone, &["0.0.0.0:80", "[::]:443"], false), None);
        assert!(told(Closed { ipv4: false, ipv6: true }, &["[::]:443"], false).unwrap().contains("by IPv4"));
    }

    #[test]
    fn a_host_with_much_to_reach_is_told_of_some() {
        let many: Vec<String> = (1000..1020).map(|port| format!("0.0.0.0:{port}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(told(OPEN, &many, false).unwrap().ends_with("`0.0.0.0:1004` and 15 more"));
    }
}
