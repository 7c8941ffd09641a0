//! Writing what nothing stands in the way of: batches of any scopes in one transaction.

use std::collections::HashMap;
use std::time::SystemTime;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::Store;
use super::super::columns::{system_time, unexpected};
use super::super::session::{Behalf, Question};
use super::Author;
use crate::domain::clock::Millis;
use crate::domain::decide::Rule;
use crate::domain::entity::EntityKey;
use crate::domain::plan::Uncontested;
use crate::domain::scope::Scope;
use crate::domain::standing::{Gate, Source};
use crate::domain::version::{Revision, Version};
use crate::error::Fault;

const WRITE_UNCONTESTED: &str = include_str!("../sql/write_uncontested.sql");

/// A batch that is written if nothing stands in its way.
pub struct Offer<'a> {
    /// Whose data.
    pub scope: &'a Scope,
    /// Who sent it.
    pub author: Author<'a>,
    /// Whether a subscription is needed.
    pub gate: &'a Gate,
    /// What becomes of it then.
    pub planned: &'a Uncontested<'a>,
    /// How many entities the scope may hold.
    pub entities_max: i64,
}

impl Store {
    /// Writes batches one after the other, each seeing what the ones before it did, in one transaction and one
    /// round trip: for each the scope's revision with it, or `None`: something stands in its way, and nothing
    /// of it was written. That its scope is locked is such a thing, so this waits for nobody.
    pub async fn write_uncontested(
        &self,
        offers: &[Offer<'_>],
    ) -> Result<Vec<Option<Revision>>, Fault> {
        if offers.is_empty() {
            return Ok(Vec::new());
        }
        let columns: Vec<Columns<'_>> = offers.iter().map(Columns::of).collect();
        let parameters: Vec<_> = columns.iter().map(Columns::all).collect();
        let parameters = parameters.iter();
        let questions: Vec<Question<'_>> = parameters
            .map(|all| (WRITE_UNCONTESTED, all.as_slice()))
            .collect();
        let session = self.session().await?;
        let answers = session.tell(Behalf::Each, &questions).await?;
        let answers = offers.iter().zip(answers).map(|(offer, rows)| {
            let row = rows.first().ok_or_else(|| unexpected("revision"))?;
            let before: Option<i64> = row.try_get("revision")?;
            Ok(before.map(|before| Revision::new(before).after(offer.planned.writes.len())))
        });
        answers.collect()
    }
}

/// The entities of an offer as columns, the way `unnest` takes them, and what is said once.
struct Columns<'a> {
    scope: &'a str,
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
    must_be_paid: bool,
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
            scope: offer.scope.as_str(),
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
            must_be_paid: offer.gate.source == Source::Account,
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
    fn all(&self) -> [&(dyn ToSql + Sync); 22] {
        [
            &self.scope,
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
            &self.must_be_paid,
            &self.label,
            &self.platform,
            &self.app_version,
            &self.pending_count,
            &self.batch_number,
            &self.batch_digest,
        ]
    }
}
