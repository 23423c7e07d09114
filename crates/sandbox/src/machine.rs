//! The life of a sandbox: what follows from what, and nothing that does it.
//!
//! ```text
//!                 make             made              answered             sleep
//!   requested ─────────► creating ──────► booting ──────────────► ready ────────► asleep
//!       │                    │               │  ▲                    │              │ │
//!       │                    │               │  └────────────────────┼─── wake ─────┘ │
//!       │ stop          stop │ broke    stop │ broke            stop │ broke     stop │ broke
//!       ▼                    ▼               ▼                       ▼                │
//!     gone ◄──────────── stopping, and why if not by wish ◄──────────┴────────────────┘
//!             destroyed      │
//!                            ▼ destroyed, after something broke
//!                          failed
//! ```
//!
//! What is asleep is asked nothing: its agent stands still with the rest of it.

/// Where a sandbox stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Somebody wants it; nothing of it is there.
    Requested,
    /// The driver makes it.
    Creating,
    /// Its first process runs, or runs again; its agent has not answered yet.
    Booting,
    /// Its agent answers.
    Ready,
    /// All of it stands still, as wished.
    Asleep,
    /// It is being destroyed; with a fault when that was not the wish.
    Stopping(Option<Fault>),
    /// Nothing of it is left, as wished.
    Gone,
    /// Nothing of it is left but why.
    Failed(Fault),
}

/// What went wrong, and when.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{stage}: {reason}")]
pub struct Fault {
    /// The name of the state in which it happened.
    pub stage: &'static str,
    /// What happened.
    pub reason: String,
}

/// What happens to a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There is room for it.
    Make,
    /// The driver has made it.
    Made,
    /// Its agent has answered.
    Answered,
    /// Nobody needs it for now.
    Sleep,
    /// Somebody needs it again.
    Wake,
    /// It could not be made, did not answer in time, or ended by itself.
    Broke(String),
    /// It is not wanted any more; or it still stands and ought to be gone.
    Stop,
    /// Nothing of it is left.
    Destroyed,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Have the driver make it.
    Create,
    /// Ask its agent who it is.
    Hello,
    /// Have the driver stop it where it is.
    Freeze,
    /// Have the driver let it go on, and ask its agent at once: somebody waits.
    Wake,
    /// Keep the tail of its console, which is about to go.
    KeepConsole,
    /// Have the driver destroy it.
    Destroy,
}

/// An event that cannot happen in that state: whoever tells of it is mistaken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a sandbox that is {state} cannot have {event}")]
pub struct Denied {
    /// The state's name.
    pub state: &'static str,
    /// The event's name.
    pub event: &'static str,
}

impl State {
    /// Its name, as rows and people have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Creating => "creating",
            Self::Booting => "booting",
            Self::Ready => "ready",
            Self::Asleep => "asleep",
            Self::Stopping(_) => "stopping",
            Self::Gone => "gone",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether something of it may be on this host.
    pub fn stands(&self) -> bool {
        match self {
            Self::Creating | Self::Booting | Self::Ready | Self::Asleep | Self::Stopping(_) => true,
            Self::Requested | Self::Gone | Self::Failed(_) => false,
        }
    }
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Make => "been asked for",
            Self::Made => "been made",
            Self::Answered => "answered",
            Self::Sleep => "been put to sleep",
            Self::Wake => "been woken",
            Self::Broke(_) => "broken",
            Self::Stop => "been stopped",
            Self::Destroyed => "been destroyed",
        }
    }
}

/// What `event` makes of a sandbox, and what is to be done about it.
///
/// What is so already changes nothing. While it is being destroyed, late words
/// of its life change nothing either.
pub fn step(state: State, event: Event) -> Result<(State, Vec<Effect>), Denied> {
    use Effect::{Create, Destroy, Freeze, Hello, KeepConsole, Wake};
    let broke = |state: &State, reason| Some(Fault { stage: state.name(), reason });
    let next = match (state, event) {
        (State::Requested, Event::Make) => (State::Creating, vec![Create]),
        (State::Creating, Event::Made) => (State::Booting, vec![Hello]),
        (State::Booting, Event::Answered) => (State::Ready, vec![]),
        (State::Ready, Event::Sleep) => (State::Asleep, vec![Freeze]),
        (State::Asleep, Event::Wake) => (State::Booting, vec![Wake]),
        (state @ State::Asleep, Event::Sleep) | (state @ State::Ready, Event::Wake) => (state, vec![]),

        (State::Requested, Event::Stop) => (State::Gone, vec![]),
        (State::Creating | State::Booting | State::Ready | State::Asleep, Event::Stop) => {
            (State::Stopping(None), vec![Destroy])
        }
        (state @ (State::Creating | State::Booting | State::Ready | State::Asleep), Event::Broke(reason)) => {
            (State::Stopping(broke(&state, reason)), vec![KeepConsole, Destroy])
        }

        (State::Stopping(None), Event::Destroyed) => (State::Gone, vec![]),
        (State::Stopping(Some(fault)), Event::Destroyed) => (State::Failed(fault), vec![]),
        // An earlier attempt may have come to nothing.
        (State::Stopping(fault), Event::Stop) => (State::Stopping(fault), vec![Destroy]),
        (State::Stopping(fault), Event::Made | Event::Answered | Event::Broke(_)) => (State::Stopping(fault), vec![]),

        (state @ (State::Gone | State::Failed(_)), Event::Stop | Event::Destroyed) => (state, vec![]),

        (state @ State::Requested, event @ (Event::Made | Event::Answered | Event::Broke(_) | Event::Destroyed))
        | (state @ State::Creating, event @ (Event::Make | Event::Answered | Event::Destroyed))
        | (
            state @ (State::Booting | State::Ready | State::Asleep),
            event @ (Event::Make | Event::Made | Event::Destroyed),
        )
        | (state @ (State::Ready | State::Asleep), event @ Event::Answered)
        | (state @ State::Stopping(_), event @ Event::Make)
        | (
            state @ (State::Requested
            | State::Creating
            | State::Booting
            | State::Stopping(_)
            | State::Gone
            | State::Failed(_)),
            event @ (Event::Sleep | Event::Wake),
        )
        | (
            state @ (State::Gone | State::Failed(_)),
            event @ (Event::Make | Event::Made | Event::Answered | Event::Broke(_)),
        ) => return Err(Denied { state: state.name(), event: event.name() }),
    };
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            Just(Event::Make),
            Just(Event::Made),
            Just(Event::Answered),
            Just(Event::Sleep),
            Just(Event::Wake),
            "[a-z]{1,4}".prop_map(Event::Broke),
            Just(Event::Stop),
            Just(Event::Destroyed),
        ];
        proptest::collection::vec(event, 0..24)
    }

    proptest! {
        #[test]
        fn nothing_is_left_behind_and_nothing_comes_back(events in events()) {
            let (mut state, mut created, mut destroys) = (State::Requested, 0, 0);
            let mut first_fault = None;
            for event in events {
                let before = state.clone();
                let Ok((after, effects)) = step(state.clone(), event.clone()) else { continue };
                if let (Event::Broke(reason), State::Creating | State::Booting | State::Ready | State::Asleep) =
                    (&event, &before)
                {
                    first_fault.get_or_insert((before.name(), reason.clone()));
                }
                created += effects.iter().filter(|e| **e == Effect::Create).count();
                destroys += effects.iter().filter(|e| **e == Effect::Destroy).count();
                // Who sleeps is asked nothing.
                prop_assert!(before != State::Asleep || !effects.contains(&Effect::Hello));
                // A console is kept before it goes.
                let at = |wanted| effects.iter().position(|e| *e == wanted);
                prop_assert!(at(Effect::KeepConsole).is_none_or(|kept| at(Effect::Destroy).is_some_and(|d| kept < d)));
                if !before.stands() && before != State::Requested {
                    prop_assert_eq!(&after, &before, "it came back");
                }
                state = after;
            }
            prop_assert!(created <= 1);
            // Whatever was made, and stands no more, was destroyed.
            prop_assert!(created == 0 || state.stands() || destroys > 0);
            if let State::Failed(fault) | State::Stopping(Some(fault)) = &state {
                prop_assert_eq!(Some((fault.stage, fault.reason.clone())), first_fault);
            }
        }

        #[test]
        fn stop_leads_to_an_end_from_everywhere(events in events()) {
            let mut state = State::Requested;
            for event in events {
                state = step(state.clone(), event).map_or(state, |(after, _)| after);
            }
            let (state, _) = step(state, Event::Stop).unwrap();
            let (end, _) = step(state, Event::Destroyed).unwrap();
            prop_assert!(matches!(end, State::Gone | State::Failed(_)));
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        let denied = step(State::Gone, Event::Answered).unwrap_err();
        assert_eq!(denied.to_string(), "a sandbox that is gone cannot have answered");
    }
}
