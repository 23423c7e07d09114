//! Watching: a file is told of when it is as the host wants it, and has been left alone.

use crate::support::Agent;
use polydev_proto::*;
use serde_json::json;
use std::{fs, io::Read, os::unix::fs::symlink, os::unix::net::UnixStream};

fn rule(name: &str, path: &str, require: Vec<Predicate>) -> WatchRule {
    WatchRule { rule: name.to_owned(), path: path.to_owned(), require, quiet_ms: 50 }
}

fn token() -> Vec<Predicate> {
    vec![
        Predicate { pointer: "/oauth/token".to_owned(), is: Expected::Present },
        Predicate { pointer: "/kind".to_owned(), is: Expected::Equal(json!("login")) },
    ]
}

fn watch(agent: &Agent, rules: Vec<WatchRule>) -> UnixStream {
    agent.done(Channel::Watch { rules })
}

fn next(stream: &mut UnixStream) -> (String, u64) {
    let mut frame = vec![0; 5];
    stream.read_exact(&mut frame).unwrap();
    let len = u32::from_be_bytes(frame[1..].try_into().unwrap()) as usize;
    frame.resize(5 + len, 0);
    stream.read_exact(&mut frame[5..]).unwrap();
    let event: WatchEvent = serde_json::from_slice(decode_frame(&frame).unwrap().unwrap().0.data).unwrap();
    (event.rule, event.size)
}

#[test]
fn a_file_in_a_folder_that_is_yet_to_come_is_found() {
    let agent = Agent::start();
    let mut events = watch(&agent, vec![rule("r", "/home/user/.tool/login.json", token())]);
    fs::create_dir_all(agent.path("/home/user/.tool")).unwrap();
    let good = json!({"kind": "login", "oauth": {"token": "t"}}).to_string();
    fs::write(agent.path("/home/user/.tool/login.json"), &good).unwrap();
    assert_eq!(next(&mut events), ("r".to_owned(), good.len() as u64));
}

#[test]
fn a_file_that_is_there_already_is_told_and_told_again_when_it_changed() {
    let agent = Agent::start();
    fs::write(agent.path("/f"), "1").unwrap();
    let mut events = watch(&agent, vec![rule("r", "/f", Vec::new())]);
    assert_eq!(next(&mut events).1, 1);
    fs::write(agent.path("/f"), "22").unwrap();
    assert_eq!(next(&mut events).1, 2);
    // Renamed into place, as careful programs write.
    fs::write(agent.path("/draft"), "333").unwrap();
    fs::rename(agent.path("/draft"), agent.path("/f")).unwrap();
    assert_eq!(next(&mut events).1, 3);
    // Gone and back, as it was.
    fs::rename(agent.path("/f"), agent.path("/draft")).unwrap();
    fs::rename(agent.path("/draft"), agent.path("/f")).unwrap();
    assert_eq!(next(&mut events).1, 3);
}

#[test]
fn a_folder_that_is_replaced_is_watched_again() {
    let agent = Agent::start();
    fs::create_dir_all(agent.path("/home/tool")).unwrap();
    let mut events = watch(&agent, vec![rule("r", "/home/tool/f", Vec::new())]);
    fs::remove_dir_all(agent.path("/home")).unwrap();
    fs::create_dir_all(agent.path("/home/tool")).unwrap();
    fs::write(agent.path("/home/tool/f"), "new").unwrap();
    assert_eq!(next(&mut events).1, 3);
}

#[test]
fn only_what_satisfies_the_rule_is_told() {
    let agent = Agent::start();
    let mut events = watch(&agent, vec![rule("wanted", "/f", token()), rule("any", "/f", Vec::new())]);
    let bad = [
        "{\"kind\": \"login\", \"oauth\": {\"tok".to_owned(),
        json!({"kind": "login", "oauth": {"token": ""}}).to_string(),
        json!({"kind": "login", "oauth": {"token": null}}).to_string(),
        json!({"kind": "other", "oauth": {"token": "t"}}).to_string(),
    ];
    for content in bad {
        fs::write(agent.path("/f"), &content).unwrap();
        // The rule without predicates tells that the quiet period is over and the file was looked at.
        assert_eq!(next(&mut events), ("any".to_owned(), content.len() as u64));
    }
    let good = json!({"kind": "login", "oauth": {"token": "t"}}).to_string();
    fs::write(agent.path("/f"), &good).unwrap();
    let mut told = [next(&mut events).0, next(&mut events).0];
    told.sort_unstable();
    assert_eq!(told, ["any", "wanted"]);
}

#[test]
fn links_folders_and_large_files_are_not_told() {
    let agent = Agent::start();
    fs::write(agent.path("/target"), "target").unwrap();
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(2 * 1024 * 1024));
    let present = |pointer: &str| vec![Predicate { pointer: pointer.to_owned(), is: Expected::Present }];
    let rules = vec![
        rule("link", "/link", Vec::new()),
        rule("folder", "/folder", Vec::new()),
        rule("large", "/large", present("/a")),
        rule("end", "/end", Vec::new()),
    ];
    let mut events = watch(&agent, rules);
    symlink("target", agent.path("/link")).unwrap();
    fs::create_dir(agent.path("/folder")).unwrap();
    fs::write(agent.path("/large"), large).unwrap();
    fs::write(agent.path("/end"), "").unwrap();
    assert_eq!(next(&mut events).0, "end");
}

#[test]
fn every_change_begins_the_quiet_period_anew() {
    let agent = Agent::start();
    let long = WatchRule { quiet_ms: 1000, ..rule("long", "/f", Vec::new()) };
    let mut events = watch(&agent, vec![long]);
    let mut file = fs::File::create(agent.path("/f")).unwrap();
    for _ in 0..200 {
        std::io::Write::write_all(&mut file, b"0123456789").unwrap();
    }
    assert_eq!(next(&mut events).1, 2000, "told once, when it was whole");
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let agent = Agent::start();
    let refused = |rules| agent.refused(Channel::Watch { rules }).code;
    assert_eq!(refused(vec![rule("r", "relative", Vec::new())]), ErrorCode::Invalid);
    assert_eq!(refused(vec![rule("r", "/", Vec::new())]), ErrorCode::NotAFile);
    assert_eq!(refused((0..65).map(|n| rule("r", &format!("/{n}"), Vec::new())).collect()), ErrorCode::TooLarge);
}
