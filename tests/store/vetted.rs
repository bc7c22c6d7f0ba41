//! Messages that the app's back end was asked about: a resend is known whatever it says by then.

use tidings::reason::Reason;
use tidings::store::{NewMessage, Outcome, Request};

use super::harness::{Running, new_message, refusal, sent};

/// Alice's send, as she said it and as it is to be stored.
fn vetted(number: u64, said: &str, stored: &str, refused: Option<Reason>) -> Request {
    let said = new_message("alice", "bob", number, said.as_bytes());
    let content = said.content();
    let body = stored.as_bytes().to_vec().into();
    Request::Vetted { message: NewMessage { body, ..said }, content, refused }
}

#[test]
fn a_resend_is_answered_as_the_first_time_whatever_the_back_end_says_by_then() {
    let mut running = Running::new();
    running.open("alice", "d");
    let first = sent(&running.outcome(vetted(1, "rude", "polite", None)));
    for after in ["before", "after"] {
        for request in [
            vetted(1, "rude", "polite", None),
            vetted(1, "rude", "rude", None),
            vetted(1, "rude", "kind", None),
            vetted(1, "rude", "rude", Some(Reason::Vetoed)),
        ] {
            let again = running.outcome(request);
            assert!(matches!(again, Outcome::Repeated { id, .. } if id == first.id), "{after}");
        }
        let other = running.outcome(vetted(1, "polite", "polite", None));
        assert_eq!(refusal(&other), Some(Reason::NumberReused), "{after}");
        let waiting = running.waiting("bob");
        assert_eq!((waiting.len(), &waiting[0].body[..]), (1, &b"polite"[..]), "{after}");
        running = running.crash();
    }
}

#[test]
fn what_is_refused_leaves_its_number_free() {
    let mut running = Running::new();
    running.open("alice", "d");
    let refused = running.outcome(vetted(1, "spam", "spam", Some(Reason::Vetoed)));
    assert_eq!(refusal(&refused), Some(Reason::Vetoed));
    assert!(running.waiting("bob").is_empty());
    let allowed = running.outcome(vetted(1, "spam", "spam", None));
    assert_eq!(sent(&allowed).sequence, 1);
}
