//! Promises 1, 2, 3 and 6: nothing is lost, SUCCESS is exact, items are independent, versions rise by one.

use std::collections::BTreeMap;

use ironflow_sync::grpc::proto::ErrorCode::InvalidData;
use ironflow_sync::grpc::proto::Resolution::{
    Applied, ClientWon, Merged, NeedsUser, Resurrected, ServerWon, Unchanged,
};
use ironflow_sync::grpc::proto::restore_version_request::Source;
use ironflow_sync::grpc::proto::{HistoryEntry, SyncItem};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::check::{Checked, broken, ensure, expect, failed, means, settled, there};
use crate::history::restoring;
use crate::record::{EXERCISE, Record, SETTINGS, WORKOUT, at, forced, note};
use crate::subject::Subject;

const HOUR_MS: i64 = 3_600_000;

pub async fn superseded_versions_come_back(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    for (base, text) in [(0, "a"), (1, "b"), (2, "c")] {
        phone.writes(&workout, base, text).await?;
    }
    let versions = tablet.versions(&workout).await?;
    for (entry, text) in versions.iter().rev().zip(["a", "b", "c"]) {
        means(
            &format!("version {}", entry.version),
            &entry.data,
            &note(text),
        )?;
    }
    expect("versions that are listed", versions.len(), 3)?;
    comes_back(subject, &workout, Source::Version(1), 3, &note("a")).await
}

/// A source is brought back as the next version, and then held.
async fn comes_back(
    subject: &Subject,
    record: &Record,
    source: Source,
    seen: i32,
    data: &Value,
) -> Checked {
    let tablet = subject.tablet();
    let answer = tablet.restore(restoring(record, source, seen)).await?;
    expect("restored", answer.restored, true)?;
    tablet.finds(subject, record, data, seen + 1).await
}

/// The losing side of an edit, as the history lists it.
async fn losing_side(subject: &Subject, record: &Record, edit: &SyncItem) -> Checked<HistoryEntry> {
    let mut entries = subject.tablet().versions(record).await?.into_iter();
    let side = entries.find(|entry| entry.losing_side && entry.mutation_id == edit.mutation_id);
    there("the losing side of the edit in ListVersions", side)
}

pub async fn losers_of_a_policy_come_back(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let settings = subject.fresh(SETTINGS).await?;
    phone.writes(&settings, 0, "a").await?;
    tablet.writes(&settings, 1, "b").await?;
    let long_ago = phone.now().await? - HOUR_MS;
    let edit = at(long_ago, settings.put(1, &note("c")));
    phone.settles(edit.clone(), ServerWon, 2).await?;
    let side = losing_side(subject, &settings, &edit).await?;
    means("the losing side", &side.data, &note("c"))?;
    let source = Source::LosingSide(side.mutation_id);
    comes_back(subject, &settings, source, 2, &note("c")).await
}

pub async fn sides_the_person_is_asked_about_come_back(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    tablet.writes(&workout, 1, "b").await?;
    let edit = workout.put(1, &note("c"));
    let answer = phone.settles(edit.clone(), NeedsUser, 2).await?;
    let detail = there("the details of the conflict", answer.conflict)?;
    let found = tablet.get_conflict(&detail.conflict_id).await?;
    let side = there("the device's side", found.client)?;
    means("the device's side", &side.data, &note("c"))?;
    let side = losing_side(subject, &workout, &edit).await?;
    let source = Source::LosingSide(side.mutation_id);
    comes_back(subject, &workout, source, 2, &note("c")).await
}

pub async fn merged_sides_come_back(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let exercise = subject.fresh(EXERCISE).await?;
    let data = |notes: &str, order: i32| json!({"notes": notes, "order": order});
    phone
        .settles(exercise.put(0, &data("", 1)), Applied, 1)
        .await?;
    tablet
        .settles(exercise.put(1, &data("tablet", 1)), Applied, 2)
        .await?;
    let edit = exercise.put(1, &data("", 2));
    phone.settles(edit.clone(), Merged, 3).await?;
    let side = losing_side(subject, &exercise, &edit).await?;
    means("the device's own side", &side.data, &data("", 2))?;
    let source = Source::LosingSide(side.mutation_id);
    comes_back(subject, &exercise, source, 3, &data("", 2)).await
}

pub async fn edits_that_met_a_deletion_come_back(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    tablet.settles(workout.delete(1), Applied, 2).await?;
    let long_ago = phone.now().await? - HOUR_MS;
    let edit = at(long_ago, workout.put(1, &note("b")));
    phone.settles(edit.clone(), ServerWon, 2).await?;
    let side = losing_side(subject, &workout, &edit).await?;
    let source = Source::LosingSide(side.mutation_id);
    comes_back(subject, &workout, source, 2, &note("b")).await
}

/// What is easily changed on the way: digits, signs, text that looks like something else.
const DELICATE: [(&str, &str); 8] = [
    ("large", "9007199254740993"),
    ("long", "0.12345678901234567891"),
    ("negative", "-12.5"),
    ("emoji", "\"\u{1f3cb}\u{fe0f} e\u{301}\""),
    ("escaped", r#""quote \" backslash \\ line \n""#),
    ("empty", "{}"),
    ("list", "[1,[],null,true]"),
    ("", "\"an empty key\""),
];

pub async fn success_holds_what_was_sent(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    let members: Vec<String> = DELICATE
        .iter()
        .map(|(key, value)| format!("{key:?}:{value}"))
        .collect();
    let sent = format!("{{{}}}", members.join(","));
    phone
        .settles(workout.put_bytes(0, sent.as_str()), Applied, 1)
        .await?;
    let held = there(
        "the entity on a page",
        tablet.held(subject, &workout).await?,
    )?;
    let came: BTreeMap<String, Box<RawValue>> = match serde_json::from_slice(&held.data) {
        Ok(came) => came,
        Err(_) => return broken("expected a JSON object, came something else"),
    };
    expect("keys", came.len(), DELICATE.len())?;
    for (key, value) in DELICATE {
        let came = there(&format!("the key {key:?}"), came.get(key))?.get();
        let value_came: Value = serde_json::from_str(came).unwrap_or_default();
        let value_sent: Value = serde_json::from_str(value).unwrap_or_default();
        // A number is compared by its digits: as a double it could have lost some.
        let same = if value_sent.is_number() {
            came == value
        } else {
            value_came == value_sent
        };
        ensure(same, || format!("{value} under {key:?}, came {came}"))?;
    }
    expect("who wrote it", held.device_id.as_str(), phone.id)
}

pub async fn every_success_is_exact(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    tablet.writes(&workout, 1, "b").await?;
    phone
        .settles(forced(workout.put(1, &note("c"))), ClientWon, 3)
        .await?;
    tablet.finds(subject, &workout, &note("c"), 3).await?;
    tablet.settles(workout.delete(3), Applied, 4).await?;
    phone
        .settles(workout.put(4, &note("d")), Resurrected, 5)
        .await?;
    tablet.finds(subject, &workout, &note("d"), 5).await
}

pub async fn conflict_brings_the_server_copy(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    for (kind, minutes, resolution) in [(WORKOUT, 0, NeedsUser), (SETTINGS, 60, ServerWon)] {
        let record = subject.fresh(kind).await?;
        phone.writes(&record, 0, "a").await?;
        tablet.writes(&record, 1, "b").await?;
        let then = phone.now().await? - minutes * 60_000;
        let edit = at(then, record.put(1, &note("c")));
        let answer = phone.settles(edit, resolution, 2).await?;
        means("the server copy", &answer.server_data, &note("b"))?;
        let held = there("the entity on a page", tablet.held(subject, &record).await?)?;
        expect("server_timestamp", answer.server_timestamp, held.updated_at)?;
        // Based on what the answer told, the next edit is no conflict.
        phone.writes(&record, 2, "d").await?;
    }
    Ok(())
}

pub async fn error_changes_nothing(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    let answer = phone.push_one(workout.put_bytes(1, "[]")).await?;
    failed("data that is no object", &answer, InvalidData, "data")?;
    phone.finds(subject, &workout, &note("a"), 1).await?;
    phone.writes(&workout, 1, "b").await?;
    Ok(())
}

pub async fn bad_items_spare_their_neighbours(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let (one, bad, two) = (
        subject.fresh(WORKOUT).await?,
        subject.fresh(WORKOUT).await?,
        subject.fresh(WORKOUT).await?,
    );
    let items = [
        one.put(0, &note("a")),
        bad.put_bytes(0, "{"),
        two.put(0, &note("b")),
    ];
    let answers = phone.push(&items).await?;
    for (answer, item) in answers.iter().zip(&items) {
        expect(
            "entity_id, in the order sent",
            &answer.entity_id,
            &item.entity_id,
        )?;
    }
    settled("the item before a bad one", &answers[0], Applied, 1)?;
    failed("a bad item", &answers[1], InvalidData, "data")?;
    settled("the item behind a bad one", &answers[2], Applied, 1)?;
    phone.finds(subject, &one, &note("a"), 1).await?;
    phone.finds(subject, &two, &note("b"), 1).await
}

pub async fn conflicts_spare_their_neighbours(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let (one, taken, two) = (
        subject.fresh(WORKOUT).await?,
        subject.fresh(WORKOUT).await?,
        subject.fresh(WORKOUT).await?,
    );
    tablet.writes(&taken, 0, "tablet").await?;
    let items = [
        one.put(0, &note("a")),
        taken.put(0, &note("phone")),
        two.put(0, &note("b")),
    ];
    let answers = phone.push(&items).await?;
    settled("the item before a conflict", &answers[0], Applied, 1)?;
    settled("a conflict", &answers[1], NeedsUser, 1)?;
    settled("the item behind a conflict", &answers[2], Applied, 1)
}

pub async fn versions_rise_by_one(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    tablet.writes(&workout, 1, "b").await?;
    phone
        .settles(workout.put(1, &note("c")), NeedsUser, 2)
        .await?;
    tablet.settles(workout.delete(2), Applied, 3).await?;
    phone
        .settles(workout.put(3, &note("d")), Resurrected, 4)
        .await?;
    phone.settles(workout.delete(4), Applied, 5).await?;
    phone.settles(workout.delete(5), Unchanged, 5).await?;
    tablet
        .settles(workout.put(5, &note("e")), Resurrected, 6)
        .await?;
    let entries = phone.versions(&workout).await?;
    let written = entries.iter().filter(|entry| !entry.losing_side);
    let versions: Vec<i32> = written.map(|entry| entry.version).collect();
    expect("versions that are listed", versions, vec![6, 5, 4, 3, 2, 1])
}

pub async fn versions_of_a_race_are_used_once(subject: &Subject) -> Checked {
    const EDITS: usize = 12;
    let devices = [subject.phone(), subject.tablet(), subject.watch()];
    let workout = subject.fresh(WORKOUT).await?;
    let edits = (0..EDITS).map(|n| {
        let edit = forced(workout.put(0, &json!({ "n": n })));
        devices[n % devices.len()].push_one(edit)
    });
    let answers = futures_util::future::try_join_all(edits).await?;
    let mut versions: Vec<i32> = answers.iter().map(|answer| answer.server_version).collect();
    versions.sort_unstable();
    let expected: Vec<i32> = (1..).take(EDITS).collect();
    expect("versions of edits that came at once", versions, expected)
}
