//! What listens where other machines, or containers of this one, can reach it.

use super::{Finding, Severity};
use crate::config::Config;
use polydev_sandbox::host::listeners::{self, Listener, Protocol};
use secrecy::ExposeSecret;
use std::{collections::BTreeMap, ops::RangeInclusive};
use url::Url;

/// What must not be reached from elsewhere, since whoever reaches it is let in, or needs one password. Ports as IANA
/// and the programs' own manuals have them.
const NEVER: &[(Protocol, RangeInclusive<u16>, &str)] = &[
    (Protocol::Tcp, 1433..=1433, "SQL Server, a database"),
    (Protocol::Tcp, 2375..=2375, "Docker's API without TLS, which makes anybody root on this host"),
    (Protocol::Tcp, 2379..=2380, "etcd, a store of secrets"),
    (Protocol::Tcp, 3306..=3306, "MySQL, a database"),
    (Protocol::Tcp, 5432..=5432, "PostgreSQL, a database"),
    (Protocol::Tcp, 5900..=5999, "VNC, a desktop"),
    (Protocol::Tcp, 6000..=6063, "X11, a desktop and its keyboard"),
    (Protocol::Tcp, 6379..=6379, "Redis, a database"),
    (Protocol::Tcp, 9200..=9200, "Elasticsearch, a database"),
    (Protocol::Tcp, 9222..=9229, "a debugger of a browser or of node, which runs what it is told"),
    (Protocol::Tcp, 10250..=10250, "Kubernetes' kubelet, which runs what it is told"),
    (Protocol::Tcp, 11211..=11211, "memcached, a database without a password"),
    (Protocol::Udp, 11211..=11211, "memcached, which attacks on others are amplified by"),
    (Protocol::Tcp, 27017..=27019, "MongoDB, a database"),
];

/// Looks at what listens in this network namespace.
pub(super) async fn look(config: &Config) -> Result<Vec<Finding>, String> {
    let all = listening().await?;
    Ok(judge(&all, &Own { is_https: is_https(config), database_port: database_port(config) }))
}

/// What listens on this host.
pub(super) async fn listening() -> Result<Vec<Listener>, String> {
    let read = tokio::task::spawn_blocking(listeners::listeners).await;
    let read = read.expect("it neither panics nor is it aborted");
    read.map_err(|error| format!("what listens on this host cannot be read: {error}"))
}

/// What is to be known of the server's own.
struct Own {
    /// People reach it by TLS, which ends in a proxy before it.
    is_https: bool,
    /// Of its database, if that is on this host and has one.
    database_port: Option<u16>,
}

fn is_https(config: &Config) -> bool {
    config.server.public_url.as_ref().is_some_and(|url| url.scheme() == "https")
}

fn database_port(config: &Config) -> Option<u16> {
    let url = Url::parse(config.store.url.expose_secret()).ok()?;
    let here = matches!(url.host_str()?, "localhost" | "127.0.0.1" | "[::1]");
    if here { url.port() } else { None }
}

/// A finding for each program and port, with all the addresses that it listens at.
fn judge(all: &[Listener], own: &Own) -> Vec<Finding> {
    let mut findings: BTreeMap<String, (Finding, Vec<String>)> = BTreeMap::new();
    for listener in all.iter().filter(|listener| listener.is_exposed()) {
        let Some(finding) = finding(listener, own) else { continue };
        let (_, addresses) = findings.entry(finding.subject.clone()).or_insert_with(|| (finding, Vec::new()));
        addresses.push(format!("`{}`", listener.address));
    }
    let told = |(mut finding, mut addresses): (Finding, Vec<String>)| {
        addresses.sort();
        addresses.dedup();
        finding.text = format!("{} {}", addresses.join(" and "), finding.text);
        finding
    };
    findings.into_values().map(told).collect()
}

fn finding(listener: &Listener, own: &Own) -> Option<Finding> {
    let port = listener.address.port();
    if listener.owner.as_ref().is_some_and(|owner| owner.is_ours) {
        return (!own.is_https).then(|| Finding {
            subject: format!("own {} {port}", listener.protocol),
            severity: Severity::Error,
            text: "is this server, and can be reached from other machines without TLS: keys, passwords, prompts and \
                   answers cross the network for everybody on the way to read"
                .to_owned(),
            hint: "Listen on 127.0.0.1 behind a proxy that speaks TLS, and set `server.public_url` to its address."
                .to_owned(),
        });
    }
    let known = NEVER.iter().find(|(protocol, ports, _)| *protocol == listener.protocol && ports.contains(&port));
    let what = match known {
        Some((_, _, what)) => what,
        None if listener.protocol == Protocol::Tcp && own.database_port == Some(port) => "this server's database",
        None => return None,
    };
    let owner = listener.owner.as_ref().map(|owner| format!(" (the program `{}`)", owner.name)).unwrap_or_default();
    Some(Finding {
        subject: format!("{} {port}", listener.protocol),
        severity: Severity::Warning,
        text: format!("can be reached from other machines{owner}: the port of {what}"),
        hint: "Let it listen on 127.0.0.1 alone, or close its port in the firewall for all but those who need it."
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use polydev_sandbox::host::listeners::Owner;

    fn listener(protocol: Protocol, address: &str, owner: Option<(&str, bool)>) -> Listener {
        let owner = owner.map(|(name, is_ours)| Owner { name: name.to_owned(), is_ours });
        Listener { protocol, address: address.parse().unwrap(), owner }
    }

    fn found(listeners: &[Listener], is_https: bool) -> Vec<String> {
        let own = Own { is_https, database_port: Some(6543) };
        judge(listeners, &own).into_iter().map(|it| format!("{}: {}", it.severity.as_str(), it.text)).collect()
    }

    #[test]
    fn an_ordinary_machine_has_no_findings() {
        let ordinary = [
            listener(Protocol::Tcp, "127.0.0.1:4000", Some(("polydev", true))),
            listener(Protocol::Tcp, "[::1]:4000", Some(("polydev", true))),
            listener(Protocol::Tcp, "127.0.0.1:5432", Some(("postgres", false))),
            listener(Protocol::Tcp, "[::1]:6379", Some(("redis-server", false))),
            listener(Protocol::Tcp, "0.0.0.0:22", Some(("sshd", false))),
            listener(Protocol::Tcp, "[::]:443", Some(("nginx", false))),
            listener(Protocol::Udp, "0.0.0.0:5353", Some(("avahi-daemon", false))),
            listener(Protocol::Udp, "0.0.0.0:5432", None),
            listener(Protocol::Tcp, "127.0.0.1:6543", None),
        ];
        assert_eq!(found(&ordinary, false), [""; 0]);
    }

    #[test]
    fn the_server_beyond_loopback_without_tls_is_an_error() {
        let own = [listener(Protocol::Tcp, "0.0.0.0:4000", Some(("polydev", true)))];
        let said = found(&own, false);
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("error: `0.0.0.0:4000` is this server"), "{said:?}");
        assert_eq!(found(&own, true), [""; 0]);
    }

    #[test]
    fn what_must_not_be_reached_is_told_once_with_all_its_addresses() {
        let open = [
            listener(Protocol::Tcp, "0.0.0.0:6379", Some(("redis-server", false))),
            listener(Protocol::Tcp, "[::]:6379", Some(("redis-server", false))),
            listener(Protocol::Tcp, "172.17.0.1:5432", None),
            listener(Protocol::Tcp, "0.0.0.0:2375", Some(("dockerd", false))),
            listener(Protocol::Tcp, "0.0.0.0:5901", None),
            listener(Protocol::Tcp, "0.0.0.0:6010", None),
            listener(Protocol::Tcp, "0.0.0.0:9229", Some(("node", false))),
            listener(Protocol::Tcp, "[2001:db8::1]:6543", None),
        ];
        let said = found(&open, true).join("\n");
        let redis = "warning: `0.0.0.0:6379` and `[::]:6379` can be reached from other machines (the program \
                     `redis-server`): the port of Redis, a database";
        assert!(said.contains(redis), "{said}");
        for words in ["`172.17.0.1:5432` can", "Docker's API", "VNC", "X11", "debugger", "this server's database"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert_eq!(said.lines().count(), 7);
    }
}
