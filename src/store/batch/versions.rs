//! Writing versions: what is new, what replaces, and what is superseded.

use std::time::SystemTime;

use futures_util::future::try_join4;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::columns::system_time;
use super::{Author, Batch};
use crate::domain::decide::Rule;
use crate::domain::plan::{EntityWrite, NewVersion};
use crate::domain::version::Version;
use crate::error::Fault;

pub(super) const KEEP_SUPERSEDED: &str = include_str!("../sql/keep_superseded.sql");
pub(super) const INSERT_VERSIONS: &str = include_str!("../sql/insert_versions.sql");
pub(super) const INSERT_ENTITIES: &str = include_str!("../sql/insert_entities.sql");
pub(super) const UPDATE_ENTITIES: &str = include_str!("../sql/update_entities.sql");

impl Batch<'_> {
    pub(super) async fn write_versions(
        &self,
        writes: &[EntityWrite],
        author: &Author<'_>,
    ) -> Result<(), Fault> {
        let mut inserted = Columns::default();
        let mut updated = Columns::default();
        let mut passed = Columns::default();
        for write in writes {
            let Some((current, before)) = write.versions.split_last() else {
                return Err(Fault::Defect("a write without a version".into(), None));
            };
            for version in before {
                passed.push(write, version);
            }
            match write.replaces {
                Some(_) => updated.push(write, current),
                None => inserted.push(write, current),
            }
        }
        let author: [&(dyn ToSql + Sync); 3] = [
            &self.scope.as_str(),
            &author.device.as_str(),
            &system_time(author.now),
        ];
        let replaced: [&(dyn ToSql + Sync); 4] = [
            &self.scope.as_str(),
            &updated.entity_type,
            &updated.entity_id,
            &updated.replaces,
        ];
        let [update, insert, pass] = [
            [&author[..], &updated.all()].concat(),
            [&author[..], &inserted.all()[..15]].concat(),
            [&author[..], &passed.all()[..11]].concat(),
        ];
        try_join4(
            self.run(KEEP_SUPERSEDED, &replaced, updated.len()),
            self.run(UPDATE_ENTITIES, &update, updated.len()),
            self.run(INSERT_ENTITIES, &insert, inserted.len()),
            self.run(INSERT_VERSIONS, &pass, passed.len()),
        )
        .await?;
        Ok(())
    }
}

/// Versions as columns, the way `unnest` takes them.
#[derive(Default)]
struct Columns<'a> {
    entity_type: Vec<&'a str>,
    entity_id: Vec<Uuid>,
    version: Vec<i32>,
    revision: Vec<i64>,
    data: Vec<Option<&'a str>>,
    resolution: Vec<&'static str>,
    mutation_id: Vec<Uuid>,
    edit_time: Vec<SystemTime>,
    cause: Vec<&'static str>,
    rule: Vec<Option<i16>>,
    policy: Vec<Option<&'static str>>,
    foreign_version: Vec<i32>,
    clock_offset_ms: Vec<i64>,
    began_at: Vec<Option<SystemTime>>,
    base_version: Vec<Option<i32>>,
    replaces: Vec<i32>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, write: &'a EntityWrite, new: &'a NewVersion) {
        self.entity_type.push(write.key.entity_type.as_str());
        self.entity_id.push(write.key.entity_id);
        self.version.push(new.version.number());
        self.revision.push(new.revision.number());
        self.data.push(new.document.as_ref().map(|d| d.text()));
        self.resolution.push(new.resolution.name());
        self.mutation_id.push(new.mutation.0);
        self.edit_time.push(system_time(new.edit_time));
        self.cause.push(new.reason.cause.name());
        self.rule.push(new.reason.rule.map(Rule::number));
        self.policy.push(new.reason.policy);
        self.foreign_version.push(new.foreign_version.number());
        self.clock_offset_ms.push(new.clock_offset_ms);
        self.began_at.push(new.began_at.map(system_time));
        self.base_version.push(new.base.map(Version::number));
        self.replaces
            .push(write.replaces.unwrap_or_default().number());
    }

    fn len(&self) -> usize {
        self.version.len()
    }

    /// All columns in the order the statements take them; each takes a prefix.
    fn all(&self) -> [&(dyn ToSql + Sync); 16] {
        [
            &self.entity_type,
            &self.entity_id,
            &self.version,
            &self.revision,
            &self.data,
            &self.resolution,
            &self.mutation_id,
            &self.edit_time,
            &self.cause,
            &self.rule,
            &self.policy,
            &self.foreign_version,
            &self.clock_offset_ms,
            &self.began_at,
            &self.base_version,
            &self.replaces,
        ]
    }
}
