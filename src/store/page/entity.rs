//! Entities of a page, left in the rows they were read as: what is shown of them is copied once, into the message.

use std::error::Error;

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};
use uuid::Uuid;

use crate::domain::clock::Millis;
use crate::domain::json::{may_hold_overlong_number, shorten_numbers};
use crate::domain::version::Version;
use crate::error::Fault;
use crate::store::columns::{millis, version};

// Where the columns of `read_page.sql` stand: finding them by their names takes longer than reading them.
pub(super) const REVISION: usize = 1;
const ENTITY_TYPE: usize = 2;
pub(super) const ENTITY_ID: usize = 3;
const VERSION: usize = 4;
const DATA: usize = 5;
const DEVICE_ID: usize = 6;
const EDIT_TIME: usize = 7;
const CREATED_AT: usize = 8;
const UPDATED_AT: usize = 9;

/// An entity at its newest version. Texts are UTF-8.
#[derive(Debug, Clone, Copy)]
pub struct Entity<'a> {
    /// Its type.
    pub entity_type: &'a [u8],
    /// Its id.
    pub entity_id: Uuid,
    /// Its data, JSON; `None` for a tombstone.
    pub data: Option<&'a [u8]>,
    /// Its version.
    pub version: Version,
    /// Who wrote this version.
    pub device: &'a [u8],
    /// When the edit was made.
    pub edit_time: Millis,
    /// When the server first wrote the entity.
    pub created_at: Millis,
    /// When the server wrote this version.
    pub updated_at: Millis,
}

/// The row of an entity, whose columns have all been looked at.
#[derive(Debug)]
pub struct EntityRow {
    row: Row,
    entity_id: Uuid,
    version: Version,
    edit_time: Millis,
    created_at: Millis,
    updated_at: Millis,
    /// The data, where it is not shown as it was read.
    shortened: Option<Box<str>>,
}

impl EntityRow {
    pub(super) fn new(row: Row) -> Result<Self, Fault> {
        row.try_get::<_, Text<'_>>(ENTITY_TYPE)?;
        row.try_get::<_, Text<'_>>(DEVICE_ID)?;
        let data: Option<Text<'_>> = row.try_get(DATA)?;
        let shortened = match data.is_some_and(|data| may_hold_overlong_number(data.0)) {
            true => Some(shorten_numbers(row.try_get(DATA)?).into_boxed_str()),
            false => None,
        };
        Ok(Self {
            entity_id: row.try_get(ENTITY_ID)?,
            version: version(&row, VERSION)?,
            edit_time: millis(&row, EDIT_TIME)?,
            created_at: millis(&row, CREATED_AT)?,
            updated_at: millis(&row, UPDATED_AT)?,
            shortened,
            row,
        })
    }

    /// The entity.
    pub fn entity(&self) -> Entity<'_> {
        let shortened = self.shortened.as_ref().map(|data| data.as_bytes());
        Entity {
            entity_type: self.text(ENTITY_TYPE).unwrap_or_default(),
            entity_id: self.entity_id,
            data: shortened.or_else(|| self.text(DATA)),
            version: self.version,
            device: self.text(DEVICE_ID).unwrap_or_default(),
            edit_time: self.edit_time,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    fn text(&self, column: usize) -> Option<&[u8]> {
        let text = self.row.try_get::<_, Option<Text<'_>>>(column);
        text.ok().flatten().map(|text| text.0)
    }
}

/// A text as it came: UTF-8, as the service writes nothing else.
struct Text<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Text<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(of: &Type) -> bool {
        <&str as FromSql<'_>>::accepts(of)
    }
}

#[cfg(test)]
mod tests {
    use super::super::READ_PAGE;
    use super::*;

    #[test]
    fn columns_stand_where_they_are_looked_for() {
        let columns = READ_PAGE.lines().filter_map(|line| {
            let line = line.strip_prefix("    ")?.trim_end_matches(',');
            line.strip_prefix("lane.").or(line.strip_prefix("entity."))
        });
        let columns: Vec<&str> = columns.take(10).collect();
        let places = [
            (REVISION, "revision"),
            (ENTITY_TYPE, "entity_type"),
            (ENTITY_ID, "entity_id"),
            (VERSION, "version"),
            (DATA, "data"),
            (DEVICE_ID, "device_id"),
            (EDIT_TIME, "edit_time"),
            (CREATED_AT, "created_at"),
            (UPDATED_AT, "updated_at"),
        ];
        for (place, name) in places {
            assert_eq!(columns[place], name);
        }
    }
}
