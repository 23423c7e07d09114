//! Whether this host lets in what comes to it: by nftables, or else by iptables.

use crate::cmd::{self, Cmd, CmdError};
use serde_json::Value;
use std::{collections::HashSet, time::Duration};

/// How long a program may take to tell the rules.
const WITHIN: Duration = Duration::from_secs(10);

/// Which families are closed: what comes in by them is refused unless a rule lets it in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Closed {
    pub ipv4: bool,
    pub ipv6: bool,
}

/// Asks the firewall.
///
/// # Errors
/// Why it cannot be told.
pub async fn closed() -> Result<Closed, String> {
    let asked = ask("nft", &["-j", "list", "ruleset"]).await;
    let mut closed = Closed::default();
    let mut known = false;
    let mut why = "neither `nft` nor `iptables-save` is installed".to_owned();
    match asked {
        Ok(text) => match parse_nft(&text) {
            Some(found) => (closed, known) = (found, true),
            None => why = "what `nft` tells is not understood".to_owned(),
        },
        Err(CmdError::Missing { .. }) => {}
        Err(error) => why = error.to_string(),
    }
    // Rules of the older kind, which nft does not see. Where `iptables` is of the newer, this says the same again.
    for (program, family) in [("iptables-save", &mut closed.ipv4), ("ip6tables-save", &mut closed.ipv6)] {
        if *family {
            continue;
        }
        match ask(program, &["-t", "filter"]).await {
            Ok(text) => (*family, known) = (parse_iptables(&text), true),
            Err(CmdError::Missing { .. }) => {}
            Err(error) if !known => why = error.to_string(),
            Err(_) => {}
        }
    }
    if known { Ok(closed) } else { Err(why) }
}

async fn ask(program: &str, args: &[&str]) -> Result<String, CmdError> {
    cmd::run(Cmd::new(program).clean_env().args(args).timeout(WITHIN)).await.map(|output| output.text())
}

/// A chain by its family, table and name.
type Place<'a> = (&'a str, &'a str, &'a str);

/// The chain that this is, or is in: its name is under `name`.
fn place<'a>(of: &'a Value, name: &str) -> Option<Place<'a>> {
    Some((of["family"].as_str()?, of["table"].as_str()?, of[name].as_str()?))
}

/// Reads what `nft -j list ruleset` prints (`man 5 libnftables-json`).
fn parse_nft(text: &str) -> Option<Closed> {
    let ruleset: Value = serde_json::from_str(text).ok()?;
    let items = ruleset["nftables"].as_array()?;
    let rules: Vec<(Place<'_>, &Vec<Value>)> = items
        .iter()
        .filter_map(|item| Some((place(&item["rule"], "chain")?, item["rule"]["expr"].as_array()?)))
        .collect();
    let mut closed = Closed::default();
    for chain in items.iter().map(|item| &item["chain"]).filter(|chain| chain["hook"] == "input") {
        let Some(place) = place(chain, "name") else { continue };
        if chain["policy"] == "drop" || refuses_the_rest(place, &rules) {
            closed.ipv4 |= matches!(place.0, "ip" | "inet");
            closed.ipv6 |= matches!(place.0, "ip6" | "inet");
        }
    }
    Some(closed)
}

/// Whether a chain, or one that it always goes to, has a rule that refuses whatever comes to it.
fn refuses_the_rest(chain: Place<'_>, rules: &[(Place<'_>, &Vec<Value>)]) -> bool {
    let (mut todo, mut done) = (vec![chain], HashSet::new());
    while let Some(chain) = todo.pop() {
        if !done.insert(chain) {
            continue;
        }
        for (_, rule) in rules.iter().filter(|(of, rule)| *of == chain && rule.iter().all(takes_all)) {
            if rule.iter().any(|part| part.get("drop").is_some() || part.get("reject").is_some()) {
                return true;
            }
            let targets = rule.iter().flat_map(|part| [&part["jump"]["target"], &part["goto"]["target"]]);
            todo.extend(targets.filter_map(|name| Some((chain.0, chain.1, name.as_str()?))));
        }
    }
    false
}

/// Whether a part of a rule leaves nothing out, but for the interface that it came by.
fn takes_all(part: &Value) -> bool {
    const PLAIN: [&str; 6] = ["counter", "log", "drop", "reject", "jump", "goto"];
    let interface = |part: &Value| {
        let key = &part["match"]["left"]["meta"]["key"];
        ["iif", "iifname"].iter().any(|name| key == name)
    };
    interface(part) || PLAIN.iter().any(|name| part.get(name).is_some())
}

/// Reads what `iptables-save` prints of the table `filter`.
fn parse_iptables(text: &str) -> bool {
    if text.lines().any(|line| line.starts_with(":INPUT DROP")) {
        return true;
    }
    let rules: Vec<Vec<&str>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("-A "))
        .map(|rule| rule.split_ascii_whitespace().collect())
        .collect();
    let (mut todo, mut done) = (vec!["INPUT"], HashSet::new());
    while let Some(chain) = todo.pop() {
        if !done.insert(chain) {
            continue;
        }
        for rule in rules.iter().filter(|rule| rule.first() == Some(&chain)) {
            let target = match rule.get(1..) {
                Some(["-j" | "-g", target, ..] | ["-i", _, "-j" | "-g", target, ..]) => *target,
                Some(_) | None => continue,
            };
            if matches!(target, "DROP" | "REJECT") {
                return true;
            }
            todo.push(target);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chain(family: &str, name: &str, hook: Option<&str>, policy: &str) -> Value {
        let mut chain = json!({ "family": family, "table": "filter", "name": name, "handle": 1 });
        if let Some(hook) = hook {
            chain["type"] = "filter".into();
            chain["hook"] = hook.into();
            chain["prio"] = 0.into();
            chain["policy"] = policy.into();
        }
        json!({ "chain": chain })
    }

    fn rule(family: &str, chain: &str, expr: Value) -> Value {
        json!({ "rule": { "family": family, "table": "filter", "chain": chain, "handle": 2, "expr": expr } })
    }

    fn closed(items: &[Value]) -> (bool, bool) {
        let closed = parse_nft(&json!({ "nftables": items }).to_string()).unwrap();
        (closed.ipv4, closed.ipv6)
    }

    #[test]
    fn an_empty_ruleset_is_open_and_a_policy_closes() {
        assert_eq!(closed(&[json!({ "metainfo": { "version": "1.0.6", "json_schema_version": 1 } })]), (false, false));
        assert_eq!(closed(&[chain("inet", "input", Some("input"), "drop")]), (true, true));
        assert_eq!(closed(&[chain("ip", "INPUT", Some("input"), "drop")]), (true, false));
        assert_eq!(closed(&[chain("ip6", "INPUT", Some("input"), "drop")]), (false, true));
        // Debian's /etc/nftables.conf as it comes: three chains that let all through.
        let debian = ["input", "forward", "output"].map(|hook| chain("inet", hook, Some(hook), "accept"));
        assert_eq!(closed(&debian), (false, false));
        // What Docker makes: it closes what is forwarded, not what comes in.
        assert_eq!(closed(&[chain("ip", "FORWARD", Some("forward"), "drop")]), (false, false));
        assert_eq!(parse_nft("no JSON"), None);
        assert_eq!(parse_nft("{}"), None);
    }

    #[test]
    fn a_last_rule_that_refuses_all_closes_and_one_that_refuses_some_does_not() {
        let input = chain("inet", "input", Some("input"), "accept");
        let on = |key: &str, right: Value| json!({ "match": { "op": "==", "left": { "meta": { "key": key } }, "right": right } });
        let lo = rule("inet", "input", json!([on("iifname", "lo".into()), { "accept": null }]));
        let last = rule(
            "inet",
            "input",
            json!([{ "counter": { "packets": 0, "bytes": 0 } }, { "reject": { "type": "icmpx" } }]),
        );
        assert_eq!(closed(&[input.clone(), lo.clone(), last]), (true, true));
        let wan = rule("inet", "input", json!([on("iifname", "eth0".into()), { "drop": null }]));
        assert_eq!(closed(&[input.clone(), lo, wan]), (true, true));
        // fail2ban: some addresses are refused, nobody else is.
        let saddr = json!({ "match": { "op": "==", "left": { "payload": { "protocol": "ip", "field": "saddr" } }, "right": "@banned" } });
        assert_eq!(closed(&[input.clone(), rule("inet", "input", json!([saddr, { "reject": null }]))]), (false, false));
        // Of what iptables wrote and nft cannot read nothing is known but that it leaves something out.
        let foreign = rule("inet", "input", json!([{ "xt": null }, { "drop": null }]));
        assert_eq!(closed(&[input.clone(), foreign]), (false, false));
        // In a chain of its own, which goes back to where it came from.
        let jump = |from: &str, to: &str| rule("inet", from, json!([{ "jump": { "target": to } }]));
        let mine = [chain("inet", "mine", None, ""), jump("input", "mine"), jump("mine", "input")];
        let end = rule("inet", "mine", json!([{ "log": null }, { "drop": null }]));
        let before: Vec<Value> = [input].into_iter().chain(mine).collect();
        assert_eq!(closed(&before), (false, false));
        assert_eq!(closed(&[before, vec![end]].concat()), (true, true));
    }

    #[test]
    fn iptables_rules_are_read() {
        let of =
            |rest: &str| parse_iptables(&format!("# Generated by iptables-save v1.8.9\n*filter\n{rest}\nCOMMIT\n"));
        assert!(!of(":INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]"));
        assert!(of(":INPUT DROP [12:620]\n-A INPUT -i lo -j ACCEPT"));
        assert!(of(
            ":INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\n-A INPUT -j REJECT --reject-with icmp-port-unreachable"
        ));
        assert!(of(":INPUT ACCEPT [0:0]\n-A INPUT -i eth0 -j DROP"));
        assert!(!of(":INPUT ACCEPT [0:0]\n-A INPUT -s 203.0.113.9/32 -j DROP"));
        assert!(of(":INPUT ACCEPT [0:0]\n:mine - [0:0]\n-A INPUT -j mine\n-A mine -j INPUT\n-A mine -j DROP"));
        assert!(!of(":INPUT ACCEPT [0:0]\n:mine - [0:0]\n-A mine -j DROP"));
    }

    #[tokio::test]
    async fn this_host_tells_or_says_why_it_does_not() {
        if let Err(why) = super::closed().await {
            assert!(!why.is_empty());
        }
    }
}
