//! Who has logged in, and where: in memory, so that a restart logs everybody out.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::env::Env;
use crate::types::{KeyPrint, TokenHash};

/// How long somebody stays logged in.
const SESSION: Duration = Duration::from_secs(12 * 3600);
/// How long the way from the control pages to a VM's may take.
const CODE: Duration = Duration::from_secs(60);
/// How long a link to log in is good.
const LINK: Duration = Duration::from_secs(300);
/// Most of each kind that are kept.
const MOST: usize = 100_000;

/// Whom a session stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Whoever's token this is, as long as it is.
    Token(TokenHash),
    /// Whoever's key this is, whom another front door knows by it; as long as it is.
    Key(KeyPrint),
}

#[derive(Debug)]
struct Entry {
    whose: Whose,
    /// The one host that it is for; none for a link.
    audience: String,
    until: Duration,
}

/// What was handed out. The texts themselves are kept nowhere: only what they hash to.
#[derive(Debug)]
pub(super) struct Sessions {
    env: Env,
    sessions: Mutex<HashMap<[u8; 32], Entry>>,
    codes: Mutex<HashMap<[u8; 32], Entry>>,
}

impl Sessions {
    pub fn new(env: Env) -> Self {
        Self { env, sessions: Mutex::default(), codes: Mutex::default() }
    }

    /// A cookie's value for one host.
    pub fn begin(&self, whose: Whose, audience: &str) -> String {
        self.add(&self.sessions, whose, audience, SESSION)
    }

    /// Whom a cookie's value stands for at this host.
    pub fn whose(&self, text: &str, audience: &str) -> Option<Whose> {
        let sessions = guard(&self.sessions);
        let entry = sessions.get(&hash(text)?)?;
        (entry.audience == audience && entry.until > self.env.clock.monotonic()).then(|| entry.whose.clone())
    }

    /// No longer.
    pub fn end(&self, text: &str) {
        if let Some(hash) = hash(text) {
            guard(&self.sessions).remove(&hash);
        }
    }

    /// What opens one session at a host, once.
    pub fn code(&self, whose: Whose, audience: &str) -> String {
        self.add(&self.codes, whose, audience, CODE)
    }

    /// What opens one session at the control pages, once.
    pub fn link(&self, whose: Whose) -> String {
        self.add(&self.codes, whose, "", LINK)
    }

    /// Whom a code stands for at this host; never again.
    pub fn redeem(&self, text: &str, audience: &str) -> Option<Whose> {
        let entry = guard(&self.codes).remove(&hash(text)?)?;
        (entry.audience == audience && entry.until > self.env.clock.monotonic()).then_some(entry.whose)
    }

    fn add(&self, to: &Mutex<HashMap<[u8; 32], Entry>>, whose: Whose, audience: &str, lasts: Duration) -> String {
        let text: String = self.env.ids.next_secret().iter().map(|byte| format!("{byte:02x}")).collect();
        let now = self.env.clock.monotonic();
        let mut all = guard(to);
        if all.len() >= MOST {
            all.retain(|_, entry| entry.until > now);
        }
        if all.len() < MOST {
            let entry = Entry { whose, audience: audience.to_owned(), until: now + lasts };
            all.insert(hmac_sha256::Hash::hash(text.as_bytes()), entry);
        }
        text
    }
}

fn guard(of: &Mutex<HashMap<[u8; 32], Entry>>) -> MutexGuard<'_, HashMap<[u8; 32], Entry>> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(text: &str) -> Option<[u8; 32]> {
    (text.len() == 64).then(|| hmac_sha256::Hash::hash(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Whose {
        Whose::Key(KeyPrint::of_blob(b"ada"))
    }

    #[tokio::test(start_paused = true)]
    async fn ctl_4_7_a_session_is_for_one_host_and_ends() {
        let sessions = Sessions::new(Env::seeded(1));
        let text = sessions.begin(ada(), "a.example");
        assert_eq!(sessions.whose(&text, "a.example"), Some(ada()));
        assert_eq!(sessions.whose(&text, "b.example"), None);
        assert_eq!(sessions.whose(&"0".repeat(64), "a.example"), None);
        assert!(!format!("{sessions:?}").contains(&text), "the text is kept nowhere");
        tokio::time::sleep(SESSION).await;
        assert_eq!(sessions.whose(&text, "a.example"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_code_is_good_once_and_at_one_host_and_not_for_long() {
        let sessions = Sessions::new(Env::seeded(1));
        let code = || sessions.code(ada(), "a.example");
        let first = code();
        assert_eq!(sessions.redeem(&first, "a.example"), Some(ada()));
        assert_eq!(sessions.redeem(&first, "a.example"), None);
        let crossed = code();
        assert_eq!(sessions.redeem(&crossed, "b.example"), None);
        assert_eq!(sessions.redeem(&crossed, "a.example"), None, "who tried has spent it");
        let (late, link) = (code(), sessions.link(ada()));
        assert_eq!(sessions.redeem(&link, "a.example"), None, "a link is no code");
        tokio::time::sleep(CODE).await;
        assert_eq!(sessions.redeem(&late, "a.example"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_is_good_once_and_for_five_minutes() {
        let sessions = Sessions::new(Env::seeded(1));
        let (early, late) = (sessions.link(ada()), sessions.link(ada()));
        tokio::time::sleep(Duration::from_secs(299)).await;
        assert_eq!((sessions.redeem(&early, ""), sessions.redeem(&early, "")), (Some(ada()), None));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(sessions.redeem(&late, ""), None);
    }
}
