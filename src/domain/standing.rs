//! Whether this device of this user may do this now: whether it was revoked, has a subscription if one is
//! needed, and is still the only one with its id.

use std::sync::Arc;

use uuid::Uuid;

use super::clock::Millis;
use super::entity::MutationId;
use super::item::RawItem;
use super::parts::{joined, put};

/// Namespace of the digests of batches (UUID v5). Never change it: a batch that comes again is known by it.
const BATCHES: Uuid = Uuid::from_u128(0x2f9d_6c40_8b1e_4e0a_9a37_51c4_0de8_76b2);

/// A device's own count of the batches it has made: 1, 2, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchNumber(i64);

impl BatchNumber {
    /// A number; `None` below 1.
    pub fn new(number: i64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// As the device counts.
    pub fn number(self) -> i64 {
        self.0
    }
}

/// One batch of a device that counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMark {
    /// Which of its batches.
    pub number: BatchNumber,
    /// What it is made of: the same for the same edits, whatever the server makes of them.
    pub digest: Uuid,
}

impl BatchMark {
    /// The mark of these items.
    ///
    /// An edit that has an id is known by it. The others count as they were sent: ids derived by the
    /// server depend on what it takes for an item, which changes with its catalog.
    pub fn of(number: BatchNumber, items: &[RawItem]) -> Self {
        let mut identity = Vec::new();
        for item in items {
            let mut put = |part: &[u8]| put(&mut identity, part);
            put(item.entity_type.as_bytes());
            put(item.entity_id.as_bytes());
            put(item.mutation_id.as_bytes());
            if item.mutation_id.is_empty() {
                put(item.operation.as_bytes());
                put(&item.version.to_be_bytes());
                put(&item.timestamp.to_be_bytes());
                put(&item.data);
            }
        }
        Self {
            number,
            digest: Uuid::new_v5(&BATCHES, &identity),
        }
    }

    /// The mark of a person's decision, which is counted like a batch. A decision is known by its id.
    pub fn of_decision(number: BatchNumber, decision: MutationId) -> Self {
        // No batch looks like this: the items of one have three parts or more.
        let parts: [&[u8]; 2] = [b"decision", decision.0.as_bytes()];
        Self {
            number,
            digest: Uuid::new_v5(&BATCHES, &joined(parts)),
        }
    }
}

/// What is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscription {
    /// Nothing.
    Free,
    /// A subscription.
    Premium {
        /// When it ends, or has ended; `None`: never.
        until: Option<Millis>,
    },
}

impl Subscription {
    /// When it ends, or has ended; `None`: never, or there is none.
    pub fn until(self) -> Option<Millis> {
        match self {
            Self::Free => None,
            Self::Premium { until } => until,
        }
    }
}

/// Who needs a subscription, and who says that there is one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gate {
    /// Who says so.
    pub source: Source,
    /// Where a person can subscribe, for the app to show.
    pub upgrade_url: Option<Arc<str>>,
}

/// Who says whether there is a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Nobody needs one.
    #[default]
    Nobody,
    /// The token of the call, like this.
    Token(Subscription),
    /// The account, as it is stored.
    Account,
}

/// What is stored of a device and its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The account was deleted.
    pub erased: bool,
    /// Since when the device is revoked.
    pub revoked_at: Option<Millis>,
    /// The last batch of the device that was counted.
    pub last_batch: Option<BatchMark>,
    /// What the user's account says.
    pub account: Subscription,
}

/// What a device wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Write: a batch or a person's decision, with `None` one it does not count.
    Write(Option<BatchMark>),
    /// Read along, having made so many batches; `None`: it does not count, or was asked before.
    Read(Option<BatchNumber>),
    /// Read back everything there is.
    Export,
    /// Learn how the account is doing.
    Ask,
}

/// How a subscription stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Nobody needs one.
    NotRequired,
    /// There is one.
    Active {
        /// When it ends; `None`: never.
        until: Option<Millis>,
    },
    /// There was one.
    Expired {
        /// When it ended.
        at: Millis,
    },
    /// There is none.
    Missing,
}

/// Why a device may not do what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Its account was deleted.
    Erased,
    /// It was revoked.
    Revoked,
    /// It has no subscription.
    NoSubscription {
        /// When the last one ended.
        expired_at: Option<Millis>,
        /// Where a person can subscribe.
        upgrade_url: Option<Arc<str>>,
    },
    /// Its data is a copy of another's, or another has its id: its batches were made before, or others
    /// were.
    Reused,
}

impl Standing {
    /// Of a device that nothing speaks against: a batch that needs another is not written at once.
    pub const CLEAR: Self = Self {
        erased: false,
        revoked_at: None,
        last_batch: None,
        account: Subscription::Premium { until: None },
    };

    /// Whether this is the batch that was counted last, come again.
    pub fn has_counted(&self, mark: Option<BatchMark>) -> bool {
        mark.is_some() && self.last_batch == mark
    }
}

/// Whether a device that stands like this may do what it wants. If so, how its subscription stands.
pub fn admit(
    standing: &Standing,
    wanted: Wanted,
    gate: &Gate,
    now: Millis,
) -> Result<SubscriptionState, Problem> {
    let state = subscription(standing, gate.source, now);
    if standing.erased {
        return Err(Problem::Erased);
    }
    if standing.revoked_at.is_some() {
        return Err(Problem::Revoked);
    }
    let needs_one = match wanted {
        Wanted::Write(_) | Wanted::Read(_) => true,
        Wanted::Export | Wanted::Ask => false,
    };
    let expired_at = match state {
        SubscriptionState::NotRequired | SubscriptionState::Active { .. } => None,
        SubscriptionState::Expired { at } => Some(Some(at)),
        SubscriptionState::Missing => Some(None),
    };
    if let Some(expired_at) = expired_at.filter(|_| needs_one) {
        return Err(Problem::NoSubscription {
            expired_at,
            upgrade_url: gate.upgrade_url.clone(),
        });
    }
    if is_reused(standing.last_batch, wanted) {
        return Err(Problem::Reused);
    }
    Ok(state)
}

/// Whether the device's own count fits what was seen of it. An export leaves nothing out, so it cannot
/// miss what another with the same id has written.
fn is_reused(last: Option<BatchMark>, wanted: Wanted) -> bool {
    let Some(last) = last else {
        return false;
    };
    match wanted {
        Wanted::Write(Some(batch)) => {
            batch.number < last.number
                || (batch.number == last.number && batch.digest != last.digest)
        }
        // Its last batch may be under way.
        Wanted::Read(Some(number)) => number < last.number,
        Wanted::Write(None) | Wanted::Read(None) | Wanted::Export | Wanted::Ask => false,
    }
}

fn subscription(standing: &Standing, source: Source, now: Millis) -> SubscriptionState {
    let subscription = match source {
        Source::Nobody => return SubscriptionState::NotRequired,
        Source::Token(subscription) => subscription,
        Source::Account => standing.account,
    };
    match subscription {
        Subscription::Free => SubscriptionState::Missing,
        Subscription::Premium { until: Some(at) } if at <= now => SubscriptionState::Expired { at },
        Subscription::Premium { until } => SubscriptionState::Active { until },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_700_000_000_000);
    const BEFORE: Millis = Millis(NOW.0 - 1);
    const AFTER: Millis = Millis(NOW.0 + 1);
    const PREMIUM: Subscription = Subscription::Premium { until: None };
    const PAID: Subscription = Subscription::Premium { until: Some(AFTER) };
    const LAPSED: Subscription = Subscription::Premium {
        until: Some(BEFORE),
    };

    fn item(mutation_id: &str, data: &str) -> RawItem {
        RawItem {
            entity_type: "workout".to_owned(),
            entity_id: "6f1c5a4e-0d5b-4c57-9d0e-3f6f4f3a2b10".to_owned(),
            operation: "update".to_owned(),
            data: data.as_bytes().to_vec(),
            mutation_id: mutation_id.to_owned(),
            ..RawItem::default()
        }
    }

    fn number(number: i64) -> BatchNumber {
        BatchNumber::new(number).expect("a number")
    }

    fn mark(n: i64, edit: &str) -> BatchMark {
        BatchMark::of(number(n), &[item(edit, "{}")])
    }

    fn known(last_batch: Option<BatchMark>) -> Standing {
        Standing {
            erased: false,
            revoked_at: None,
            last_batch,
            account: Subscription::Free,
        }
    }

    #[test]
    fn that_the_account_was_deleted_is_told_before_all_else() {
        let erased = Standing {
            erased: true,
            revoked_at: Some(BEFORE),
            ..known(Some(mark(7, "g")))
        };
        let gate = Gate {
            source: Source::Account,
            upgrade_url: None,
        };
        for wanted in [
            Wanted::Write(None),
            Wanted::Read(BatchNumber::new(1)),
            Wanted::Export,
            Wanted::Ask,
        ] {
            assert_eq!(admit(&erased, wanted, &gate, NOW), Err(Problem::Erased));
        }
    }

    #[test]
    fn a_count_that_goes_back_is_noticed_and_a_retry_is_none() {
        let last = Some(mark(7, "g"));
        let write = |n, edit| Wanted::Write(Some(mark(n, edit)));
        let read = |n| Wanted::Read(BatchNumber::new(n));
        for (case, last, wanted, reused) in [
            ("the next batch", last, write(8, "h"), false),
            (
                "a batch after a few that were lost",
                last,
                write(70, "h"),
                false,
            ),
            ("the last batch again", last, write(7, "g"), false),
            ("another batch with its number", last, write(7, "h"), true),
            (
                "a batch without items with its number",
                last,
                Wanted::Write(Some(BatchMark::of(number(7), &[]))),
                true,
            ),
            ("a batch from before", last, write(6, "g"), true),
            (
                "the first batch, of a reinstalled app",
                last,
                write(1, "a"),
                true,
            ),
            (
                "a batch that is not counted",
                last,
                Wanted::Write(None),
                false,
            ),
            ("the first batch of all", None, write(1, "a"), false),
            ("the first batch seen", None, write(900, "a"), false),
            ("reading after the last batch", last, read(7), false),
            ("reading while a batch is under way", last, read(8), false),
            ("reading from before", last, read(6), true),
            ("reading without a count", last, read(0), false),
            ("reading without a batch seen", None, read(3), false),
            ("reading everything back", last, Wanted::Export, false),
            ("asking", last, Wanted::Ask, false),
        ] {
            let admitted = admit(&known(last), wanted, &Gate::default(), NOW);
            assert_eq!(
                admitted == Err(Problem::Reused),
                reused,
                "{case}: {admitted:?}"
            );
            assert_eq!(admitted.is_ok(), !reused, "{case}: {admitted:?}");
        }
    }

    #[test]
    fn a_revoked_device_may_do_nothing_whatever_else_is_wrong() {
        for wanted in [
            Wanted::Write(None),
            Wanted::Write(Some(mark(1, "a"))),
            Wanted::Read(None),
            Wanted::Export,
            Wanted::Ask,
        ] {
            for source in [Source::Nobody, Source::Account, Source::Token(PREMIUM)] {
                let standing = Standing {
                    erased: false,
                    revoked_at: Some(BEFORE),
                    ..known(Some(mark(2, "b")))
                };
                let gate = Gate {
                    source,
                    upgrade_url: None,
                };
                let admitted = admit(&standing, wanted, &gate, NOW);
                assert_eq!(admitted, Err(Problem::Revoked), "{wanted:?} {source:?}");
            }
        }
    }

    #[test]
    fn writing_and_reading_along_need_a_subscription_and_nothing_else_does() {
        let expired = SubscriptionState::Expired { at: BEFORE };
        let active = |until| SubscriptionState::Active { until };
        let token = Source::Token;
        for (case, account, source, state) in [
            (
                "nobody asks",
                LAPSED,
                Source::Nobody,
                SubscriptionState::NotRequired,
            ),
            (
                "no account",
                Subscription::Free,
                Source::Account,
                SubscriptionState::Missing,
            ),
            ("for good", PREMIUM, Source::Account, active(None)),
            ("for a while", PAID, Source::Account, active(Some(AFTER))),
            (
                "until just now",
                Subscription::Premium { until: Some(NOW) },
                Source::Account,
                SubscriptionState::Expired { at: NOW },
            ),
            ("lapsed", LAPSED, Source::Account, expired),
            (
                "by the token",
                Subscription::Free,
                token(PREMIUM),
                active(None),
            ),
            (
                "by the token for a while",
                Subscription::Free,
                token(PAID),
                active(Some(AFTER)),
            ),
            ("lapsed by the token", PREMIUM, token(LAPSED), expired),
            (
                "not by the token",
                PREMIUM,
                token(Subscription::Free),
                SubscriptionState::Missing,
            ),
        ] {
            let standing = Standing {
                erased: false,
                account,
                ..known(None)
            };
            let gate = Gate {
                source,
                upgrade_url: Some("app:upgrade".into()),
            };
            for wanted in [Wanted::Export, Wanted::Ask] {
                let admitted = admit(&standing, wanted, &gate, NOW);
                assert_eq!(admitted, Ok(state), "{case}: {wanted:?}");
            }
            let refused = |expired_at| {
                Err(Problem::NoSubscription {
                    expired_at,
                    upgrade_url: Some("app:upgrade".into()),
                })
            };
            let expected = match state {
                SubscriptionState::NotRequired | SubscriptionState::Active { .. } => Ok(state),
                SubscriptionState::Expired { at } => refused(Some(at)),
                SubscriptionState::Missing => refused(None),
            };
            for wanted in [
                Wanted::Write(None),
                Wanted::Write(Some(mark(1, "a"))),
                Wanted::Read(None),
                Wanted::Read(Some(number(1))),
            ] {
                let admitted = admit(&standing, wanted, &gate, NOW);
                assert_eq!(admitted, expected, "{case}: {wanted:?}");
            }
        }
    }

    #[test]
    fn batches_with_the_same_edits_have_the_same_digest_and_no_others() {
        let digest = |items: &[RawItem]| BatchMark::of(number(1), items).digest;
        let edit = || item("a", "{}");
        assert_eq!(
            digest(&[edit()]),
            digest(&[item("a", "{\"rebased\":1}")]),
            "the edit has an id"
        );
        let nameless = || item("", "{}");
        for (case, one, other) in [
            ("another edit", vec![edit()], vec![item("b", "{}")]),
            ("fewer", vec![edit(), item("b", "{}")], vec![edit()]),
            ("none", vec![edit()], vec![]),
            (
                "another order",
                vec![edit(), item("b", "{}")],
                vec![item("b", "{}"), edit()],
            ),
            (
                "without an id: other data",
                vec![nameless()],
                vec![item("", "{ }")],
            ),
            (
                "another time",
                vec![nameless()],
                vec![RawItem {
                    timestamp: 1,
                    ..nameless()
                }],
            ),
            (
                "another base",
                vec![nameless()],
                vec![RawItem {
                    version: 1,
                    ..nameless()
                }],
            ),
            (
                "another operation",
                vec![nameless()],
                vec![RawItem {
                    operation: "delete".to_owned(),
                    ..nameless()
                }],
            ),
        ] {
            assert_ne!(digest(&one), digest(&other), "{case}");
        }
        assert_eq!(
            digest(&[edit(), nameless()]).to_string(),
            "b7787342-fda2-5e75-971d-6a17ae93d7fc",
            "digests never change: they are stored"
        );
    }

    #[test]
    fn counts_begin_with_1() {
        assert_eq!([i64::MIN, -1, 0].map(BatchNumber::new), [None; 3]);
        assert_eq!(BatchNumber::new(1).map(BatchNumber::number), Some(1));
    }
}
