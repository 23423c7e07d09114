use super::*;
use crate::{domain::failure::Code, providers::Method};
use proptest::prelude::*;

const TTL: i64 = 600_000;

fn new() -> Login {
    Login::new("lgn_1".into(), "usr_1", "claude", "claude auth login", TTL, 0).0
}

fn view() -> connections::View {
    connections::View {
        provider: "claude".into(),
        status: connections::Status::Active,
        method: Method::Login,
        account: None,
        plan: None,
        connected_at: time::rfc3339(0),
        expires_at: None,
        error: None,
    }
}

fn reach(stage: StageName, at: i64) -> Change {
    Change::Reach { stage, waiting_for: None, at }
}

/// The states of the stages, in their order.
fn states(login: &Login) -> [StageState; 4] {
    [0, 1, 2, 3].map(|n| login.stages[n].state)
}

#[test]
fn a_desktop_comes_up_stage_by_stage() {
    use StageState::{Active, Done, Pending};
    let login = new();
    assert_eq!(states(&login), [Active, Pending, Pending, Pending]);
    let (login, told) = login.step(&Change::Take { sandbox: "sbx_1".into() }, 5).unwrap();
    assert_eq!((login.status, states(&login)), (Status::Preparing, [Done, Active, Pending, Pending]));
    assert_eq!(told.len(), 2);
    let waits = Change::Reach { stage: StageName::Desktop, waiting_for: Some("\x1b[31mX\n".into()), at: 100 };
    let (login, _) = login.step(&waits, 200).unwrap();
    assert_eq!(login.stages[1].took_ms, Some(95), "it is told late, and was reached then");
    assert_eq!(login.stages[2].waiting_for.as_deref(), Some("[31mX"), "on one line, and no terminal obeys it");
    // A server that takes over hears everything again.
    for before in [reach(StageName::Starting, 300), waits] {
        assert_eq!(login.step(&before, 300).unwrap(), (login.clone(), vec![]));
    }
    // A clock in a sandbox says what it wants.
    let (login, _) = login.step(&reach(StageName::Ready, -5000), 400).unwrap();
    assert_eq!((login.stages[2].took_ms, login.stages[3].started_at), (Some(0), Some(100)));
    let (login, told) = login.step(&Change::Ready { at: i64::MAX }, 500).unwrap();
    assert_eq!((login.status, states(&login)), (Status::Ready, [Done; 4]));
    assert_eq!(login.stages[3].took_ms, Some(400));
    assert!(matches!(&told[..], [EventBody::Stage { status: Status::Ready, .. }]));
}

#[test]
fn who_is_ready_at_once_has_passed_every_stage() {
    let (login, _) = new().step(&Change::Take { sandbox: "sbx_1".into() }, 1).unwrap();
    let (login, told) = login.step(&Change::Ready { at: 3 }, 4).unwrap();
    assert_eq!(states(&login), [StageState::Done; 4]);
    assert_eq!(told.len(), 3, "starting, desktop, ready");
    assert!(login.stages.iter().all(|stage| stage.started_at.is_some() && stage.took_ms.is_some()));
}

#[test]
fn time_is_given_to_an_hour_and_warned_of_once() {
    let mut login = new();
    assert_eq!(login.step(&Change::Warn, TTL - WARNING_MS - 1).unwrap().1, []);
    assert_eq!(login.step(&Change::Warn, TTL).unwrap().1, [], "nobody is warned of what is past");
    let (warned, told) = login.step(&Change::Warn, TTL - WARNING_MS).unwrap();
    assert_eq!(told, [EventBody::Warning { expires_at: time::rfc3339(TTL) }]);
    assert_eq!(warned.step(&Change::Warn, TTL - 1).unwrap().1, [], "once");
    let (extended, _) = warned.step(&Change::Extend, TTL - 1).unwrap();
    assert_eq!(extended.expires_at, TTL + EXTENSION_MS);
    assert_eq!(extended.step(&Change::Warn, extended.expires_at - 1).unwrap().1.len(), 1, "and again for the new one");
    assert_eq!(login.step(&Change::Extend, TTL), Err(Denied::Over));
    assert_eq!(login.step(&Change::Expire, TTL - 1), Err(Denied::NotOver));
    let mut times = 0;
    while let Ok((longer, _)) = login.step(&Change::Extend, 1) {
        (login, times) = (longer, times + 1);
    }
    assert_eq!((login.expires_at, times), (LONGEST_MS, 10));
    assert_eq!(login.step(&Change::Extend, 1), Err(Denied::Longest));
}

#[test]
fn what_was_found_is_looked_at_to_the_end() {
    let ready = Login { status: Status::Ready, ..new() };
    let (verifying, _) = ready.step(&Change::Found, TTL - 1).unwrap();
    assert_eq!(verifying.step(&Change::Expire, TTL + 1), Err(Denied::State(Status::Verifying)));
    let why = Failure::new(Code::NeedsReconnect, "half of it");
    let (again, told) = verifying.step(&Change::NotProven(why.clone()), TTL + 1).unwrap();
    assert_eq!((again.status, &told[..]), (Status::Ready, &[EventBody::NotProven { error: why }][..]));
    assert_eq!(again.step(&Change::Expire, TTL + 1).unwrap().0.status, Status::Expired);
    let (connected, told) = verifying.step(&Change::Proven(view()), TTL + 1).unwrap();
    assert_eq!((connected.status, connected.completed_at), (Status::Connected, Some(TTL + 1)));
    assert!(told[0].is_last());
}

#[test]
fn another_account_is_asked_about_for_as_long_as_the_desktop_lasts() {
    let question = |account: &str| Question {
        account_id: format!("id of {account}"),
        account: account.into(),
        before: "ada".into(),
        agreed: false,
    };
    let agree = |account: &str| Change::Agree { account: account.into() };
    let verifying = Login { status: Status::Verifying, ..new() };
    assert_eq!(verifying.step(&agree("bob"), 1), Err(Denied::NotAsked));
    let (asked, told) = verifying.step(&Change::Ask(question("bob")), 1).unwrap();
    assert_eq!(told, [EventBody::OtherAccount { account: "bob".into(), before: "ada".into() }]);
    assert!(asked.waits_for_an_answer());
    assert_eq!(asked.step(&Change::Expire, TTL).unwrap().0.status, Status::Expired, "nobody answers for ever");
    assert_eq!(asked.step(&agree("eve"), 2), Err(Denied::NotAsked), "that is not what was asked");
    // Who signs in anew is looked at anew.
    let (anew, told) = asked.step(&Change::Found, 2).unwrap();
    assert_eq!((anew.question.is_none(), &told[..]), (true, &[EventBody::Verifying][..]));
    assert_eq!(anew.step(&Change::Found, 2).unwrap(), (anew.clone(), vec![]), "once");
    let (agreed, told) = asked.step(&agree("bob"), 2).unwrap();
    assert_eq!(told, [EventBody::Confirmed { account: "bob".into() }]);
    assert_eq!(agreed.step(&agree("bob"), 3).unwrap(), (agreed.clone(), vec![]), "it may be said twice");
    assert_eq!(agreed.step(&Change::Expire, TTL), Err(Denied::State(Status::Verifying)), "it is looked at to the end");
    assert_eq!(agreed.step(&Change::Proven(view()), 3).unwrap().0.question, None);
    // Who agreed and left has agreed, also where nobody says anything at that moment. A no is another thing.
    let why = Failure::new(Code::ProviderUnavailable, "it is down");
    let (later, told) = agreed.step(&Change::Unsaid(why.clone()), 3).unwrap();
    assert_eq!((later.status, &told[..]), (Status::Ready, &[EventBody::NotProven { error: why.clone() }][..]));
    assert_eq!(later.step(&agree("bob"), 3).unwrap(), (later.clone(), vec![]));
    assert_eq!(later.step(&agree("eve"), 3), Err(Denied::NotAsked));
    let (again, told) = later.step(&Change::Found, 4).unwrap();
    assert_eq!((&again.question, &told[..]), (&agreed.question, &[EventBody::Verifying][..]));
    assert_eq!(again.step(&Change::NotProven(why.clone()), 5).unwrap().0.question, None);
    assert_eq!(asked.step(&Change::Unsaid(why), 5).unwrap().0.question, None, "nothing was agreed to");
}

#[test]
fn who_has_cancelled_is_not_connected() {
    let verifying = Login { status: Status::Verifying, ..new() };
    let cancelled = Login { cancel_requested_at: Some(1), ..verifying.clone() };
    assert_eq!(cancelled.step(&Change::Proven(view()), 2), Err(Denied::Cancelled));
    assert_eq!(verifying.step(&Change::Proven(view()), 2).unwrap().0.status, Status::Connected);
}

fn page() -> LinkPage {
    LinkPage { verification_uri: "https://auth.openai.com/codex/device".into(), user_code: Some("ABCD-EFGHI".into()) }
}

#[test]
fn a_page_for_ones_own_browser_is_asked_for_again_once_it_is_over() {
    assert_eq!(new().step(&Change::AskLink, 0), Err(Denied::State(Status::Requested)));
    let mut login = Login { status: Status::Ready, ..new() };
    for nth in 1..=LINKS_MAX {
        let (asked, told) = login.step(&Change::AskLink, 0).unwrap();
        assert_eq!((asked.open_link().unwrap().job(), told), (format!("link-{nth}"), vec![EventBody::LinkAsked]));
        assert_eq!(asked.step(&Change::AskLink, 0).unwrap(), (asked.clone(), vec![]), "one at a time");
        let late = Change::LinkShown { nth: nth - 1, page: page() };
        assert_eq!(asked.step(&late, 0).unwrap(), (asked.clone(), vec![]), "that is an earlier one's");
        let (shown, told) = asked.step(&Change::LinkShown { nth, page: page() }, 0).unwrap();
        assert_eq!(told, [EventBody::LinkShown { link: page() }]);
        let over = Change::LinkOver { nth, error: None };
        let (over, told) = shown.step(&over, 0).unwrap();
        assert_eq!((over.open_link(), told), (None, vec![EventBody::LinkOver { error: None }]));
        login = over;
    }
    assert_eq!(login.step(&Change::AskLink, 0), Err(Denied::Links));
    assert_eq!(login.step(&Change::Cancel, 0).unwrap().0.link, None, "nothing of it is kept");
}

#[test]
fn a_guest_that_never_stops_telling_is_no_longer_heard() {
    let (mut login, _) = new().step(&Change::Take { sandbox: "sbx_1".into() }, 0).unwrap();
    for n in 0..2 * EVENTS_MAX {
        let waits = Change::Reach { stage: StageName::Starting, waiting_for: Some(n.to_string()), at: 0 };
        login = login.step(&waits, 0).unwrap().0;
    }
    assert_eq!(login.last_seq, EVENTS_MAX);
    assert_eq!(login.step(&Change::Ready { at: 0 }, 0).unwrap().0.status, Status::Ready);
}

#[test]
fn an_event_is_told_with_its_type_and_comes_back_as_it_went() {
    let (login, first) = Login::new("lgn_1".into(), "usr_1", "claude", "claude", TTL, 1_790_000_000_123);
    let event = Event { seq: 1, at: login.started_at, body: first };
    let json = serde_json::to_value(&event).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "seq": 1, "at": 1_790_000_000_123_i64, "type": "login.stage", "status": "requested", "name": "allocating",
            "state": "active", "started_at": "2026-09-21T14:13:20.123Z", "took_ms": null, "waiting_for": null,
        })
    );
    assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
}

fn changes() -> impl Strategy<Value = Change> {
    let stage = prop_oneof![
        Just(StageName::Allocating),
        Just(StageName::Starting),
        Just(StageName::Desktop),
        Just(StageName::Ready)
    ];
    let failure = || Failure::new(Code::Internal, "why");
    prop_oneof![
        Just(Change::Take { sandbox: "sbx_1".into() }),
        (stage, prop::option::of("[a-c]{0,2}"), -TTL..2 * TTL).prop_map(|(stage, waiting_for, at)| Change::Reach {
            stage,
            waiting_for,
            at
        }),
        (-TTL..2 * TTL).prop_map(|at| Change::Ready { at }),
        Just(Change::PutBack),
        Just(Change::Found),
        Just(Change::Checked { command: "claude auth status".into(), exit_code: Some(1), said: "no".into() }),
        "[ab]".prop_map(|account| Change::Ask(Question {
            account_id: account.clone(),
            account,
            before: "c".into(),
            agreed: false
        })),
        "[ab]".prop_map(|account| Change::Agree { account }),
        Just(Change::AskLink),
        (1..4u32).prop_map(|nth| Change::LinkShown { nth, page: page() }),
        (1..4u32, prop::bool::ANY).prop_map(move |(nth, good)| Change::LinkOver {
            nth,
            error: (!good).then(|| Failure::new(Code::NotConnected, "why"))
        }),
        Just(Change::NotProven(failure())),
        Just(Change::Unsaid(failure())),
        Just(Change::Proven(view())),
        Just(Change::Warn),
        Just(Change::Extend),
        prop_oneof![1 => Just(Change::Fail(failure())), 9 => Just(Change::Warn)],
        Just(Change::Expire),
        prop_oneof![1 => Just(Change::Cancel), 9 => Just(Change::Extend)],
    ]
}

proptest! {
    /// Whatever happens, in whatever order.
    #[test]
    fn a_life_is_sound(steps in prop::collection::vec((changes(), 0..60_000i64), 0..120)) {
        let (mut login, mut now, mut told) = (new(), 0, Vec::new());
        for (change, passes) in steps {
            now += passes;
            let Ok((next, events)) = login.step(&change, now) else { continue };
            prop_assert!(!login.status.is_over(), "nothing leads out of an end");
            prop_assert!(next.expires_at >= login.expires_at, "the deadline never moves back");
            prop_assert!(next.expires_at <= next.started_at + LONGEST_MS);
            prop_assert_eq!(next.last_seq, login.last_seq + events.len() as i64);
            prop_assert_eq!(next.completed_at.is_some(), next.status.is_over());
            prop_assert!(next.status == login.status || !events.is_empty(), "a new state is told");
            prop_assert!(!next.waits_for_an_answer() || next.status == Status::Verifying);
            prop_assert!(next.question.is_none() || next.status.has_desktop());
            prop_assert!(next.link.is_none() || next.status.has_desktop());
            if events.is_empty() {
                prop_assert_eq!(&next, &login);
            }
            let active = next.stages.iter().filter(|stage| stage.state == StageState::Active).count();
            prop_assert_eq!(active, usize::from(matches!(next.status, Status::Requested | Status::Preparing)));
            let order = |state| match state {
                StageState::Done => 0,
                StageState::Active | StageState::Failed => 1,
                StageState::Pending => 2,
            };
            prop_assert!(next.stages.windows(2).all(|two| order(two[0].state) <= order(two[1].state)));
            for stage in &next.stages {
                prop_assert!(stage.took_ms.is_none_or(|took| took >= 0));
                prop_assert!(stage.started_at.is_none_or(|at| (0..=now).contains(&at)));
            }
            told.extend(events);
            login = next;
        }
        let ends: Vec<usize> = told.iter().enumerate().filter(|(_, event)| event.is_last()).map(|(n, _)| n).collect();
        prop_assert_eq!(ends, login.status.is_over().then_some(told.len().wrapping_sub(1)).into_iter().collect::<Vec<_>>());
    }
}
