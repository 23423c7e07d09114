//! Codes that a tool shows on a device without a browser, for a person to enter in a browser elsewhere.
//!
//! ```text
//!   tool ─► begin ─► Waiting ─┬ agree ─► Agreed: the tool's next poll gets a code of `codes.rs`, once
//!   (polls)                   ├ refuse ─► Refused
//!                             └ its time, or expire ─► Expired
//! ```

use super::token;
use crate::clock;
use jiff::{SignedDuration, Timestamp};

/// How long such a code can be entered: as long as Codex polls.
const DEVICE_LIVES: SignedDuration = SignedDuration::from_mins(15);

/// What such codes are made of: nothing that reads like something else.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// Where the dash stands in a code, and how long it is without it.
const DASH: usize = 4;
const LETTERS_MAX: usize = 9;

/// A device that waits for its person.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    /// What only the tool knows.
    pub(crate) id: String,
    /// What the person enters.
    pub(crate) user_code: String,
    /// The provider makes it up here, and gives it to the tool at last.
    pub(crate) verifier: String,
    pub(crate) ends: Timestamp,
    answer: Answer,
}

#[derive(Debug, Clone)]
enum Answer {
    None,
    Agreed(String),
    Refused,
}

/// What a poll of a tool is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    /// The person has not answered yet.
    Waiting,
    /// The code, and the verifier to redeem it with.
    Agreed { code: String, verifier: String },
    /// The person has refused.
    Refused,
    /// Too late.
    Expired,
    /// There is no such device, or it has its code already.
    Unknown,
}

/// The devices that wait.
#[derive(Debug, Default)]
pub(crate) struct Devices(Vec<Device>);

impl Devices {
    /// A new one.
    pub(crate) fn begin(&mut self) -> Device {
        let now = clock::now();
        let random = token::random();
        let letter = |byte: u8| char::from(LETTERS[usize::from(byte) % LETTERS.len()]);
        let letters: String = random.bytes().take(LETTERS_MAX).map(letter).collect();
        let device = Device {
            id: format!("deviceauth_standin_{}", token::random()),
            user_code: format!("{}-{}", &letters[..DASH], &letters[DASH..]),
            verifier: format!("{}{}", token::random(), token::random()),
            ends: now.checked_add(DEVICE_LIVES).unwrap_or(now),
            answer: Answer::None,
        };
        self.0.push(device.clone());
        device
    }

    /// The device that shows this code, however it was written, and still waits.
    pub(crate) fn waiting(&mut self, written: &str) -> Option<&mut Device> {
        let letters = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        let written = letters(written).to_ascii_uppercase();
        let now = clock::now();
        let waits = |device: &&mut Device| matches!(device.answer, Answer::None) && device.ends > now;
        self.0.iter_mut().filter(waits).find(|device| letters(&device.user_code) == written)
    }

    /// What the tool is told that polls for this device.
    pub(crate) fn poll(&mut self, id: &str, user_code: &str) -> Polled {
        let known = |device: &Device| device.id == id && device.user_code == user_code;
        let Some(at) = self.0.iter().position(known) else { return Polled::Unknown };
        let device = &self.0[at];
        match &device.answer {
            Answer::None if device.ends <= clock::now() => Polled::Expired,
            Answer::None => Polled::Waiting,
            Answer::Refused => Polled::Refused,
            Answer::Agreed(code) => {
                let polled = Polled::Agreed { code: code.clone(), verifier: device.verifier.clone() };
                self.0.swap_remove(at);
                polled
            }
        }
    }
}

impl Device {
    /// The person agrees: the tool gets this code.
    pub(crate) fn agree(&mut self, code: String) {
        self.answer = Answer::Agreed(code);
    }

    /// The person refuses.
    pub(crate) fn refuse(&mut self) {
        self.answer = Answer::Refused;
    }

    /// Its time is over.
    pub(crate) fn expire(&mut self) {
        self.ends = clock::now();
    }
}
