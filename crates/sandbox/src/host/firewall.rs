//! Whether this host lets in what comes to it: by nftables, or else by iptables.

use crate::cmd::{self, Cmd, CmdError};
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};

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
    let outward = outward();
    let asked = ask("nft", &["-j", "list", "ruleset"]).await;
    let mut closed = Closed::default();
    let mut known = false;
    let mut why = "neither `nft` nor `iptables-save` is installed".to_owned();
    match asked {
        Ok(text) => match parse_nft(&text, &outward) {
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
            Ok(text) => (*family, known) = (parse_iptables(&text, &outward), true),
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

/// What a rule says of packets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Does {
    Accept,
    Refuse,
    /// Goes on with a chain, and then comes back.
    Jump(String),
    /// Goes on with a chain, and comes back no more.
    Goto(String),
    /// Goes back to where the chain was entered.
    Return,
    Nothing,
}

/// What packets a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum For {
    All,
    /// Those that come by these interfaces, or by all others. A last `+` or `*` stands for any ending.
    Interfaces {
        names: Vec<String>,
        others: bool,
    },
    /// Some, by what is not looked at.
    Some,
}

type Rule = (For, Does);

/// What becomes of a packet that no rule for some is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    LetIn,
    Refused,
    /// It comes back from the chain.
    Back,
}

/// Chains by their names, and the interfaces that the internet comes by.
struct Rules<'a> {
    chains: HashMap<String, Vec<Rule>>,
    outward: &'a [String],
    known: HashMap<String, Fate>,
}

impl Rules<'_> {
    /// Reads a chain in its order, as the kernel does. What lets in all that comes by one way from outside is no
    /// refusal, whatever comes after it.
    fn fate(&mut self, chain: &str) -> Fate {
        if let Some(fate) = self.known.get(chain) {
            return *fate;
        }
        // A chain that leads to itself, which the kernel refuses, leads nowhere.
        self.known.insert(chain.to_owned(), Fate::Back);
        let rules = self.chains.get(chain).cloned().unwrap_or_default();
        let fate = rules.iter().find_map(|rule| self.ends(rule)).unwrap_or(Fate::Back);
        self.known.insert(chain.to_owned(), fate);
        fate
    }

    /// What a rule makes of packets, if it is their last in this chain.
    fn ends(&mut self, (packets, does): &Rule) -> Option<Fate> {
        let (some, all) = match packets {
            For::All => (true, true),
            For::Some => (false, false),
            For::Interfaces { names, others } => {
                let hit = |interface: &String| names.iter().any(|name| is_named(interface, name)) != *others;
                // Where no way outside is known, `!= lo` is all of them, and a name none.
                let none_known = self.outward.is_empty() && *others;
                (
                    none_known || self.outward.iter().any(hit),
                    none_known || self.has_outward() && self.outward.iter().all(hit),
                )
            }
        };
        let (fate, comes_back) = match does {
            Does::Accept => (Fate::LetIn, false),
            Does::Refuse => (Fate::Refused, false),
            Does::Return => (Fate::Back, false),
            Does::Jump(chain) if some => (self.fate(chain), true),
            Does::Goto(chain) if some => (self.fate(chain), false),
            Does::Jump(_) | Does::Goto(_) | Does::Nothing => return None,
        };
        match fate {
            Fate::LetIn => some.then_some(fate),
            Fate::Refused => all.then_some(fate),
            Fate::Back => (all && !comes_back).then_some(fate),
        }
    }

    fn has_outward(&self) -> bool {
        !self.outward.is_empty()
    }
}

fn is_named(interface: &str, name: &str) -> bool {
    name.strip_suffix(['+', '*']).map_or(interface == name, |begins| interface.starts_with(begins))
}

/// The interfaces that have a default route (`man 5 proc_net`).
fn outward() -> Vec<String> {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let words = |line: &str| line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let v4 = read("/proc/net/route");
    let v4 = v4
        .lines()
        .map(words)
        .filter(|line| line.get(1).is_some_and(|to| to == "00000000") && line.get(7) == line.get(1));
    let v6 = read("/proc/net/ipv6_route");
    let v6 = v6.lines().map(words).filter(|line| line.get(1).is_some_and(|bits| bits == "00"));
    let names = v4.filter_map(|line| line.first().cloned()).chain(v6.filter_map(|line| line.last().cloned()));
    let mut names: Vec<String> = names.filter(|name| name != "lo").collect();
    names.sort();
    names.dedup();
    names
}

/// The name of the chain that this is, or is in: its own is under `name`.
fn name_of(of: &Value, name: &str) -> Option<String> {
    Some(format!("{} {} {}", of["family"].as_str()?, of["table"].as_str()?, of[name].as_str()?))
}

/// Reads what `nft -j list ruleset` prints (`man 5 libnftables-json`).
fn parse_nft(text: &str, outward: &[String]) -> Option<Closed> {
    let ruleset: Value = serde_json::from_str(text).ok()?;
    let items = ruleset["nftables"].as_array()?;
    let mut rules = Rules { chains: HashMap::new(), outward, known: HashMap::new() };
    for rule in items.iter().map(|item| &item["rule"]) {
        if let (Some(chain), Some(parts)) = (name_of(rule, "chain"), rule["expr"].as_array()) {
            rules.chains.entry(chain).or_default().push(nft_rule(rule, parts));
        }
    }
    let mut closed = Closed::default();
    for chain in items.iter().map(|item| &item["chain"]).filter(|chain| chain["hook"] == "input") {
        let Some(name) = name_of(chain, "name") else { continue };
        let refuses = match rules.fate(&name) {
            Fate::LetIn => false,
            Fate::Refused => true,
            Fate::Back => chain["policy"] == "drop",
        };
        // A packet passes every chain of its family: one that refuses it is enough.
        closed.ipv4 |= refuses && matches!(chain["family"].as_str(), Some("ip" | "inet"));
        closed.ipv6 |= refuses && matches!(chain["family"].as_str(), Some("ip6" | "inet"));
    }
    Some(closed)
}

fn nft_rule(rule: &Value, parts: &[Value]) -> Rule {
    let (mut packets, mut does) = (For::All, Does::Nothing);
    let target = |part: &Value, key: &str| {
        let chain = json!({ "family": rule["family"], "table": rule["table"], "chain": part[key]["target"] });
        name_of(&chain, "chain")
    };
    for part in parts {
        let has = |key: &str| part.get(key).is_some();
        if has("accept") {
            does = Does::Accept;
        } else if has("drop") || has("reject") {
            does = Does::Refuse;
        } else if has("return") {
            does = Does::Return;
        } else if let Some(chain) = target(part, "jump") {
            does = Does::Jump(chain);
        } else if let Some(chain) = target(part, "goto") {
            does = Does::Goto(chain);
        } else if let (For::All, Some(interfaces)) = (&packets, nft_interfaces(&part["match"])) {
            packets = interfaces;
        } else if !(has("counter") || has("log") || part["xt"]["name"] == "comment") {
            packets = For::Some;
        }
    }
    (packets, does)
}

fn nft_interfaces(of: &Value) -> Option<For> {
    if !["iif", "iifname"].iter().any(|key| of["left"]["meta"]["key"] == *key) {
        return None;
    }
    let names = match &of["right"] {
        Value::String(name) => vec![name.clone()],
        right => right["set"].as_array()?.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect(),
    };
    Some(For::Interfaces { names, others: of["op"] == "!=" })
}

/// Reads what `iptables-save` prints of the table `filter`: whether it refuses what comes in.
fn parse_iptables(text: &str, outward: &[String]) -> bool {
    let mut rules = Rules { chains: HashMap::new(), outward, known: HashMap::new() };
    for line in text.lines().filter_map(|line| line.strip_prefix("-A ")) {
        let words = words(line);
        if let Some((chain, rest)) = words.split_first() {
            let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
            rules.chains.entry(chain.clone()).or_default().push(iptables_rule(&rest));
        }
    }
    match rules.fate("INPUT") {
        Fate::LetIn => false,
        Fate::Refused => true,
        Fate::Back => text.lines().any(|line| line.starts_with(":INPUT DROP")),
    }
}

fn iptables_rule(mut words: &[&str]) -> Rule {
    let mut packets = For::All;
    loop {
        words = match words {
            ["-m", "comment", "--comment", _, rest @ ..] => rest,
            ["!", "-i", name, rest @ ..] if packets == For::All => {
                packets = For::Interfaces { names: vec![(*name).to_owned()], others: true };
                rest
            }
            ["-i", name, rest @ ..] if packets == For::All => {
                packets = For::Interfaces { names: vec![(*name).to_owned()], others: false };
                rest
            }
            ["-g", chain, ..] => return (packets, Does::Goto((*chain).to_owned())),
            ["-j", target, ..] => {
                let does = match *target {
                    "ACCEPT" => Does::Accept,
                    "DROP" | "REJECT" => Does::Refuse,
                    "RETURN" => Does::Return,
                    // One that is no chain, such as `LOG`, has no rules.
                    chain => Does::Jump(chain.to_owned()),
                };
                return (packets, does);
            }
            [_, rest @ ..] => {
                packets = For::Some;
                rest
            }
            [] => return (packets, Does::Nothing),
        };
    }
}

/// The words of a line, of which some are in quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for c in line.chars() {
        match c {
            '\\' if quoted && !escaped => escaped = true,
            '"' if !escaped => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => {
                words.last_mut().expect("there is a first").push(c);
                escaped = false;
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let closed = parse_nft(&json!({ "nftables": items }).to_string(), &["eth0".to_owned()]).unwrap();
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
        assert_eq!(parse_nft("no JSON", &[]), None);
        assert_eq!(parse_nft("{}", &[]), None);
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
        let of = |rest: &str| {
            let text = format!("# Generated by iptables-save v1.8.9\n*filter\n{rest}\nCOMMIT\n");
            parse_iptables(&text, &["eth0".to_owned()])
        };
        assert!(!of(":INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]"));
        assert!(of(":INPUT DROP [12:620]\n-A INPUT -i lo -j ACCEPT"));
        assert!(of(
            ":INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\n-A INPUT -j REJECT --reject-with icmp-port-unreachable"
        ));
        assert!(of(":INPUT ACCEPT [0:0]\n-A INPUT -i eth0 -j DROP"));
        assert!(!of(":INPUT ACCEPT [0:0]\n-A INPUT -s 203.0.113.9/32 -j DROP"));
        assert!(of(":INPUT ACCEPT [0:0]\n:mine - [0:0]\n-A INPUT -j mine\n-A mine -j INPUT\n-A mine -j DROP"));
        assert!(!of(":INPUT ACCEPT [0:0]\n:mine - [0:0]\n-A mine -j DROP"));
        // Switched off for a moment, with and without a word on why.
        assert!(!of(":INPUT DROP [0:0]\n-A INPUT -j ACCEPT\n-A INPUT -j DROP"));
        assert!(!of(":INPUT DROP [0:0]\n-A INPUT -m comment --comment \"for \\\"now\\\" -j\" -j ACCEPT"));
        assert!(!of(":INPUT DROP [0:0]\n-A INPUT -i eth0 -j ACCEPT"));
        assert!(of(":INPUT DROP [0:0]\n-A INPUT -p icmp -j ACCEPT\n-A INPUT -i lo -j ACCEPT"));
        // One interface that is not the way in, and all but that.
        assert!(!of(":INPUT ACCEPT [0:0]\n-A INPUT -i docker0 -j DROP"));
        assert!(of(":INPUT ACCEPT [0:0]\n-A INPUT ! -i lo -j DROP"));
        assert!(of(":INPUT ACCEPT [0:0]\n-A INPUT -i eth+ -g mine\n-A mine -j LOG\n-A mine -j DROP"));
        // What goes back, or nowhere, leaves it to the policy.
        assert!(of(":INPUT DROP [0:0]\n-A INPUT -g mine\n-A INPUT -j ACCEPT\n-A mine -j RETURN\n-A mine -j ACCEPT"));
        assert!(!of(":INPUT ACCEPT [0:0]\n-A INPUT -g mine\n-A INPUT -j DROP"));
    }

    #[test]
    fn rules_are_read_in_their_order_and_by_the_ways_in() {
        let input = |policy| chain("inet", "input", Some("input"), policy);
        let of = |expr: Value| rule("inet", "input", expr);
        let (accept, refuse) = (of(json!([{ "accept": null }])), of(json!([{ "counter": null }, { "drop": null }])));
        let by = |op: &str, name: Value, does: &str| {
            let by = json!({ "op": op, "left": { "meta": { "key": "iifname" } }, "right": name });
            of(json!([{ "match": by }, { does: null }]))
        };
        for (rules, is_closed) in [
            (vec![input("drop"), accept.clone()], false),
            (vec![input("accept"), accept.clone(), refuse.clone()], false),
            (vec![input("accept"), refuse.clone(), accept.clone()], true),
            (vec![input("accept"), by("==", "wg0".into(), "drop")], false),
            (vec![input("accept"), by("==", json!({ "set": ["wg0", "eth*"] }), "drop")], true),
            (vec![input("accept"), by("!=", "lo".into(), "drop")], true),
            (vec![input("drop"), by("==", "lo".into(), "accept")], true),
            (vec![input("drop"), by("==", "eth0".into(), "accept")], false),
            (vec![input("drop"), by("!=", "lo".into(), "accept")], false),
        ] {
            assert_eq!(closed(&rules), (is_closed, is_closed), "{rules:#?}");
        }
        // Of two ways in, one is open.
        let both = ["eth0".to_owned(), "eth1".to_owned()];
        let one = json!({ "nftables": [input("accept"), by("==", "eth1".into(), "drop")] }).to_string();
        assert_eq!(parse_nft(&one, &both), Some(Closed::default()));
        let one = json!({ "nftables": [input("drop"), by("==", "eth1".into(), "accept")] }).to_string();
        assert_eq!(parse_nft(&one, &both), Some(Closed::default()));
    }

    #[tokio::test]
    async fn this_host_tells_or_says_why_it_does_not() {
        if let Err(why) = super::closed().await {
            assert!(!why.is_empty());
        }
    }
}
