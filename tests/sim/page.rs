//! Pages of the model server: what `read_page.sql` reads, from memory.

use ironflow_sync::grpc::proto;
use uuid::Uuid;

use super::call::Failure;
use super::memory::Row;
use super::plants::Plant;
use super::server::Server;
use crate::domain::cursor::{Binding, Cursor, CursorKey};
use crate::domain::entity::{EntityKey, Stored};
use crate::domain::page::{CursorProblem, Lane, LaneRead, PageEnd, page_end, page_query};
use crate::domain::scope::{Scope, UserId};
use crate::domain::version::Revision;

const KEY: CursorKey = CursorKey([7; 64]);

impl Server {
    pub(super) fn page(
        &mut self,
        request: &proto::PullRequest,
    ) -> Result<proto::PullResponse, Failure> {
        let binding = Binding {
            scope: Scope::of(&UserId::new("mia").expect("a user")),
            types: Vec::new(),
            export: false,
        };
        let invalid = || Failure::Invalid("cursor".to_owned());
        let mut cursor = match request.cursor.as_str() {
            "" => None,
            text => Some(Cursor::decode(text, &binding, &KEY).map_err(|_| invalid())?),
        };
        if let Some(cursor) = &mut cursor
            && self.has(Plant::EpochIgnored)
        {
            cursor.epoch = self.epoch;
            for place in [&mut cursor.user.after, &mut cursor.user.began_at] {
                *place = (*place).min(self.memory.revision);
            }
        }
        let catalog = &self.memory.catalog;
        let schema = catalog.schema(0);
        let query = page_query(cursor.as_ref(), &binding, schema, catalog).map_err(problem)?;
        let mut entities = Vec::new();
        let mut looked_at = 0;
        let mut passed = 0;
        let mut read = Vec::new();
        let room = request.page_size as usize;
        for lane in &query.lanes {
            let rows = self.stretch(lane);
            let head = self.head(lane);
            let mut last = None;
            for (revision, entity) in rows {
                if looked_at > room {
                    break;
                }
                looked_at += 1;
                let shown = self.shows(lane, head, revision, &entity, request);
                if entities.len() >= room && shown {
                    continue;
                }
                last = Some(revision);
                passed += 1;
                if shown {
                    entities.push(entity);
                }
            }
            read.push(LaneRead {
                head,
                entities: self.memory.versions.len() as i64,
                open_conflicts: self.memory.open,
                inbox_revision: Revision::default(),
                last,
            });
        }
        let mut exhausted = passed == looked_at && looked_at <= room;
        if self.has(Plant::MoreForgotten) {
            exhausted = true;
        }
        if self.has(Plant::PageSplit) && !exhausted && entities.len() > 1 {
            entities.pop();
        }
        let end = page_end(
            &query,
            &read,
            exhausted,
            self.epoch,
            schema,
            cursor.as_ref(),
        );
        let PageEnd {
            cursor,
            has_more,
            remaining,
        } = end.map_err(problem)?;
        self.served = self.served.max(cursor.user.after);
        Ok(proto::PullResponse {
            entities,
            cursor: cursor.encode(&binding, &KEY),
            has_more,
            server_time: self.now.0,
            remaining,
            open_conflicts: self.memory.open,
        })
    }

    /// The last revision of a lane's scope.
    fn head(&self, lane: &Lane) -> Revision {
        match lane.scope == Scope::library() {
            true => Revision::new(self.memory.library.len() as i64),
            false => self.memory.revision,
        }
    }

    /// What a lane goes past: entities at the revisions of their newest versions.
    fn stretch(&self, lane: &Lane) -> Vec<(Revision, proto::Entity)> {
        let mut rows: Vec<(Revision, proto::Entity)> = match lane.scope == Scope::library() {
            true => {
                let library = self.memory.library.iter().enumerate();
                library
                    .map(|(i, (key, held))| (Revision::new(i as i64 + 1), shared(key, held)))
                    .collect()
            }
            false => {
                let newest = self.memory.versions.iter();
                newest
                    .filter_map(|(key, rows)| Some((key, rows.last()?)))
                    .map(|(key, row)| (row.new.revision, entity(key, row)))
                    .collect()
            }
        };
        let until = lane.until.unwrap_or_else(|| self.head(lane));
        let after = match self.has(Plant::CursorInclusive) && lane.after.number() > 0 {
            true => Revision::new(lane.after.number() - 1),
            false => lane.after,
        };
        rows.retain(|(revision, _)| *revision > after && *revision <= until);
        rows.sort_by_key(|(revision, _)| *revision);
        rows
    }

    fn shows(
        &self,
        lane: &Lane,
        head: Revision,
        revision: Revision,
        entity: &proto::Entity,
        request: &proto::PullRequest,
    ) -> bool {
        let others = request.include_own
            || entity.device_id != request.device_id
            || lane.scope == Scope::library();
        if revision <= lane.began_at.unwrap_or(head) {
            !entity.deleted && (others || !self.has(Plant::OwnNeverShown))
        } else {
            others && !(entity.deleted && self.has(Plant::TombstonesLost))
        }
    }
}

fn problem(problem: CursorProblem) -> Failure {
    match problem {
        CursorProblem::Reset => Failure::CursorReset,
        CursorProblem::OlderSchema => Failure::Invalid("cursor".to_owned()),
    }
}

fn entity(key: &EntityKey, row: &Row) -> proto::Entity {
    proto::Entity {
        data: super::answers::bytes(row.new.document.as_deref()),
        deleted: row.new.document.is_none(),
        version: row.new.version.number(),
        device_id: row.device.as_str().to_owned(),
        edit_time: row.new.edit_time.0,
        updated_at: row.at.0,
        ..named(key)
    }
}

fn shared(key: &EntityKey, held: &Stored) -> proto::Entity {
    let copy = crate::domain::answer::ServerCopy::of(held);
    proto::Entity {
        data: super::answers::bytes(copy.document.as_deref()),
        version: held.version.number(),
        device_id: held.device.as_str().to_owned(),
        ..named(key)
    }
}

fn named(key: &EntityKey) -> proto::Entity {
    let id: Uuid = key.entity_id;
    proto::Entity {
        entity_type: key.entity_type.as_str().to_owned(),
        entity_id: id.to_string(),
        ..Default::default()
    }
}
