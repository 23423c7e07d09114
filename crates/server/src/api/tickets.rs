//! Tickets: what lets somebody look at a login's screen, once and soon.
//!
//! In memory: whoever has one when the server goes asks the next server for another.

use crate::domain::{id, people::Principal};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::{Duration, Instant};

/// How long a ticket is good.
pub const LASTS: Duration = Duration::from_secs(30);
/// How many tickets there are at a time, some 1 KiB each. Who makes more loses the oldest.
const MOST: usize = 4096;
/// What a ticket begins with.
const PREFIX: &str = "tkt";

/// The tickets that were made and not used. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tickets(Arc<Mutex<HashMap<[u8; 32], Ticket>>>);

/// What is known of a ticket; not the ticket.
#[derive(Debug)]
struct Ticket {
    login: String,
    who: Principal,
    until: Instant,
}

impl Tickets {
    /// A ticket for this login, in the name of whoever asks for it now.
    pub fn make(&self, login: &str, who: Principal, now: Instant) -> String {
        let ticket = format!("{PREFIX}_{}", id::random::<20>());
        let mut tickets = self.tickets();
        tickets.retain(|_, ticket| ticket.until > now);
        if tickets.len() >= MOST
            && let Some(oldest) = tickets.iter().min_by_key(|(_, ticket)| ticket.until).map(|(hash, _)| *hash)
        {
            tickets.remove(&oldest);
        }
        tickets.insert(hash(&ticket), Ticket { login: login.to_owned(), who, until: now + LASTS });
        ticket
    }

    /// Who made this ticket for this login, if it is still good now. It is used up by that, also where it was for
    /// another.
    pub fn take(&self, ticket: &str, login: &str, now: Instant) -> Option<Principal> {
        let ticket = self.tickets().remove(&hash(ticket))?;
        (ticket.login == login && ticket.until > now).then_some(ticket.who)
    }

    fn tickets(&self) -> MutexGuard<'_, HashMap<[u8; 32], Ticket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::people::{Role, TokenKind};

    fn ann() -> Principal {
        Principal {
            user_id: "usr_1".into(),
            email: "ann@example.com".into(),
            role: Role::Member,
            scopes: Vec::new(),
            token: TokenKind::Key,
            token_id: "key_1".into(),
            expires_at: None,
        }
    }

    #[test]
    fn a_ticket_is_good_once_and_soon_and_for_one_login() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let made = || tickets.make("lgn_1", ann(), now);
        let ticket = made();
        assert_eq!(tickets.take(&ticket, "lgn_1", now), Some(ann()));
        assert_eq!(tickets.take(&ticket, "lgn_1", now), None, "once");
        let ticket = made();
        assert_eq!(tickets.take(&ticket, "lgn_2", now), None, "for one login");
        assert_eq!(tickets.take(&ticket, "lgn_1", now), None, "and whoever tries it elsewhere has lost it");
        assert_eq!(tickets.take(&made(), "lgn_1", now + LASTS), None, "soon");
        assert_eq!(tickets.take("", "lgn_1", now), None);
    }

    #[test]
    fn tickets_are_bounded_and_kept_as_hashes() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let first = tickets.make("lgn_1", ann(), now);
        let later = now + Duration::from_secs(1);
        for _ in 0..MOST {
            tickets.make("lgn_1", ann(), later);
        }
        assert_eq!(tickets.tickets().len(), MOST);
        assert_eq!(tickets.take(&first, "lgn_1", later), None);
        let last = tickets.make("lgn_1", ann(), later);
        assert!(!format!("{tickets:?}").contains(&last));
    }
}
