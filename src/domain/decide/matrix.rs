//! The whole matrix: every policy, against everything the server may hold, whatever the device sends,
//! whatever it is based on, and however late it was made. To be read beside docs/protocol.md, section 3.
//!
//! A row names what the server holds, what the device sends (`put` stands for `create` and for `update`,
//! which are one operation and are both tried), and its base. Three cells tell the answer, by the edit
//! time of the item against the stored one: `older`, `equal`, `newer`.
//!
//! - The phone has written version 4; the tablet sends. `equal` is base 4, `behind` is base 2, `ahead` is
//!   base 9, from before the server was restored. Where nothing is stored, `equal` is base 0, and no base
//!   is behind.
//! - A cell is the answer and the version in it: `v5` was written now, `4` was there before. A merge also
//!   has the name its table gives to what was written.
//! - `kept`: the item is a losing side of a settled conflict. `open`: of one that waits for the person.
//!   Without either it is a version now, or needs no keeping.
//!
//! What each cell leaves unsaid is checked as well: an item that is written is written as sent, an answer
//! with CONFLICT has the current copy, a losing side has all that was sent, and nothing else is touched.

mod trial;

use super::super::policy::{OnOverlap, Policy};
use trial::{Holds, Place, Sent, answer, by_the_tablet, cells};

/// Rules 2, 3, 4, 7 and 8: no policy has a part in this, and the clock only where one side deletes.
const WHATEVER_THE_POLICY: &str = "
    absent    put    equal  | APPLIED v1        | APPLIED v1        | APPLIED v1
    absent    put    behind | cannot be         | cannot be         | cannot be
    absent    put    ahead  | RESURRECTED v10   | RESURRECTED v10   | RESURRECTED v10
    absent    delete equal  | UNCHANGED 0       | UNCHANGED 0       | UNCHANGED 0
    absent    delete behind | cannot be         | cannot be         | cannot be
    absent    delete ahead  | UNCHANGED 9       | UNCHANGED 9       | UNCHANGED 9
    live      put    equal  | APPLIED v5        | APPLIED v5        | APPLIED v5
    live      delete equal  | APPLIED v5        | APPLIED v5        | APPLIED v5
    live      delete behind | SERVER_WON 4 kept | SERVER_WON 4 kept | CLIENT_WON v5
    live      delete ahead  | SERVER_WON 4 kept | SERVER_WON 4 kept | CLIENT_WON v10
    tombstone put    equal  | RESURRECTED v5    | RESURRECTED v5    | RESURRECTED v5
    tombstone put    behind | SERVER_WON 4 kept | SERVER_WON 4 kept | RESURRECTED v5
    tombstone put    ahead  | SERVER_WON 4 kept | SERVER_WON 4 kept | RESURRECTED v10
    tombstone delete equal  | UNCHANGED 4       | UNCHANGED 4       | UNCHANGED 4
    tombstone delete behind | UNCHANGED 4       | UNCHANGED 4       | UNCHANGED 4
    tombstone delete ahead  | UNCHANGED 4       | UNCHANGED 4       | UNCHANGED 4
";

/// A true conflict (rule 9) whose outcome is for the person, whatever the clocks say.
const FOR_THE_PERSON: &str = "
    live      put    behind | NEEDS_USER 4 open | NEEDS_USER 4 open | NEEDS_USER 4 open
    live      put    ahead  | NEEDS_USER 4 open | NEEDS_USER 4 open | NEEDS_USER 4 open
";

/// A policy, and what the two sides and their base are.
struct Table {
    name: &'static str,
    policy: Policy,
    /// What version 2 held, as far as it is still known. Version 9 never is.
    base: Option<&'static str>,
    server: &'static str,
    sent: &'static str,
    /// What merges write, by the name it has in the cells.
    merges: &'static [(&'static str, &'static str)],
    rows: [&'static str; 2],
}

const SERVER: &str = r#"{"title":"Push"}"#;
const SENT: &str = r#"{"title":"Pull"}"#;

fn tables() -> Vec<Table> {
    let mut tables = vec![
        Table {
            name: "ask",
            policy: Policy::Ask,
            base: Some(r#"{"title":"Legs"}"#),
            server: SERVER,
            sent: SENT,
            merges: &[],
            rows: [WHATEVER_THE_POLICY, FOR_THE_PERSON],
        },
        Table {
            name: "last_write_wins",
            policy: Policy::LastWriteWins,
            base: Some(r#"{"title":"Legs"}"#),
            server: SERVER,
            sent: SENT,
            merges: &[],
            rows: [
                WHATEVER_THE_POLICY,
                "
    live      put    behind | SERVER_WON 4 kept | SERVER_WON 4 kept | CLIENT_WON v5
    live      put    ahead  | SERVER_WON 4 kept | SERVER_WON 4 kept | CLIENT_WON v10
                ",
            ],
        },
        Table {
            name: "server_authoritative, as a device meets it",
            policy: Policy::ServerAuthoritative,
            base: Some(r#"{"title":"Legs"}"#),
            server: SERVER,
            sent: SENT,
            merges: &[],
            rows: [
                "
    absent    put    equal  | READ_ONLY         | READ_ONLY         | READ_ONLY
    absent    put    behind | cannot be         | cannot be         | cannot be
    absent    put    ahead  | READ_ONLY         | READ_ONLY         | READ_ONLY
    absent    delete equal  | UNCHANGED 0       | UNCHANGED 0       | UNCHANGED 0
    absent    delete behind | cannot be         | cannot be         | cannot be
    absent    delete ahead  | UNCHANGED 9       | UNCHANGED 9       | UNCHANGED 9
    live      put    equal  | SERVER_WON 4 kept | SERVER_WON 4 kept | SERVER_WON 4 kept
    live      put    behind | SERVER_WON 4 kept | SERVER_WON 4 kept | SERVER_WON 4 kept
    live      put    ahead  | SERVER_WON 4 kept | SERVER_WON 4 kept | SERVER_WON 4 kept
    live      delete equal  | SERVER_WON 4 kept | SERVER_WON 4 kept | SERVER_WON 4 kept
    live      delete behind | SERVER_WON 4 kept | SERVER_WON 4 kept | SERVER_WON 4 kept
    live      delete ahead  | SERVER_WON 4 kept | SERVER_WON 4 kept | SERVER_WON 4 kept
                ",
                "
    tombstone put    equal  | SERVER_WON 4 kept | SERVER_WON 4 kept | SERVER_WON 4 kept
    tombstone put    behind | SERVER_WON 4 kept | SERVER_WON 4 kept | SERVER_WON 4 kept
    tombstone put    ahead  | SERVER_WON 4 kept | SERVER_WON 4 kept | SERVER_WON 4 kept
    tombstone delete equal  | UNCHANGED 4       | UNCHANGED 4       | UNCHANGED 4
    tombstone delete behind | UNCHANGED 4       | UNCHANGED 4       | UNCHANGED 4
    tombstone delete ahead  | UNCHANGED 4       | UNCHANGED 4       | UNCHANGED 4
                ",
            ],
        },
    ];
    tables.extend(merge_fields());
    tables.extend(merge_max());
    tables.extend(latest_per_key());
    tables
}

/// The base of an item that is ahead is never known: it always falls back to `on_overlap`.
fn merge_fields() -> Vec<Table> {
    const BASE: &str = r#"{"title":"Legs","notes":"","rest":60}"#;
    const SERVER: &str = r#"{"title":"Legs","notes":"","rest":90}"#;
    const APART: &str = r#"{"title":"Legs","notes":"knee","rest":60}"#;
    const OVERLAPPING: &str = r#"{"title":"Legs","notes":"knee","rest":75}"#;
    /// What both sides changed is the server's, or the device's.
    const MERGES: &[(&str, &str)] = &[
        ("S", r#"{"title":"Legs","notes":"knee","rest":90}"#),
        ("C", r#"{"title":"Legs","notes":"knee","rest":75}"#),
    ];
    const LATEST_WITHOUT_BASE: &str = "
    live      put    behind | MERGED 4 kept     | MERGED 4 kept     | CLIENT_WON v5
    live      put    ahead  | MERGED 4 kept     | MERGED 4 kept     | CLIENT_WON v10
    ";
    let table = |name, on_overlap, base, sent, conflicts| Table {
        name,
        policy: Policy::MergeFields { on_overlap },
        base,
        server: SERVER,
        sent,
        merges: MERGES,
        rows: [WHATEVER_THE_POLICY, conflicts],
    };
    vec![
        table(
            "merge_fields latest, no overlap",
            OnOverlap::Latest,
            Some(BASE),
            APART,
            "
    live      put    behind | MERGED v5 S kept  | MERGED v5 S kept  | MERGED v5 S kept
    live      put    ahead  | MERGED 4 kept     | MERGED 4 kept     | CLIENT_WON v10
            ",
        ),
        table(
            "merge_fields latest, overlap",
            OnOverlap::Latest,
            Some(r#"{"title":"Legs","notes":"","rest":60,"order":1}"#),
            r#"{"title":"Legs","notes":"knee","rest":75,"order":1}"#,
            // The server has removed `order`, which the device left alone.
            "
    live      put    behind | MERGED v5 S kept  | MERGED v5 S kept  | MERGED v5 C kept
    live      put    ahead  | MERGED 4 kept     | MERGED 4 kept     | CLIENT_WON v10
            ",
        ),
        table(
            "merge_fields latest, nothing of the server's change is left",
            OnOverlap::Latest,
            Some(BASE),
            OVERLAPPING,
            "
    live      put    behind | MERGED v5 S kept  | MERGED v5 S kept  | CLIENT_WON v5
    live      put    ahead  | MERGED 4 kept     | MERGED 4 kept     | CLIENT_WON v10
            ",
        ),
        table(
            "merge_fields latest, the device changed nothing",
            OnOverlap::Latest,
            Some(BASE),
            BASE,
            "
    live      put    behind | MERGED 4 kept     | MERGED 4 kept     | MERGED 4 kept
    live      put    ahead  | MERGED 4 kept     | MERGED 4 kept     | CLIENT_WON v10
            ",
        ),
        table(
            "merge_fields latest, no base, no overlap",
            OnOverlap::Latest,
            None,
            APART,
            LATEST_WITHOUT_BASE,
        ),
        table(
            "merge_fields latest, no base, overlap",
            OnOverlap::Latest,
            None,
            OVERLAPPING,
            LATEST_WITHOUT_BASE,
        ),
        table(
            "merge_fields ask, no overlap",
            OnOverlap::Ask,
            Some(BASE),
            APART,
            "
    live      put    behind | MERGED v5 S kept  | MERGED v5 S kept  | MERGED v5 S kept
    live      put    ahead  | NEEDS_USER 4 open | NEEDS_USER 4 open | NEEDS_USER 4 open
            ",
        ),
        table(
            "merge_fields ask, overlap",
            OnOverlap::Ask,
            Some(BASE),
            OVERLAPPING,
            FOR_THE_PERSON,
        ),
        table(
            "merge_fields ask, no base, no overlap",
            OnOverlap::Ask,
            None,
            APART,
            FOR_THE_PERSON,
        ),
        table(
            "merge_fields ask, no base, overlap",
            OnOverlap::Ask,
            None,
            OVERLAPPING,
            FOR_THE_PERSON,
        ),
    ]
}

fn merge_max() -> Vec<Table> {
    let table = |name, sent, merges, conflicts| Table {
        name,
        policy: Policy::MergeMax,
        base: None,
        server: r#"{"sets":{"chest":12,"back":8},"note":"tired"}"#,
        sent,
        merges,
        rows: [WHATEVER_THE_POLICY, conflicts],
    };
    vec![
        table(
            "merge_max, each side has the larger of something",
            r#"{"sets":{"chest":10,"back":9,"legs":4},"note":"fresh"}"#,
            &[
                (
                    "S",
                    r#"{"sets":{"chest":12,"back":9,"legs":4},"note":"tired"}"#,
                ),
                (
                    "C",
                    r#"{"sets":{"chest":12,"back":9,"legs":4},"note":"fresh"}"#,
                ),
            ],
            "
    live      put    behind | MERGED v5 S kept  | MERGED v5 S kept  | MERGED v5 C kept
    live      put    ahead  | MERGED v10 S kept | MERGED v10 S kept | MERGED v10 C kept
            ",
        ),
        table(
            "merge_max, the server has the larger of everything",
            r#"{"sets":{"chest":10}}"#,
            &[],
            "
    live      put    behind | MERGED 4 kept     | MERGED 4 kept     | MERGED 4 kept
    live      put    ahead  | MERGED 4 kept     | MERGED 4 kept     | MERGED 4 kept
            ",
        ),
        table(
            "merge_max, the device has the larger of everything",
            r#"{"sets":{"chest":13,"back":8},"note":"tired"}"#,
            &[],
            "
    live      put    behind | CLIENT_WON v5     | CLIENT_WON v5     | CLIENT_WON v5
    live      put    ahead  | CLIENT_WON v10    | CLIENT_WON v10    | CLIENT_WON v10
            ",
        ),
    ]
}

/// The stored edit was made at 1699999940000, the item a millisecond earlier, then, or one later.
fn latest_per_key() -> Vec<Table> {
    let table = |name, base, sent, merges, conflicts| Table {
        name,
        policy: Policy::LatestPerKey { key: "days".into() },
        base,
        server: r#"{"days":{"mon":{"sleep":6,"updatedAt":1699999900000},"tue":{"sleep":7}},"note":"s"}"#,
        sent,
        merges,
        rows: [WHATEVER_THE_POLICY, conflicts],
    };
    // Its own Monday is later; Tuesday has no time of its own and is as late as the edit.
    const SENT: &str =
        r#"{"days":{"mon":{"sleep":8,"updatedAt":1699999910000},"tue":{"sleep":9}},"note":"c"}"#;
    const MERGES: &[(&str, &str)] = &[
        (
            "S",
            r#"{"days":{"mon":{"sleep":8,"updatedAt":1699999910000},"tue":{"sleep":7}},"note":"s"}"#,
        ),
        (
            "s",
            r#"{"days":{"mon":{"sleep":6,"updatedAt":1699999900000},"tue":{"sleep":9}},"note":"s"}"#,
        ),
        (
            "c",
            r#"{"days":{"mon":{"sleep":6,"updatedAt":1699999900000},"tue":{"sleep":9}},"note":"c"}"#,
        ),
    ];
    vec![
        table(
            "latest_per_key, no base",
            None,
            SENT,
            MERGES,
            "
    live      put    behind | MERGED v5 S kept  | MERGED v5 S kept  | CLIENT_WON v5
    live      put    ahead  | MERGED v10 S kept | MERGED v10 S kept | CLIENT_WON v10
            ",
        ),
        table(
            // So Monday is the server's and Tuesday the device's, whatever the clocks say.
            "latest_per_key, only the server changed Monday and only the device Tuesday",
            Some(
                r#"{"days":{"mon":{"sleep":8,"updatedAt":1699999910000},"tue":{"sleep":7}},"note":""}"#,
            ),
            SENT,
            MERGES,
            "
    live      put    behind | MERGED v5 s kept  | MERGED v5 s kept  | MERGED v5 c kept
    live      put    ahead  | MERGED v10 S kept | MERGED v10 S kept | CLIENT_WON v10
            ",
        ),
    ]
}

#[test]
fn every_combination_comes_out_as_its_table_says() {
    for table in tables() {
        for (place, expected) in cells(&table) {
            if expected != "cannot be" {
                let told = answer(&table, place, by_the_tablet(&table));
                assert_eq!(told, expected, "{}: {place:?}", table.name);
            }
        }
    }
}

/// Rule 5 (promise 5), which comes before every policy.
#[test]
fn behind_its_own_versions_a_device_is_answered_as_if_it_knew_them() {
    for table in tables() {
        let cells = cells(&table);
        for place in cells.keys().filter(|place| place.base == "behind") {
            let equal = Place {
                base: "equal",
                ..*place
            };
            let by_the_phone = Sent {
                from: "phone",
                ..by_the_tablet(&table)
            };
            if place.holds != Holds::Absent {
                let told = answer(&table, *place, by_the_phone);
                assert_eq!(told, cells[&equal], "{}: {place:?}", table.name);
            }
        }
    }
}

/// Rule 6, which comes before every policy but the one whose items are read-only.
#[test]
fn forced_edits_win_by_any_clock() {
    for table in tables() {
        for (place, expected) in cells(&table) {
            let unforced = expected == "cannot be"
                || place.base == "equal"
                || place.holds == Holds::Absent
                || (place.holds == Holds::Tombstone && place.operation == "delete")
                || table.policy == Policy::ServerAuthoritative;
            let expected = match (unforced, place.base) {
                (true, _) => expected,
                (false, "ahead") => "CLIENT_WON v10".to_owned(),
                (false, _) => "CLIENT_WON v5".to_owned(),
            };
            let forced = Sent {
                force: true,
                ..by_the_tablet(&table)
            };
            if expected != "cannot be" {
                let told = answer(&table, place, forced);
                assert_eq!(told, expected, "{}: {place:?}", table.name);
            }
        }
    }
}

/// Rule 4, which comes before every policy; rule 3 comes before it.
#[test]
fn what_the_server_holds_already_is_unchanged_by_any_clock() {
    for table in tables() {
        for (place, expected) in cells(&table) {
            let put_on_live = place.holds == Holds::Live && place.operation != "delete";
            let read_only = table.policy == Policy::ServerAuthoritative;
            let same = Sent {
                data: table.server,
                ..by_the_tablet(&table)
            };
            if put_on_live && (place.base != "equal" || read_only) {
                let told = answer(&table, place, same);
                assert_eq!(told, "UNCHANGED 4", "{}: {place:?}", table.name);
            } else if put_on_live {
                assert_eq!(answer(&table, place, same), expected, "{place:?}");
            }
        }
    }
}
