//! Rule 9: what each policy of the built-in catalog makes of a true conflict. The phone and the tablet know
//! version 1; the tablet's edit arrives first and is version 2, then the phone's.

use ironflow_sync::grpc::proto::ErrorCode::ReadOnly;
use ironflow_sync::grpc::proto::Resolution::{
    Applied, ClientWon, Merged, NeedsUser, ServerWon, Unchanged,
};
use ironflow_sync::grpc::proto::{Resolution, SyncResult};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::check::{Checked, Finding, ensure, expect, failed, means, there};
use crate::record::{
    DEFINITION, EXERCISE, Kind, LOG, RECOVERY, Record, SETTINGS, VOLUME, WORKOUT, at, forced, note,
};
use crate::subject::Subject;

const MINUTE_MS: i64 = 60_000;

/// A meeting: what the tablet and the phone make of the base, each so many minutes ago.
struct Meeting<'a> {
    kind: Kind,
    base: &'a Value,
    tablets: (&'a Value, i64),
    phones: (&'a Value, i64),
}

impl Meeting<'_> {
    /// What the phone is answered.
    async fn ends(
        &self,
        subject: &Subject,
        resolution: Resolution,
        version: i32,
    ) -> Checked<(Record, SyncResult)> {
        let (phone, tablet) = (subject.phone(), subject.tablet());
        let record = subject.fresh(self.kind).await?;
        let now = phone.now().await?;
        let ago = |minutes: i64| now - minutes * MINUTE_MS;
        phone
            .settles(at(ago(60), record.put(0, self.base)), Applied, 1)
            .await?;
        let (tablets, minutes) = self.tablets;
        tablet
            .settles(at(ago(minutes), record.put(1, tablets)), Applied, 2)
            .await?;
        let (phones, minutes) = self.phones;
        let edit = at(ago(minutes), record.put(1, phones));
        let answer = phone.settles(edit, resolution, version).await?;
        Ok((record, answer))
    }

    /// It is MERGED to this, as version 3, for everybody.
    async fn merges_to(&self, subject: &Subject, merged: &Value) -> Checked {
        let (record, answer) = self.ends(subject, Merged, 3).await?;
        means("the merged copy", &answer.server_data, merged)?;
        subject.tablet().finds(subject, &record, merged, 3).await
    }
}

pub async fn ask(subject: &Subject) -> Checked {
    let exercise = |id: &str| json!({"id": id, "sets": [{"id": "1", "reps": 5}]});
    let with =
        |ids: &[&str]| json!({"exercises": ids.iter().map(|id| exercise(id)).collect::<Vec<_>>()});
    let meeting = Meeting {
        kind: WORKOUT,
        base: &with(&[]),
        tablets: (&with(&["squat"]), 5),
        phones: (&with(&["bench"]), 1),
    };
    let (record, answer) = meeting.ends(subject, NeedsUser, 2).await?;
    means("the server copy", &answer.server_data, &with(&["squat"]))?;
    let detail = there("the details of the conflict", answer.conflict)?;
    means("base_data", &detail.base_data, &with(&[]))?;
    let proposed: Value = serde_json::from_slice(&detail.proposed_data).unwrap_or_default();
    let both = proposed["exercises"].as_array().map_or(0, Vec::len);
    ensure(both == 2, || {
        format!("a proposed merge with the exercises of both; came {proposed}")
    })?;
    let tablet = subject.tablet();
    expect(
        "server_device_id",
        detail.server_device_id.as_str(),
        tablet.id,
    )?;
    expect(
        "server_device_label",
        detail.server_device_label,
        tablet.label(),
    )?;
    tablet.finds(subject, &record, &with(&["squat"]), 2).await
}

pub async fn last_write_wins_later(subject: &Subject) -> Checked {
    let meeting = Meeting {
        kind: SETTINGS,
        base: &json!({"units": "kg"}),
        tablets: (&json!({"units": "lb"}), 9),
        phones: (&json!({"units": "st"}), 5),
    };
    let (record, _) = meeting.ends(subject, ClientWon, 3).await?;
    subject
        .tablet()
        .finds(subject, &record, meeting.phones.0, 3)
        .await
}

pub async fn last_write_wins_earlier(subject: &Subject) -> Checked {
    // The second is equally late: the one that came first stays.
    for minutes in [9, 5] {
        let meeting = Meeting {
            kind: SETTINGS,
            base: &json!({"units": "kg"}),
            tablets: (&json!({"units": "lb"}), 5),
            phones: (&json!({"units": "st"}), minutes),
        };
        let (record, answer) = meeting.ends(subject, ServerWon, 2).await?;
        means("the server copy", &answer.server_data, meeting.tablets.0)?;
        subject
            .tablet()
            .finds(subject, &record, meeting.tablets.0, 2)
            .await?;
    }
    Ok(())
}

pub async fn merge_fields(subject: &Subject) -> Checked {
    let sets = |reps: i32, weight: i32| json!([{"id": "a", "reps": reps, "weight": weight}]);
    let meeting = Meeting {
        kind: EXERCISE,
        base: &json!({"notes": "", "gone": 1, "sets": sets(5, 100)}),
        tablets: (
            &json!({"notes": "belt", "gone": 1, "sets": sets(5, 105)}),
            5,
        ),
        phones: (&json!({"notes": "", "sets": sets(6, 100)}), 9),
    };
    meeting
        .merges_to(subject, &json!({"notes": "belt", "sets": sets(6, 105)}))
        .await
}

pub async fn merge_fields_overlap_latest(subject: &Subject) -> Checked {
    let data = |notes: &str, order: i32| json!({"notes": notes, "order": order});
    for (phones_minutes, notes) in [(9, "tablet"), (1, "phone")] {
        let meeting = Meeting {
            kind: EXERCISE,
            base: &json!({"notes": "", "order": 1, "rest": 1}),
            tablets: (&json!({"notes": "tablet", "order": 1, "rest": 2}), 5),
            phones: (
                &json!({"notes": "phone", "order": 2, "rest": 1}),
                phones_minutes,
            ),
        };
        let mut merged = data(notes, 2);
        merged["rest"] = json!(2);
        meeting.merges_to(subject, &merged).await?;
    }
    Ok(())
}

pub async fn merge_fields_overlap_ask(subject: &Subject) -> Checked {
    let log = |notes: &str, reps: i32| json!({"notes": notes, "sets": [{"id": "a", "reps": reps}]});
    let meeting = Meeting {
        kind: LOG,
        base: &log("", 5),
        tablets: (&log("belt", 7), 5),
        phones: (&log("", 6), 1),
    };
    let (_, answer) = meeting.ends(subject, NeedsUser, 2).await?;
    let detail = there("the details of the conflict", answer.conflict)?;
    let overlap = vec!["/sets/0/reps".to_owned()];
    expect("overlapping_paths", detail.overlapping_paths, overlap)?;
    means("proposed_data", &detail.proposed_data, &log("belt", 6))
}

pub async fn merge_fields_lists_by_id(subject: &Subject) -> Checked {
    let sets =
        |ids: &[&str]| json!({"sets": ids.iter().map(|id| json!({"id": id})).collect::<Vec<_>>()});
    let meeting = Meeting {
        kind: EXERCISE,
        base: &sets(&["a", "b", "c"]),
        tablets: (&sets(&["a", "t", "b", "c"]), 5),
        phones: (&sets(&["a", "b", "p"]), 1),
    };
    // The tablet's is behind a, the phone's behind b, and the phone has removed c.
    meeting
        .merges_to(subject, &sets(&["a", "t", "b", "p"]))
        .await
}

pub async fn merge_equal_to_the_item(subject: &Subject) -> Checked {
    let meeting = Meeting {
        kind: EXERCISE,
        base: &json!({"notes": "", "order": 1}),
        tablets: (&json!({"notes": "", "order": 2}), 5),
        phones: (&json!({"notes": "mine", "order": 2}), 1),
    };
    let (record, _) = meeting.ends(subject, ClientWon, 3).await?;
    subject
        .tablet()
        .finds(subject, &record, meeting.phones.0, 3)
        .await
}

pub async fn merge_equal_to_the_stored(subject: &Subject) -> Checked {
    let meeting = Meeting {
        kind: EXERCISE,
        base: &json!({"notes": "", "order": 1}),
        tablets: (&json!({"notes": "mine", "order": 2}), 5),
        phones: (&json!({"notes": "", "order": 2}), 1),
    };
    let (record, answer) = meeting.ends(subject, Merged, 2).await?;
    means("the server copy", &answer.server_data, meeting.tablets.0)?;
    subject
        .tablet()
        .finds(subject, &record, meeting.tablets.0, 2)
        .await
}

pub async fn merge_max(subject: &Subject) -> Checked {
    let muscles = |sets: Value| json!({ "muscleGroups": sets });
    let meeting = Meeting {
        kind: VOLUME,
        base: &muscles(json!({"chest": {"sets": 8}})),
        tablets: (
            &muscles(json!({"chest": {"sets": 12}, "legs": {"sets": 3}})),
            5,
        ),
        phones: (
            &muscles(json!({"chest": {"sets": 9}, "back": {"sets": 6}})),
            1,
        ),
    };
    let merged = json!({"chest": {"sets": 12}, "legs": {"sets": 3}, "back": {"sets": 6}});
    meeting.merges_to(subject, &muscles(merged)).await
}

pub async fn latest_per_key(subject: &Subject) -> Checked {
    let now = subject.phone().now().await?;
    let day = |sleep: i32, minutes_ago: i64| json!({"sleep": sleep, "updatedAt": now - minutes_ago * MINUTE_MS});
    let meeting = Meeting {
        kind: RECOVERY,
        base: &json!({"days": {}}),
        tablets: (&json!({"days": {"mon": day(6, 30), "tue": day(7, 40)}}), 5),
        phones: (
            &json!({"days": {"mon": day(5, 50), "tue": day(8, 20), "wed": day(9, 10)}}),
            9,
        ),
    };
    let merged = json!({"days": {"mon": day(6, 30), "tue": day(8, 20), "wed": day(9, 10)}});
    meeting.merges_to(subject, &merged).await
}

pub async fn library_keeps_its_copy(subject: &Subject) -> Checked {
    let phone = subject.phone();
    subject.type_info(DEFINITION)?;
    let page = phone.pull(phone.page(&[DEFINITION.name], "")).await?;
    let definition = page.entities.into_iter().find(|entity| !entity.deleted);
    let Some(definition) = definition else {
        let why = format!("this server's library has no {}", DEFINITION.name);
        return Err(Finding::NotAsked(why));
    };
    let Ok(id) = Uuid::parse_str(&definition.entity_id) else {
        let came = definition.entity_id;
        return Err(Finding::Broken(format!(
            "expected a UUID as entity_id, came {came:?}"
        )));
    };
    let record = Record {
        kind: DEFINITION,
        id,
    };
    let version = definition.version;
    phone
        .settles(
            record.put_bytes(0, definition.data.clone()),
            Unchanged,
            version,
        )
        .await?;
    for edit in [
        record.put(version, &note("mine")),
        forced(record.put(version, &note("mine"))),
        record.delete(version),
    ] {
        let answer = phone.settles(edit, ServerWon, version).await?;
        let library: Value = serde_json::from_slice(&definition.data).unwrap_or_default();
        means("the library's copy", &answer.server_data, &library)?;
    }
    Ok(())
}

pub async fn library_is_read_only(subject: &Subject) -> Checked {
    let definition = subject.fresh(DEFINITION).await?;
    let answer = subject
        .phone()
        .push_one(definition.put(0, &note("mine")))
        .await?;
    failed(
        "a put of what the library does not have",
        &answer,
        ReadOnly,
        "",
    )
}
