//! Writing what nothing stands in the way of: one statement for each batch, behind the one that locks.

use std::collections::HashMap;
use std::time::SystemTime;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::Store;
use super::super::columns::system_time;
use super::super::session::Question;
use super::super::standing::standing;
use super::{Author, Batch, LOCK_SCOPE};
use crate::domain::clock::Millis;
use crate::domain::decide::Rule;
use crate::domain::entity::EntityKey;
use crate::domain::plan::Uncontested;
use crate::domain::scope::Scope;
use crate::domain::standing::Standing;
use crate::domain::version::{Revision, Version};
use crate::error::{CallError, Fault};

const WRITE_UNCONTESTED: &str = include_str!("../sql/write_uncontested.sql");

/// A batch that is written if nothing stands in its way.
pub struct Offer<'a> {
    /// Who sent it.
    pub author: Author<'a>,
    /// What becomes of it then.
    pub planned: &'a Uncontested<'a>,
    /// How many entities the scope may hold.
    pub entities_max: i64,
}

/// What was found of an offer, under the lock.
#[derive(Debug)]
pub struct Taken {
    /// How its device stood before it.
    pub standing: Standing,
    /// The scope's revision with it; `None`: something stands in its way, and nothing was written.
    pub last_revision: Option<Revision>,
}

impl Taken {
    /// Whether it was written.
    pub fn is_written(&self) -> bool {
        self.last_revision.is_some()
    }
}

impl Store {
    /// Begins a batch as [`Store::begin`] does, and writes offers behind the lock, one after the other, each
    /// seeing what the ones before it did. All in one round trip; it is for the caller to commit. In a scope
    /// that has never been written, none is looked at.
    pub async fn begin_with<'a>(
        &self,
        scope: &'a Scope,
        offers: &[Offer<'_>],
    ) -> Result<(Batch<'a>, Vec<Taken>), CallError> {
        let session = self.session().await?;
        let name = scope.as_str();
        let columns: Vec<Columns<'_>> = offers.iter().map(Columns::of).collect();
        let parameters: Vec<_> = columns.iter().map(|columns| columns.all(&name)).collect();
        let lock: [&(dyn ToSql + Sync); 1] = [&name];
        let mut questions: Vec<Question<'_>> = vec![(LOCK_SCOPE, &lock)];
        let writes = parameters.iter();
        questions.extend(writes.map(|all| (WRITE_UNCONTESTED, all.as_slice())));
        let answers = session.start_all(scope, &questions).await?;
        let mut answers = answers.iter().map(|rows| rows.first());
        let Some(locked) = answers.next().flatten() else {
            session.rollback().await?;
            // Whoever waits for a connection must not hold one.
            drop(session);
            return Ok((self.begin(scope).await?, Vec::new()));
        };
        let batch = Batch::locked(session, scope, locked)?;
        let taken = offers.iter().zip(answers).map(|(offer, row)| {
            let no_row = || Fault::Defect("an offer has no answer".into(), None);
            taken(offer, row.ok_or_else(no_row)?)
        });
        let taken = taken.collect::<Result<Vec<Taken>, Fault>>()?;
        Ok((batch, taken))
    }
}

/// Reads what was found, and makes sure that what was written is all of it.
fn taken(offer: &Offer<'_>, row: &Row) -> Result<Taken, Fault> {
    let before: Option<i64> = row.try_get("revision")?;
    let writes = &offer.planned.writes;
    if before.is_some() {
        let new = writes.iter().filter(|write| write.replaces.is_none());
        let new = new.count() as i64;
        let replaced = writes.len() as i64 - new;
        for (touched, rows) in [
            ("kept", replaced),
            ("updated", replaced),
            ("inserted", new),
            ("moved", 1),
        ] {
            let count: i64 = row.try_get(touched)?;
            if count != rows {
                let wrong = format!("{touched} {count} rows instead of {rows}");
                return Err(Fault::Defect(wrong, None));
            }
        }
    }
    Ok(Taken {
        standing: standing(row)?,
        last_revision: before.map(|before| Revision::new(before).after(writes.len())),
    })
}

/// The entities of an offer as columns, the way `unnest` takes them, and what is said once.
struct Columns<'a> {
    device: &'a str,
    now: SystemTime,
    entity_type: Vec<&'a str>,
    entity_id: Vec<Uuid>,
    base: Vec<i32>,
    data: Vec<Option<&'a str>>,
    mutation_id: Vec<Uuid>,
    edit_time: Vec<SystemTime>,
    clock_offset_ms: Vec<i64>,
    began_at: Vec<Option<SystemTime>>,
    rule: Vec<Option<i16>>,
    from: Vec<Option<SystemTime>>,
    until: Vec<Option<SystemTime>>,
    entities_max: i64,
    label: Option<&'a str>,
    platform: Option<&'a str>,
    app_version: Option<&'a str>,
    pending_count: Option<i32>,
    batch_number: Option<i64>,
    batch_digest: Option<Uuid>,
}

impl<'a> Columns<'a> {
    fn of(offer: &'a Offer<'a>) -> Self {
        let Author {
            device,
            info,
            now,
            mark,
            devices_max: _, // the device of an offer is known already
        } = &offer.author;
        let mut columns = Self {
            device: device.as_str(),
            now: system_time(*now),
            entity_type: Vec::new(),
            entity_id: Vec::new(),
            base: Vec::new(),
            data: Vec::new(),
            mutation_id: Vec::new(),
            edit_time: Vec::new(),
            clock_offset_ms: Vec::new(),
            began_at: Vec::new(),
            rule: Vec::new(),
            from: Vec::new(),
            until: Vec::new(),
            entities_max: offer.entities_max,
            label: info.label.as_deref(),
            platform: info.platform.as_deref(),
            app_version: info.app_version.as_deref(),
            pending_count: info.pending_count,
            batch_number: mark.map(|mark| mark.number.number()),
            batch_digest: mark.map(|mark| mark.digest),
        };
        let newcomers = offer.planned.newcomers.iter();
        let near: HashMap<&EntityKey, (Millis, Millis)> = newcomers
            .map(|new| (new.key, (new.from, new.until)))
            .collect();
        for write in &offer.planned.writes {
            for new in &write.versions {
                let base = write.replaces.unwrap_or(Version::NONE);
                columns.entity_type.push(write.key.entity_type.as_str());
                columns.entity_id.push(write.key.entity_id);
                columns.base.push(base.number());
                columns.data.push(new.document.as_ref().map(|d| d.text()));
                columns.mutation_id.push(new.mutation.0);
                columns.edit_time.push(system_time(new.edit_time));
                columns.clock_offset_ms.push(new.clock_offset_ms);
                columns.began_at.push(new.began_at.map(system_time));
                columns.rule.push(new.reason.rule.map(Rule::number));
                let near = near.get(&write.key);
                columns.from.push(near.map(|(from, _)| system_time(*from)));
                columns
                    .until
                    .push(near.map(|(_, until)| system_time(*until)));
            }
        }
        columns
    }

    /// All parameters of the statement, in its order.
    fn all<'b>(&'b self, scope: &'b &str) -> [&'b (dyn ToSql + Sync); 21] {
        [
            scope,
            &self.device,
            &self.now,
            &self.entity_type,
            &self.entity_id,
            &self.base,
            &self.data,
            &self.mutation_id,
            &self.edit_time,
            &self.clock_offset_ms,
            &self.began_at,
            &self.rule,
            &self.from,
            &self.until,
            &self.entities_max,
            &self.label,
            &self.platform,
            &self.app_version,
            &self.pending_count,
            &self.batch_number,
            &self.batch_digest,
        ]
    }
}
