//! Columns of rows as the types of the domain, and times as Postgres takes them.

use std::fmt::Display;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_postgres::Row;
use tokio_postgres::row::RowIndex;

use crate::domain::clock::Millis;
use crate::domain::decide::{Resolution, Rule};
use crate::domain::entity::{EntityKey, EntityType};
use crate::domain::plan::Cause;
use crate::domain::version::{Revision, Version};
use crate::error::Fault;

pub(super) fn version(row: &Row, column: impl RowIndex + Display) -> Result<Version, Fault> {
    let number: i32 = row.try_get(&column)?;
    Version::new(number).ok_or_else(|| unexpected(column))
}

pub(super) fn revision(row: &Row, column: &str) -> Result<Revision, Fault> {
    Ok(Revision::new(row.try_get(column)?))
}

/// A text that parses, as everything the service has written does.
pub(super) fn parsed<T>(
    row: &Row,
    column: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Fault> {
    parse(row.try_get(column)?).ok_or_else(|| unexpected(column))
}

pub(super) fn millis(row: &Row, column: impl RowIndex + Display) -> Result<Millis, Fault> {
    let time: SystemTime = row.try_get(&column)?;
    let since_epoch = time
        .duration_since(UNIX_EPOCH)
        .map_err(|_| unexpected(column))?;
    Ok(Millis(since_epoch.as_millis() as i64))
}

/// A time that may be missing.
pub(super) fn optional_millis(row: &Row, column: &str) -> Result<Option<Millis>, Fault> {
    let time: Option<SystemTime> = row.try_get(column)?;
    time.map(|_| millis(row, column)).transpose()
}

/// What the row's column `ordinal` (1, 2, ..) counts.
pub(super) fn ordinal(row: &Row) -> Result<usize, Fault> {
    let ordinal: i64 = row.try_get("ordinal")?;
    usize::try_from(ordinal - 1).map_err(|_| unexpected("ordinal"))
}

/// The time as Postgres takes it; times before 1970 do not occur.
pub(super) fn system_time(time: Millis) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(time.0.max(0) as u64)
}

pub(super) fn unexpected(column: impl Display) -> Fault {
    Fault::Defect(format!("unexpected value in column {column}"), None)
}

/// The entity a row is about.
pub(super) fn entity_key(row: &Row) -> Result<EntityKey, Fault> {
    Ok(EntityKey {
        entity_type: parsed(row, "entity_type", EntityType::new)?,
        entity_id: row.try_get("entity_id")?,
    })
}

/// The rule that decided; `None`: there was none, or it was not kept yet.
pub(super) fn rule(row: &Row) -> Result<Option<Rule>, Fault> {
    let number: Option<i16> = row.try_get("rule")?;
    Ok(number.and_then(Rule::of_number))
}

pub(super) fn resolution(name: &str) -> Option<Resolution> {
    Resolution::ALL
        .into_iter()
        .find(|resolution| resolution.name() == name)
}

pub(super) fn cause(name: &str) -> Option<Cause> {
    Cause::ALL.into_iter().find(|cause| cause.name() == name)
}
