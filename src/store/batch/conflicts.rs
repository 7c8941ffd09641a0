//! Writing the conflict inbox: conflicts at their new state, and the sides that lost.

use std::time::SystemTime;

use futures_util::future::try_join;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::columns::system_time;
use super::{Author, Batch};
use crate::domain::conflict::{Conflict, InboxWrites, LosingSide};
use crate::domain::decide::Rule;
use crate::error::Fault;

pub(super) const KEEP_SIDES: &str = include_str!("../sql/keep_sides.sql");
pub(super) const WRITE_CONFLICTS: &str = include_str!("../sql/write_conflicts.sql");

impl Batch<'_> {
    pub(super) async fn write_inbox(
        &self,
        inbox: &InboxWrites,
        author: &Author<'_>,
    ) -> Result<(), Fault> {
        let all: Vec<&Conflict> = inbox
            .conflicts
            .iter()
            .map(|(_, conflict)| conflict)
            .collect();
        let revisions: Vec<i64> = inbox.conflicts.iter().map(|(at, _)| at.number()).collect();
        let ids: Vec<Uuid> = all.iter().map(|c| c.id.0).collect();
        let kinds: Vec<&str> = all.iter().map(|c| c.kind.name()).collect();
        let types: Vec<&str> = all.iter().map(|c| c.key.entity_type.as_str()).collect();
        let entities: Vec<Uuid> = all.iter().map(|c| c.key.entity_id).collect();
        let others: Vec<Option<Uuid>> = all.iter().map(|c| c.kind.older_id()).collect();
        let devices: Vec<&str> = all.iter().map(|c| c.device.as_str()).collect();
        let mutations: Vec<Uuid> = all.iter().map(|c| c.mutation.0).collect();
        let bases: Vec<i32> = all.iter().map(|c| c.base.number()).collect();
        let versions: Vec<i32> = all.iter().map(|c| c.server_version.number()).collect();
        let rules: Vec<Option<i16>> = all.iter().map(|c| c.rule.map(Rule::number)).collect();
        let policies: Vec<Option<&str>> = all.iter().map(|c| c.policy.as_deref()).collect();
        let asked: Vec<bool> = all.iter().map(|c| c.asked).collect();
        let opened: Vec<SystemTime> = all.iter().map(|c| system_time(c.opened_at)).collect();
        let ends: Vec<_> = all.iter().map(|c| c.settled.as_ref()).collect();
        let how: Vec<Option<&str>> = ends
            .iter()
            .map(|e| e.map(|e| e.settlement.name()))
            .collect();
        let by: Vec<Option<&str>> = ends.iter().map(|e| e.map(|e| e.by.as_str())).collect();
        let at: Vec<Option<SystemTime>> =
            ends.iter().map(|e| e.map(|e| system_time(e.at))).collect();
        let settled: Vec<Option<i32>> =
            ends.iter().map(|e| e.map(|e| e.version.number())).collect();
        let parameters: [&(dyn ToSql + Sync); 19] = [
            &self.scope.as_str(),
            &ids,
            &kinds,
            &types,
            &entities,
            &others,
            &devices,
            &mutations,
            &bases,
            &versions,
            &rules,
            &policies,
            &asked,
            &revisions,
            &opened,
            &how,
            &by,
            &at,
            &settled,
        ];
        try_join(
            self.keep_sides(&inbox.sides, author),
            self.run(WRITE_CONFLICTS, &parameters, all.len()),
        )
        .await?;
        Ok(())
    }

    async fn keep_sides(&self, sides: &[LosingSide], author: &Author<'_>) -> Result<(), Fault> {
        let types: Vec<&str> = sides.iter().map(|s| s.key.entity_type.as_str()).collect();
        let entities: Vec<Uuid> = sides.iter().map(|s| s.key.entity_id).collect();
        let mutations: Vec<Uuid> = sides.iter().map(|s| s.mutation.0).collect();
        let conflicts: Vec<Uuid> = sides.iter().map(|s| s.conflict.0).collect();
        let bases: Vec<i32> = sides.iter().map(|s| s.base.number()).collect();
        let versions: Vec<i32> = sides.iter().map(|s| s.server_version.number()).collect();
        let data: Vec<Option<&str>> = sides
            .iter()
            .map(|s| s.document.as_ref().map(|document| document.text()))
            .collect();
        let contents: Vec<Uuid> = sides.iter().map(|s| s.content.0).collect();
        let times: Vec<SystemTime> = sides.iter().map(|s| system_time(s.edit_time)).collect();
        let parameters: [&(dyn ToSql + Sync); 12] = [
            &self.scope.as_str(),
            &author.device.as_str(),
            &system_time(author.now),
            &types,
            &entities,
            &mutations,
            &conflicts,
            &bases,
            &versions,
            &data,
            &contents,
            &times,
        ];
        self.run(KEEP_SIDES, &parameters, sides.len()).await
    }
}
