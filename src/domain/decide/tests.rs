//! Every row of docs/protocol.md, section 3, as named cases.

use super::super::testing::{Edit, NOW, device, item, stored, version};
use super::*;
use Edit::{Delete, Put};
use Expected::{KeptServerCopy, NeedsUser, Unchanged, Write};
use Resolution::{Applied, ClientWon, Resurrected};

/// What the server holds: the phone wrote it, and before it somebody else up to `foreign`.
struct Server {
    holds: Edit,
    at: i32,
    foreign: i32,
}

/// What a device sends, its edit made `later` ms after the stored one.
struct Sent {
    from: &'static str,
    edit: Edit,
    base: i32,
    later: i64,
    force: bool,
}

const NOTHING: Option<Server> = None;

fn server(holds: Edit, at: i32) -> Option<Server> {
    let foreign = 0;
    Some(Server { holds, at, foreign })
}

fn after_others(holds: Edit, at: i32, foreign: i32) -> Option<Server> {
    Some(Server { holds, at, foreign })
}

fn sent(from: &'static str, edit: Edit, base: i32) -> Sent {
    let (later, force) = (60_000, false);
    Sent {
        from,
        edit,
        base,
        later,
        force,
    }
}

fn forced(from: &'static str, edit: Edit, base: i32) -> Sent {
    let force = true;
    Sent {
        force,
        ..sent(from, edit, base)
    }
}

fn made(later: i64, sent: Sent) -> Sent {
    Sent { later, ..sent }
}

/// What a case expects.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Expected {
    Write(i32, Resolution),
    Unchanged(i32),
    KeptServerCopy,
    NeedsUser,
}

fn write(number: i32, resolution: Resolution) -> Expected {
    Write(number, resolution)
}

fn outcome(server: Option<Server>, sent: Sent) -> Outcome {
    let stored = server.map(|server| Stored {
        foreign_version: version(server.foreign),
        ..stored(server.holds, server.at)
    });
    let edit_time = Millis(NOW.0 - 60_000 + sent.later);
    let force = sent.force;
    let item = Item {
        edit_time,
        force,
        ..item(sent.edit, sent.base)
    };
    decided(stored.as_ref(), None, &item, sent.from, &Policy::Ask)
}

fn decided(
    stored: Option<&Stored>,
    written: Option<&Written>,
    item: &Item,
    from: &str,
    policy: &Policy,
) -> Outcome {
    decide(&Case {
        item,
        device: &device(from),
        stored,
        written,
        kept: None,
        base: None,
        own_side: None,
        policy,
    })
}

#[test]
fn the_first_rule_that_fits_decides() {
    let old = Put("old");
    let new = Put("new");
    let cases: Vec<(&str, Option<Server>, Sent, Expected)> = vec![
        // Rule 2: no such entity.
        (
            "2 create",
            NOTHING,
            sent("phone", new, 0),
            write(1, Applied),
        ),
        (
            "2 put on a version nobody has",
            NOTHING,
            sent("phone", new, 5),
            write(6, Resurrected),
        ),
        (
            "2 forced create",
            NOTHING,
            forced("phone", new, 0),
            write(1, Applied),
        ),
        ("2 delete", NOTHING, sent("phone", Delete, 0), Unchanged(0)),
        (
            "2 delete, behind",
            NOTHING,
            sent("phone", Delete, 5),
            Unchanged(5),
        ),
        // Rule 3: the device knew the current version.
        (
            "3 update",
            server(old, 4),
            sent("tablet", new, 4),
            write(5, Applied),
        ),
        (
            "3 same content",
            server(old, 4),
            sent("tablet", old, 4),
            write(5, Applied),
        ),
        (
            "3 older edit",
            server(old, 4),
            made(-1, sent("tablet", new, 4)),
            write(5, Applied),
        ),
        (
            "3 forced",
            server(old, 4),
            forced("tablet", new, 4),
            write(5, Applied),
        ),
        (
            "3 delete",
            server(old, 4),
            sent("tablet", Delete, 4),
            write(5, Applied),
        ),
        (
            "3 put on a tombstone",
            server(Delete, 4),
            sent("tablet", new, 4),
            write(5, Resurrected),
        ),
        (
            "3 delete a tombstone",
            server(Delete, 4),
            sent("tablet", Delete, 4),
            Unchanged(4),
        ),
        // Rule 4: the server holds it already, whatever the base.
        (
            "4 same, behind",
            server(old, 4),
            sent("tablet", old, 2),
            Unchanged(4),
        ),
        (
            "4 same, no base",
            server(old, 4),
            sent("tablet", old, 0),
            Unchanged(4),
        ),
        (
            "4 same, ahead",
            server(old, 4),
            sent("tablet", old, 9),
            Unchanged(4),
        ),
        (
            "4 same, own",
            server(old, 4),
            sent("phone", old, 2),
            Unchanged(4),
        ),
        (
            "4 same, forced",
            server(old, 4),
            forced("tablet", old, 2),
            Unchanged(4),
        ),
        (
            "4 delete, behind",
            server(Delete, 4),
            sent("tablet", Delete, 2),
            Unchanged(4),
        ),
        (
            "4 delete, ahead",
            server(Delete, 4),
            sent("tablet", Delete, 9),
            Unchanged(4),
        ),
        // Rule 5: a device never conflicts with itself.
        (
            "5 own chain",
            server(old, 4),
            sent("phone", new, 1),
            write(5, Applied),
        ),
        (
            "5 own chain from nothing",
            server(old, 4),
            sent("phone", new, 0),
            write(5, Applied),
        ),
        (
            "5 older edit",
            server(old, 4),
            made(-1, sent("phone", new, 1)),
            write(5, Applied),
        ),
        (
            "5 forced",
            server(old, 4),
            forced("phone", new, 1),
            write(5, Applied),
        ),
        (
            "5 own delete",
            server(old, 4),
            sent("phone", Delete, 1),
            write(5, Applied),
        ),
        (
            "5 own tombstone",
            server(Delete, 4),
            sent("phone", new, 1),
            write(5, Resurrected),
        ),
        (
            "5 others just before b",
            after_others(old, 4, 2),
            sent("phone", new, 2),
            write(5, Applied),
        ),
        (
            "5 not: others after b",
            after_others(old, 4, 2),
            sent("phone", new, 1),
            NeedsUser,
        ),
        (
            "5 not: others wrote last",
            server(old, 4),
            sent("tablet", new, 3),
            NeedsUser,
        ),
        // Rule 6: the person has chosen.
        (
            "6 put",
            server(old, 4),
            forced("tablet", new, 2),
            write(5, ClientWon),
        ),
        (
            "6 older edit",
            server(old, 4),
            made(-1, forced("tablet", new, 2)),
            write(5, ClientWon),
        ),
        (
            "6 delete",
            server(old, 4),
            forced("tablet", Delete, 2),
            write(5, ClientWon),
        ),
        (
            "6 put on a tombstone",
            server(Delete, 4),
            forced("tablet", new, 2),
            write(5, ClientWon),
        ),
        // Rule 7: edited here, deleted elsewhere.
        (
            "7 later",
            server(Delete, 4),
            made(1, sent("tablet", new, 2)),
            write(5, Resurrected),
        ),
        (
            "7 same time",
            server(Delete, 4),
            made(0, sent("tablet", new, 2)),
            KeptServerCopy,
        ),
        (
            "7 earlier",
            server(Delete, 4),
            made(-1, sent("tablet", new, 2)),
            KeptServerCopy,
        ),
        // Rule 8: deleted here, edited elsewhere.
        (
            "8 later",
            server(old, 4),
            made(1, sent("tablet", Delete, 2)),
            write(5, ClientWon),
        ),
        (
            "8 same time",
            server(old, 4),
            made(0, sent("tablet", Delete, 2)),
            KeptServerCopy,
        ),
        (
            "8 earlier",
            server(old, 4),
            made(-1, sent("tablet", Delete, 2)),
            KeptServerCopy,
        ),
        // Rule 9: a true conflict, whatever the clocks say.
        ("9 later", server(old, 4), sent("tablet", new, 2), NeedsUser),
        (
            "9 earlier",
            server(old, 4),
            made(-1, sent("tablet", new, 2)),
            NeedsUser,
        ),
        (
            "9 no base",
            server(old, 4),
            sent("tablet", new, 0),
            NeedsUser,
        ),
        // b > v: the server was restored from a backup.
        ("9 ahead", server(old, 4), sent("tablet", new, 9), NeedsUser),
        (
            "9 ahead, own",
            server(old, 4),
            sent("phone", new, 9),
            NeedsUser,
        ),
        (
            "6 ahead",
            server(old, 4),
            forced("tablet", new, 9),
            write(10, ClientWon),
        ),
        (
            "7 ahead",
            server(Delete, 4),
            sent("tablet", new, 9),
            write(10, Resurrected),
        ),
        (
            "8 ahead",
            server(old, 4),
            sent("tablet", Delete, 9),
            write(10, ClientWon),
        ),
    ];
    for (case, server, sent, expected) in cases {
        let rule: i16 = case[..1].parse().expect("a case begins with its rule");
        let (got, by) = match outcome(server, sent) {
            Outcome::Write(version, resolution, by) => {
                (Write(version.number(), resolution), Some(by))
            }
            Outcome::Unchanged(version) => (Unchanged(version.number()), None),
            Outcome::KeptServerCopy(by) => (KeptServerCopy, Some(by)),
            Outcome::NeedsUser => (NeedsUser, None),
            other => panic!("{case}: {other:?}"),
        };
        assert_eq!(got, expected, "{case}");
        if let Some(by) = by {
            assert_eq!(
                by.number(),
                rule,
                "{case}: the rule is kept with what it decided"
            );
        }
    }
}

#[test]
fn a_mutation_that_was_applied_gets_its_answer_again_whatever_happened_since() {
    let first = Written {
        version: version(3),
        resolution: ClientWon,
        at: NOW,
        merged: None,
        withheld: false,
    };
    for (case, now_stored) in [
        ("still there", Some(stored(Put("mine"), 3))),
        ("overwritten", Some(stored(Put("theirs"), 8))),
        ("deleted", Some(stored(Delete, 8))),
    ] {
        let again = item(Put("mine"), 1);
        let decided = decided(
            now_stored.as_ref(),
            Some(&first),
            &again,
            "tablet",
            &Policy::Ask,
        );
        assert_eq!(decided, Outcome::Replayed(first.clone()), "{case}");
    }
}

#[test]
fn a_version_beyond_the_largest_int32_is_refused() {
    for (case, server, sent) in [
        ("unknown", NOTHING, sent("phone", Put("new"), i32::MAX)),
        (
            "equal",
            server(Put("old"), i32::MAX),
            sent("phone", Put("new"), i32::MAX),
        ),
        (
            "own",
            server(Put("old"), i32::MAX),
            sent("phone", Put("new"), 3),
        ),
        (
            "forced, ahead",
            server(Put("old"), 3),
            forced("tablet", Put("new"), i32::MAX),
        ),
    ] {
        match outcome(server, sent) {
            Outcome::Rejected(rejection) => {
                assert_eq!(rejection.code, RejectionCode::InvalidItem, "{case}");
                assert!(rejection.message.starts_with("version: "), "{case}");
            }
            other => panic!("{case}: {other:?}"),
        }
    }
    let untouched = outcome(NOTHING, sent("phone", Delete, i32::MAX));
    let unchanged = Outcome::Unchanged(version(i32::MAX));
    assert_eq!(untouched, unchanged, "nothing to write");
}
