//! Writing what nothing stands in the way of: batches of any scopes in one transaction, those of one scope together.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::Store;
use super::super::columns::{system_time, unexpected};
use super::super::session::{Behalf, Commit, Question, Session};
use super::Author;
use crate::domain::clock::Millis;
use crate::domain::decide::Rule;
use crate::domain::entity::EntityKey;
use crate::domain::plan::Uncontested;
use crate::domain::scope::Scope;
use crate::domain::standing::{Gate, Source};
use crate::domain::version::{Revision, Version};
use crate::error::Fault;

const WRITE_BATCHES: &str = include_str!("../sql/write_batches.sql");

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

impl Offer<'_> {
    fn must_be_paid(&self) -> bool {
        self.gate.source == Source::Account
    }
}

/// Writes batches that nothing stands in the way of, some after the other.
pub struct Writer(Session);

/// Batches that were written together.
pub struct Written<'w> {
    /// For each the scope's revision with it, or `None`: something stood in its way, and nothing of it was written.
    pub revisions: Vec<Option<Revision>>,
    /// They count once they are committed; `None`: there was nothing to be written.
    commit: Option<Commit<'w>>,
}

impl Written<'_> {
    /// Waits until what was written counts. After an error it does not, or does and will be recognised.
    pub async fn committed(self) -> Result<(), Fault> {
        match self.commit {
            Some(commit) => commit.done().await,
            None => Ok(()),
        }
    }
}

impl Store {
    /// A writer with a connection of its own.
    pub async fn writer(&self) -> Result<Writer, Fault> {
        self.session().await.map(Writer)
    }
}

impl Writer {
    /// Writes batches one after the other, each seeing what the ones before it did, in one transaction and one
    /// round trip. That a scope is locked stands in the way of its batches, so this waits for nobody, but for what
    /// the writer wrote before, which need not be committed yet. After an error it can write nothing more.
    pub async fn write(&self, offers: &[Offer<'_>]) -> Result<Written<'_>, Fault> {
        if offers.is_empty() {
            let (revisions, commit) = (Vec::new(), None);
            return Ok(Written { revisions, commit });
        }
        let calls = apart(offers);
        let columns: Vec<Columns<'_>> = calls.iter().map(|call| Columns::of(call)).collect();
        let parameters: Vec<_> = columns.iter().map(Columns::all).collect();
        let parameters = parameters.iter();
        let questions: Vec<Question<'_>> = parameters
            .map(|all| (WRITE_BATCHES, all.as_slice()))
            .collect();
        let (answers, commit) = self.0.tell_ahead(Behalf::Each, &questions).await?;
        let mut revisions = Vec::with_capacity(offers.len());
        for (call, rows) in calls.iter().zip(answers) {
            let row = rows.first().ok_or_else(|| unexpected("revisions"))?;
            let before: Vec<Option<i64>> = row.try_get("revisions")?;
            if before.len() != call.len() {
                return Err(unexpected("revisions"));
            }
            let after = |(offer, before): (&Offer<'_>, Option<i64>)| {
                before.map(|before| Revision::new(before).after(offer.planned.writes.len()))
            };
            revisions.extend(call.iter().zip(before).map(after));
        }
        let commit = Some(commit);
        Ok(Written { revisions, commit })
    }

    /// Gives the connection back. All that was written is committed.
    pub fn close(self) {
        self.0.close();
    }
}

/// Offers in calls of the function, which takes batches that have nothing to do with each other: of one scope, each of
/// another device, no entity in two of them, and only in the first something that may have neighbours, since an edit
/// may move what it is about. What has to do with one before it is in a later call.
fn apart<'a, 'b>(offers: &'b [Offer<'a>]) -> Vec<&'b [Offer<'a>]> {
    let mut calls = Vec::new();
    let mut rest = offers;
    while !rest.is_empty() {
        // One fits in any case.
        let (call, others) = rest.split_at(alike(rest).max(1));
        calls.push(call);
        rest = others;
    }
    calls
}

/// How many of the offers fit into one call, from the first on.
fn alike(offers: &[Offer<'_>]) -> usize {
    fn said_once<'a>(offer: &Offer<'a>) -> (&'a Scope, bool, i64) {
        (offer.scope, offer.must_be_paid(), offer.entities_max)
    }
    let first = offers.first().map(said_once);
    let (mut devices, mut keys) = (HashSet::new(), HashSet::new());
    let mut count = 0;
    for offer in offers {
        let fits = Some(said_once(offer)) == first
            && (count == 0 || offer.planned.newcomers.is_empty())
            && devices.insert(offer.author.device)
            && offer
                .planned
                .writes
                .iter()
                .all(|write| keys.insert(&write.key));
        if !fits {
            break;
        }
        count += 1;
    }
    count
}

/// Batches of a call as columns, the way `unnest` takes them, and their entities likewise, and what is said once.
struct Columns<'a> {
    scope: &'a str,
    entities_max: i64,
    must_be_paid: bool,
    device: Vec<&'a str>,
    now: Vec<SystemTime>,
    end: Vec<i32>,
    label: Vec<Option<&'a str>>,
    platform: Vec<Option<&'a str>>,
    app_version: Vec<Option<&'a str>>,
    pending_count: Vec<Option<i32>>,
    batch_number: Vec<Option<i64>>,
    batch_digest: Vec<Option<Uuid>>,
    batch: Vec<i32>,
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
}

impl<'a> Columns<'a> {
    /// Of offers that fit into one call: at least one.
    fn of(offers: &'a [Offer<'a>]) -> Self {
        let first = offers.first();
        let mut columns = Self {
            scope: first.map_or("", |offer| offer.scope.as_str()),
            entities_max: first.map_or(0, |offer| offer.entities_max),
            must_be_paid: first.is_some_and(Offer::must_be_paid),
            device: Vec::new(),
            now: Vec::new(),
            end: Vec::new(),
            label: Vec::new(),
            platform: Vec::new(),
            app_version: Vec::new(),
            pending_count: Vec::new(),
            batch_number: Vec::new(),
            batch_digest: Vec::new(),
            batch: Vec::new(),
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
        };
        for offer in offers {
            columns.push(offer);
        }
        columns
    }

    fn push(&mut self, offer: &'a Offer<'a>) {
        let Author {
            device,
            info,
            now,
            mark,
            devices_max: _, // the device of an offer is known already
        } = &offer.author;
        self.device.push(device.as_str());
        self.now.push(system_time(*now));
        self.label.push(info.label.as_deref());
        self.platform.push(info.platform.as_deref());
        self.app_version.push(info.app_version.as_deref());
        self.pending_count.push(info.pending_count);
        self.batch_number
            .push(mark.map(|mark| mark.number.number()));
        self.batch_digest.push(mark.map(|mark| mark.digest));
        let newcomers = offer.planned.newcomers.iter();
        let near: HashMap<&EntityKey, (Millis, Millis)> = newcomers
            .map(|new| (new.key, (new.from, new.until)))
            .collect();
        for write in &offer.planned.writes {
            for new in &write.versions {
                let base = write.replaces.unwrap_or(Version::NONE);
                self.batch.push(self.device.len() as i32);
                self.entity_type.push(write.key.entity_type.as_str());
                self.entity_id.push(write.key.entity_id);
                self.base.push(base.number());
                self.data.push(new.document.as_ref().map(|d| d.text()));
                self.mutation_id.push(new.mutation.0);
                self.edit_time.push(system_time(new.edit_time));
                self.clock_offset_ms.push(new.clock_offset_ms);
                self.began_at.push(new.began_at.map(system_time));
                self.rule.push(new.reason.rule.map(Rule::number));
                let near = near.get(&write.key);
                self.from.push(near.map(|(from, _)| system_time(*from)));
                self.until.push(near.map(|(_, until)| system_time(*until)));
            }
        }
        self.end.push(self.batch.len() as i32);
    }

    /// All parameters of the statement, in its order.
    fn all(&self) -> [&(dyn ToSql + Sync); 24] {
        [
            &self.scope,
            &self.entities_max,
            &self.must_be_paid,
            &self.device,
            &self.now,
            &self.end,
            &self.label,
            &self.platform,
            &self.app_version,
            &self.pending_count,
            &self.batch_number,
            &self.batch_digest,
            &self.batch,
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
        ]
    }
}
