//! What users have paid for: said by the operator, looked up by every call if subscriptions are needed.

use std::error::Error;

use thiserror::Error as ThisError;

use super::super::{now, print};
use crate::config::{AccountCommand, Plan};
use crate::domain::clock::Millis;
use crate::domain::moment::{date_or_moment, rfc3339};
use crate::domain::scope::Scope;
use crate::domain::standing::Subscription;
use crate::store::Store;

/// What is wrong with a subscription.
#[derive(Debug, ThisError, PartialEq, Eq)]
pub(super) enum SubscriptionError {
    #[error(
        "--until: expected a date like 2027-01-31, or a time like 2027-01-31T18:00:00Z, got {0:?}"
    )]
    Until(String),
    #[error("--until: expected it with --plan premium only")]
    FreeUntil,
}

/// The subscription a command asks for, if it does.
pub(super) fn wish(command: &AccountCommand) -> Result<Option<Subscription>, SubscriptionError> {
    match command {
        AccountCommand::Set { plan, until, .. } => subscription(*plan, until.as_deref()).map(Some),
        AccountCommand::Show { .. }
        | AccountCommand::Export { .. }
        | AccountCommand::Delete { .. }
        | AccountCommand::Reopen { .. }
        | AccountCommand::Erasures
        | AccountCommand::EraseAgain { .. } => Ok(None),
    }
}

/// Says what is paid for, if that is to be said, and prints what is.
pub(super) async fn run(
    store: &Store,
    scope: &Scope,
    wish: Option<Subscription>,
) -> Result<(), Box<dyn Error>> {
    let account = match wish {
        None => store.read_account(scope).await?,
        Some(paid) => {
            store.set_account(scope, paid, now()).await?;
            paid
        }
    };
    print(&sentence(account, now()));
    Ok(())
}

fn subscription(plan: Plan, until: Option<&str>) -> Result<Subscription, SubscriptionError> {
    let expected = |text: &str| SubscriptionError::Until(text.to_owned());
    let until = until.map(|text| date_or_moment(text).ok_or_else(|| expected(text)));
    match (plan, until.transpose()?) {
        (Plan::Free, None) => Ok(Subscription::Free),
        (Plan::Free, Some(_)) => Err(SubscriptionError::FreeUntil),
        (Plan::Premium, until) => Ok(Subscription::Premium { until }),
    }
}

fn sentence(account: Subscription, now: Millis) -> String {
    match account {
        Subscription::Free => "free\n".to_owned(),
        Subscription::Premium { until: None } => "premium\n".to_owned(),
        Subscription::Premium { until: Some(at) } if at <= now => {
            format!("premium, expired {}\n", rfc3339(at))
        }
        Subscription::Premium { until: Some(at) } => format!("premium until {}\n", rfc3339(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_ends_at_the_beginning_of_a_date_or_at_a_time() {
        let premium = |until| Ok(Subscription::Premium { until });
        let at = |ms| premium(Some(Millis(ms)));
        for (plan, until, expected) in [
            (Plan::Free, None, Ok(Subscription::Free)),
            (Plan::Premium, None, premium(None)),
            (Plan::Premium, Some("2027-01-01"), at(1_798_761_600_000)),
            (
                Plan::Premium,
                Some("2027-01-01T00:00:00Z"),
                at(1_798_761_600_000),
            ),
            (
                Plan::Premium,
                Some("2027-01-01T01:00:00+01:00"),
                at(1_798_761_600_000),
            ),
            (
                Plan::Free,
                Some("2027-01-01"),
                Err(SubscriptionError::FreeUntil),
            ),
        ] {
            assert_eq!(subscription(plan, until), expected, "{plan:?} {until:?}");
        }
        for text in [
            "",
            "tomorrow",
            "2027",
            "2027-13-01",
            "2027-02-30",
            "01.02.2027",
            "1798761600",
        ] {
            let expected = Err(SubscriptionError::Until(text.to_owned()));
            assert_eq!(subscription(Plan::Premium, Some(text)), expected, "{text}");
        }
    }

    #[test]
    fn the_sentence_says_whether_it_is_over() {
        let until = |ms| Subscription::Premium {
            until: Some(Millis(ms)),
        };
        let now = Millis(1_798_761_600_000);
        assert_eq!(
            sentence(until(now.0), now),
            "premium, expired 2027-01-01T00:00:00Z\n"
        );
        assert_eq!(
            sentence(until(now.0 + 1000), now),
            "premium until 2027-01-01T00:00:01Z\n"
        );
        assert_eq!(
            sentence(Subscription::Premium { until: None }, now),
            "premium\n"
        );
        assert_eq!(sentence(Subscription::Free, now), "free\n");
    }
}
