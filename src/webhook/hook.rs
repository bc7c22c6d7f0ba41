//! The pre-send hook: a back end is asked over HTTP about a message before it is sent.
//!
//! # Invariants
//!
//! * An answer comes within [`HookOptions::timeout`], whatever the other end does.
//! * At most [`HookOptions::in_flight`] questions are on their way; one more is not asked, and has
//!   the outcome of an error at once.
//! * A question is asked once: no answer is an outcome, and the client sends again if it wants to.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::limits::{BODY_BYTES_MAX, HOOK_IN_FLIGHT, HOOK_TIMEOUT, REASON_TEXT_BYTES_MAX};
use crate::metrics::{Asked, Metrics};
use crate::presend::{PreSend, Question, Verdict};
use crate::webhook::Options;
use crate::webhook::addresses::Network;
use crate::webhook::client::{Client, ClientError, Letterhead, SystemNames};
use crate::webhook::definition::DefinitionError;
use crate::webhook::dialect::{self, BadAnswer, Dialect, Style};
use crate::webhook::endpoint::check;
use crate::webhook::sign::Secret;

/// How often at the most it is said in the log that a back end does not answer, in milliseconds.
const WARN_EVERY_MS: i64 = 10_000;

/// What becomes of a message about which nobody could be asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Policy {
    /// It is sent as it is.
    #[default]
    Allow,
    /// It is not sent.
    Refuse,
}

impl Policy {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Refuse => "refuse",
        }
    }

    fn verdict(self) -> Verdict {
        match self {
            Self::Allow => Verdict::Allow,
            Self::Refuse => Verdict::Unasked,
        }
    }
}

/// A text that is the name of no policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("neither allow nor refuse")]
pub struct NoPolicy;

impl FromStr for Policy {
    type Err = NoPolicy;

    fn from_str(name: &str) -> Result<Self, NoPolicy> {
        [Self::Allow, Self::Refuse].into_iter().find(|policy| policy.name() == name).ok_or(NoPolicy)
    }
}

/// What can be set about the hook.
#[derive(Clone, Debug)]
pub struct HookOptions {
    /// Where the back end is asked; nobody is asked without one.
    pub url: Option<String>,
    /// What questions are signed with; without one they are not.
    pub secret: Option<Secret>,
    /// In which dialect: one of [`Dialect::asks`].
    pub dialect: Dialect,
    /// How long an answer may take, from the first byte of a connection on.
    pub timeout: Duration,
    /// What becomes of a message when the answer takes longer.
    pub on_timeout: Policy,
    /// What becomes of a message when there is no answer, or none that means anything.
    pub on_error: Policy,
    /// Questions that are on their way at once.
    pub in_flight: usize,
}

impl Default for HookOptions {
    fn default() -> Self {
        Self {
            url: None,
            secret: None,
            dialect: Dialect::default(),
            timeout: HOOK_TIMEOUT,
            on_timeout: Policy::default(),
            on_error: Policy::default(),
            in_flight: HOOK_IN_FLIGHT,
        }
    }
}

impl HookOptions {
    /// Checks what no setting can see alone.
    ///
    /// # Errors
    ///
    /// Why the URL cannot be asked, where these networks may be, too.
    pub fn check(&self, allowed: &[Network]) -> Result<(), DefinitionError> {
        self.url.as_ref().map_or(Ok(()), |url| check(url, allowed).map(drop))
    }
}

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The URL cannot be used.
    #[error("hook_{0}")]
    Url(#[from] DefinitionError),
    /// No request can be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// TLS cannot be set up.
    #[error("cannot ask the back end: {0}")]
    Tls(String),
}

/// Asks a back end.
pub struct Hook {
    /// What every question goes with, but for its id.
    to: Letterhead,
    style: Style,
    options: HookOptions,
    client: Client,
    places: Semaphore,
    metrics: Arc<Metrics>,
    clock: Clock,
    warned_ms: AtomicI64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    /// There are as many questions on their way as there may be.
    #[error("too many questions are on their way")]
    Overload,
    /// It took too long.
    #[error("it took too long")]
    Timeout,
    /// The back end cannot be reached.
    #[error("{0}")]
    Failed(String),
    /// It says what means nothing.
    #[error(transparent)]
    Bad(#[from] BadAnswer),
}

impl Hook {
    /// Gets ready to ask, if a URL is set. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`HookError`] says what is of no use.
    pub fn open(
        options: HookOptions,
        around: &Options,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Option<Self>, HookError> {
        let Some(url) = &options.url else { return Ok(None) };
        let url = check(url, &around.allowed)?;
        let ca = around.ca.as_deref();
        let client = Client::new(around.allowed.clone(), ca, Arc::new(SystemNames), clock.clone())?;
        client.prepare(&url, options.timeout).map_err(HookError::Tls)?;
        let style = Style {
            dialect: options.dialect,
            app_id: around.app_id.clone(),
            secret: options.secret.as_ref().map_or_else(Vec::new, |it| it.bytes().to_vec()),
            ..Style::default()
        };
        let secrets = options.secret.iter().cloned().collect();
        // The wait for an answer ends before the request does.
        let timeout = options.timeout * 2;
        let to = Letterhead { url, id: String::new(), secrets, timeout };
        let places = Semaphore::new(options.in_flight);
        let warned_ms = AtomicI64::new(0);
        Ok(Some(Self { to, style, options, client, places, metrics, clock, warned_ms }))
    }

    async fn decide(&self, question: Question) -> Verdict {
        let began = Instant::now();
        let (asked, verdict) = match self.answer(&question).await {
            Ok(Verdict::Replace(body)) if body.len() > BODY_BYTES_MAX => {
                self.give_up(&BadAnswer::TooLong(body.len()).into())
            }
            Ok(Verdict::Replace(body)) => (Asked::Replaced, Verdict::Replace(body)),
            Ok(Verdict::Refuse(code)) => (Asked::Refused, Verdict::Refuse(short(code))),
            Ok(Verdict::Allow) => (Asked::Allowed, Verdict::Allow),
            Ok(Verdict::Unasked) => (Asked::Error, self.options.on_error.verdict()),
            Err(error) => self.give_up(&error),
        };
        self.metrics.asked(asked, began.elapsed());
        verdict
    }

    async fn answer(&self, question: &Question) -> Result<Verdict, NoAnswer> {
        let _place = self.places.try_acquire().map_err(|_| NoAnswer::Overload)?;
        let outgoing = dialect::question(&self.style, question);
        let to = Letterhead { id: question.id.clone(), ..self.to.clone() };
        let asked =
            tokio::time::timeout(self.options.timeout, self.client.ask(&to, outgoing)).await;
        let (status, body) = asked.map_err(|_| NoAnswer::Timeout)?.map_err(NoAnswer::Failed)?;
        Ok(dialect::verdict(self.options.dialect, question, status, &body)?)
    }

    /// What becomes of a message without an answer.
    fn give_up(&self, error: &NoAnswer) -> (Asked, Verdict) {
        let now_ms = self.clock.now_ms();
        let warned_ms = self.warned_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(warned_ms) >= WARN_EVERY_MS {
            self.warned_ms.store(now_ms, Ordering::Relaxed);
            tracing::warn!(error = %crate::chain::Chain(error), "the pre-send hook has no answer");
        }
        match error {
            NoAnswer::Timeout => (Asked::Timeout, self.options.on_timeout.verdict()),
            NoAnswer::Overload => (Asked::Overload, self.options.on_error.verdict()),
            NoAnswer::Failed(_) | NoAnswer::Bad(_) => {
                (Asked::Error, self.options.on_error.verdict())
            }
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("options", &self.options).finish_non_exhaustive()
    }
}

impl PreSend for Hook {
    fn ask(&self, question: Question) -> BoxFuture<'_, Verdict> {
        self.decide(question).boxed()
    }
}

/// As much of a code as a sender may be told.
fn short(mut code: String) -> String {
    while code.len() > REASON_TEXT_BYTES_MAX {
        code.pop();
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_cut_between_characters() {
        assert_eq!(short("\u{e4}".repeat(101)), "\u{e4}".repeat(100));
        assert_eq!(short("spam".into()), "spam");
    }

    #[test]
    fn a_policy_is_known_by_its_name() {
        for policy in [Policy::Allow, Policy::Refuse] {
            assert_eq!(policy.name().parse(), Ok(policy));
        }
        assert_eq!("deny".parse::<Policy>(), Err(NoPolicy));
    }
}
