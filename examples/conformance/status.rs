//! What a server says of itself and of an account, and taking everything along.

use std::time::Duration;

use ironflow_sync::grpc::proto::Resolution::NeedsUser;
use ironflow_sync::grpc::proto::export_account_response::Record as Exported;
use ironflow_sync::grpc::proto::{AccountCounts, ExportAccountRequest, SyncRequest};
use tokio::time::sleep;

use crate::check::{Checked, broken, ensure, expect, there};
use crate::record::{WORKOUT, note};
use crate::subject::Subject;

const POLICIES: [&str; 6] = [
    "ask",
    "last_write_wins",
    "merge_fields",
    "merge_max",
    "latest_per_key",
    "server_authoritative",
];
const TIERS: [&str; 3] = ["core", "supporting", "on_demand"];

pub async fn limits_are_told(subject: &Subject) -> Checked {
    let limits = there("limits in GetServerInfo", subject.info.limits)?;
    for (name, limit) in [
        ("batch_items_max", limits.batch_items_max),
        ("item_bytes_max", limits.item_bytes_max),
        ("message_bytes_max", limits.message_bytes_max),
        ("json_depth_max", limits.json_depth_max),
        ("page_size_default", limits.page_size_default),
        ("page_size_max", limits.page_size_max),
    ] {
        ensure(limit > 0, || {
            format!("{name} in GetServerInfo; it is {limit}")
        })?;
    }
    ensure(limits.page_size_default <= limits.page_size_max, || {
        "page_size_default to be at most page_size_max; it is more".to_owned()
    })
}

pub async fn types_are_told(subject: &Subject) -> Checked {
    let types = &subject.info.entity_types;
    ensure(!types.is_empty(), || {
        "entity types in GetServerInfo; there are none".to_owned()
    })?;
    ensure(
        types.is_sorted_by(|one, two| one.entity_type < two.entity_type),
        || "entity types by name, each once; they are not".to_owned(),
    )?;
    for info in types {
        let name = &info.entity_type;
        ensure(POLICIES.contains(&info.policy.as_str()), || {
            format!(
                "a policy that docs/protocol.md has for {name}; came {:?}",
                info.policy
            )
        })?;
        ensure(TIERS.contains(&info.tier.as_str()), || {
            format!("a tier of {TIERS:?} for {name}; came {:?}", info.tier)
        })?;
    }
    Ok(())
}

pub async fn devices_are_listed(subject: &Subject) -> Checked {
    const PENDING: i32 = 7;
    let phone = subject.phone();
    let batch = SyncRequest {
        pending_count: PENDING,
        ..phone.batch()
    };
    phone.sync(batch).await?;
    let status = phone.get_status().await?;
    ensure(status.server_time > 0, || {
        "server_time in GetStatus; it is 0".to_owned()
    })?;
    let mut devices = status.devices.into_iter();
    let device = devices.find(|device| device.device_id == phone.id);
    let device = there("the device that asks in GetStatus", device)?;
    expect("its label", device.label, phone.label())?;
    expect("its platform", device.platform.as_str(), "conformance")?;
    expect("its pending_count", device.pending_count, PENDING)?;
    ensure(device.last_seen_time > 0, || {
        "its last_seen_time; it is 0".to_owned()
    })?;
    expect("its revoked_time", device.revoked_time, 0)
}

pub async fn waiting_changes_are_counted(subject: &Subject) -> Checked {
    const TRIES: usize = 60;
    const PAUSE: Duration = Duration::from_millis(500);
    let (phone, tablet) = (subject.phone(), subject.tablet());
    tablet.end(subject, &[]).await?;
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    // The count may be a few seconds late.
    for _ in 0..TRIES {
        let status = tablet.get_status().await?;
        if status.waiting_changes > 0 && status.last_sync_time > 0 {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    broken("expected waiting_changes and last_sync_time in GetStatus, one of them stays 0")
}

pub async fn exports_are_complete(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    tablet.writes(&workout, 1, "b").await?;
    phone
        .settles(workout.put(1, &note("c")), NeedsUser, 2)
        .await?;
    let id = workout.id.to_string();
    let call = phone.call(ExportAccountRequest {}, async |mut client, request| {
        client.export_account(request).await
    });
    let mut stream = call.await?;
    let mut counted = AccountCounts::default();
    let mut ours = Vec::new();
    let mut records = 0;
    while let Some(message) = stream.message().await? {
        let record = there("a record that is known", message.record)?;
        let (kind, entity_id) = match record {
            Exported::Account(_) => {
                expect("records before the account", records, 0)?;
                ("account", String::new())
            }
            Exported::Device(_) => {
                counted.devices += 1;
                ("device", String::new())
            }
            Exported::Entity(version) => {
                counted.entities += 1;
                ("entity", version.entity_id)
            }
            Exported::OldVersion(version) => {
                counted.old_versions += 1;
                ("old version", version.entity_id)
            }
            Exported::LosingSide(side) => {
                counted.losing_sides += 1;
                ("losing side", side.entity_id)
            }
            Exported::Conflict(conflict) => {
                counted.conflicts += 1;
                ("conflict", conflict.entity_id)
            }
            Exported::Done(done) => {
                expect("counts of done", done.counts.unwrap_or_default(), counted)?;
                let all = vec!["entity", "old version", "losing side", "conflict"];
                expect("records about one entity", ours, all)?;
                let more = stream.message().await?.is_some();
                return expect("records behind done", more, false);
            }
        };
        records += 1;
        if entity_id == id {
            ours.push(kind);
        }
    }
    broken("expected done as the last record of ExportAccount, it did not come")
}
