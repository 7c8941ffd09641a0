//! Versions to be, and what may have been recorded twice.

use std::sync::Arc;

use uuid::Uuid;

use super::Draft;
use crate::domain::catalog::DuplicateRule;
use crate::domain::clock::Millis;
use crate::domain::decide::{Merged, Resolution, Written};
use crate::domain::entity::{Content, Document, EntityKey, MutationId, Stored};
use crate::domain::item::{Change, Item};
use crate::domain::json::Json;
use crate::domain::moment::moment;
use crate::domain::plan::{EntityWrite, NewVersion, Reason};
use crate::domain::version::Version;

/// A version to be.
pub(in crate::domain) struct Edit<'a> {
    pub key: &'a EntityKey,
    pub version: Version,
    /// `None` for a tombstone.
    pub document: Option<Arc<Document>>,
    pub edit_time: Millis,
    pub clock_offset_ms: i64,
    /// `None` for a person's decision.
    pub base: Option<Version>,
    pub mutation: MutationId,
    pub resolution: Resolution,
    pub reason: Reason,
}

impl<'a> Draft<'a> {
    /// Writes a version.
    pub(in crate::domain) fn write(&mut self, edit: Edit<'a>) -> Written {
        let device = &self.context.device;
        let before = self.stored(edit.key);
        let foreign_version = match before {
            None => Version::NONE,
            Some(before) if before.device == *device => before.foreign_version,
            Some(before) => before.version,
        };
        let replaces = before.map(|before| before.version);
        let began_at = self
            .duplicate_rule(edit.key)
            .and_then(|rule| began_at(rule, edit.document.as_deref()?));
        self.versions += 1;
        self.created += usize::from(replaces.is_none());
        let new = NewVersion {
            version: edit.version,
            revision: self.snapshot.revision.after(self.versions),
            document: edit.document.clone(),
            foreign_version,
            edit_time: edit.edit_time,
            clock_offset_ms: edit.clock_offset_ms,
            began_at,
            base: edit.base,
            mutation: edit.mutation,
            resolution: edit.resolution,
            reason: edit.reason,
        };
        let write = *self.write_of.entry(edit.key).or_insert_with(|| {
            self.writes.push(EntityWrite {
                key: edit.key.clone(),
                replaces,
                versions: Vec::new(),
            });
            self.writes.len() - 1
        });
        self.writes[write].versions.push(new);
        let written = Written {
            version: edit.version,
            resolution: edit.resolution,
            at: self.context.now,
            merged: match edit.resolution {
                Resolution::Merged => edit.document.clone().map(|document| Merged {
                    document,
                    edit_time: edit.edit_time,
                }),
                Resolution::Applied | Resolution::ClientWon | Resolution::Resurrected => None,
            },
            withheld: false,
        };
        let now = Stored {
            version: edit.version,
            content: edit.document.map_or(Content::Tombstone, Content::Live),
            device: device.clone(),
            device_label: None,
            foreign_version,
            base: edit.base,
            mutation: edit.mutation,
            merged: edit.resolution == Resolution::Merged,
            edit_time: edit.edit_time,
            clock_offset_ms: edit.clock_offset_ms,
            updated_at: self.context.now,
        };
        self.current.insert(edit.key, now);
        self.written
            .insert((edit.key, edit.mutation), written.clone());
        written
    }

    fn duplicate_rule(&self, key: &EntityKey) -> Option<&'a DuplicateRule> {
        let rules = self.context.catalog.rules(&key.entity_type);
        rules.duplicates.as_ref()
    }

    /// Looks for what a new entity may be a duplicate of, and notes it in the inbox.
    pub(super) fn duplicate_of(&mut self, item: &'a Item, version: Version) -> Option<Uuid> {
        let rule = self.duplicate_rule(&item.key)?;
        let Change::Put(document) = &item.change else {
            return None;
        };
        let began = began_at(rule, document)?;
        let recorded = self.recorded.iter();
        let here = recorded
            .filter(|(key, _)| key.entity_type == item.key.entity_type)
            .map(|(key, at)| (key.entity_id, *at));
        let there = self.snapshot.neighbours.get(&item.key);
        let near = there.into_iter().flatten().copied().chain(here);
        let twin = near
            .filter(|(id, at)| {
                *id != item.key.entity_id && (at.0 - began.0).abs() <= rule.tolerance_ms
            })
            .filter(|(id, _)| self.is_live(&item.key, *id))
            .min_by_key(|(id, at)| ((at.0 - began.0).abs(), *id));
        self.recorded.push((&item.key, began));
        let (twin, _) = twin?;
        self.inbox.ask_about_duplicate(item, twin, version);
        Some(twin)
    }

    /// Whether the batch has not deleted an entity of the same type as this one.
    fn is_live(&self, key: &EntityKey, id: Uuid) -> bool {
        let key = EntityKey {
            entity_id: id,
            ..key.clone()
        };
        self.current
            .get(&key)
            .is_none_or(|stored| !stored.content.is_tombstone())
    }
}

/// When what an entity tells of began.
pub(in crate::domain) fn began_at(rule: &DuplicateRule, document: &Document) -> Option<Millis> {
    let Some(Json::Object(fields)) = document.json() else {
        return None;
    };
    rule.time_keys
        .iter()
        .find_map(|key| fields.get(key.as_str()).and_then(moment))
        // Many apps' way to say that there is none.
        .filter(|began_at| *began_at != Millis(0))
}
