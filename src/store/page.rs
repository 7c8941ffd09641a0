//! One page of changes, in one statement.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Store;
use super::columns::{entity_key, millis, ordinal, parsed, revision, unexpected, version};
use super::standing::{READ_STANDING, standing};
use crate::domain::clock::Millis;
use crate::domain::entity::{Document, EntityKey};
use crate::domain::page::{LaneRead, PageQuery};
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::standing::Standing;
use crate::domain::version::{Revision, Version};
use crate::error::Fault;

const READ_PAGE: &str = include_str!("sql/read_page.sql");

/// How much a page may hold, and cost.
#[derive(Debug, Clone, Copy)]
pub struct PageLimits {
    /// Rows to look at.
    pub rows: i64,
    /// Entities to show.
    pub entities: i64,
    /// Bytes of data to show.
    pub bytes: i64,
}

/// What a page showed, and how far it got.
#[derive(Debug)]
pub struct PageRead {
    /// The life of the database.
    pub epoch: Uuid,
    /// Beside the lanes of the query.
    pub lanes: Vec<LaneRead>,
    /// Whether everything there was has been looked at.
    pub exhausted: bool,
    /// What to show, in order.
    pub entities: Vec<Entity>,
    /// How the reader stands, by now.
    pub standing: Standing,
}

/// Who reads a page.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// Their user's scope.
    pub scope: &'a Scope,
    /// Their device.
    pub device: &'a DeviceId,
    /// Whether what the device wrote itself is shown.
    pub include_own: bool,
}

/// An entity at its newest version.
#[derive(Debug)]
pub struct Entity {
    /// Which one.
    pub key: EntityKey,
    /// Its data; `None` for a tombstone.
    pub document: Option<Document>,
    /// Its version.
    pub version: Version,
    /// Who wrote this version.
    pub device: DeviceId,
    /// When the edit was made.
    pub edit_time: Millis,
    /// When the server first wrote the entity.
    pub created_at: Millis,
    /// When the server wrote this version.
    pub updated_at: Millis,
}

impl Store {
    /// Reads one page, and how its reader stands.
    pub async fn read_page(
        &self,
        query: &PageQuery,
        reader: Reader<'_>,
        limits: PageLimits,
    ) -> Result<PageRead, Fault> {
        let (scope, device) = (reader.scope.as_str(), reader.device.as_str());
        let leave_out = (!reader.include_own).then_some(device);
        let lanes = &query.lanes;
        let number = |revision: Option<Revision>| revision.map(Revision::number);
        let parameters: [&(dyn ToSql + Sync); 12] = [
            &lanes
                .iter()
                .map(|lane| lane.scope.as_str())
                .collect::<Vec<_>>(),
            &lanes
                .iter()
                .map(|lane| lane.after.number())
                .collect::<Vec<_>>(),
            &lanes
                .iter()
                .map(|lane| number(lane.until))
                .collect::<Vec<_>>(),
            &lanes
                .iter()
                .map(|lane| number(lane.began_at))
                .collect::<Vec<_>>(),
            &lanes.iter().map(|lane| lane.new_types).collect::<Vec<_>>(),
            &leave_out,
            &query.types.only,
            &query.types.except,
            &query.new_types,
            &limits.rows,
            &limits.entities,
            &limits.bytes,
        ];
        let who: [&(dyn ToSql + Sync); 2] = [&scope, &device];
        // The page first: whoever has read past a revocation sees it. The other way round one in between
        // would be passed over, and its stream go on.
        let page = (READ_PAGE, parameters.as_slice());
        let stands = (READ_STANDING, who.as_slice());
        let session = self.session().await?;
        let read = session.ask_along(reader.scope, page, told, stands);
        let (told, who) = read.await?;
        let who = who.first().ok_or_else(|| unexpected("revoked_at"))?;
        page_read(told, lanes.len(), standing(who)?)
    }
}

/// What a row tells of.
enum Told {
    /// An entity and its place in the page: which lane, and where in it.
    Entity((usize, Option<i64>), Entity),
    /// A lane.
    Lane(LaneTold),
}

/// What the row of a lane tells, of all lanes too.
struct LaneTold {
    ordinal: usize,
    epoch: Uuid,
    ended: bool,
    read: LaneRead,
}

fn told(row: Row) -> Result<Told, Fault> {
    let row = &row;
    let ordinal = ordinal(row)?;
    let last: Option<i64> = row.try_get("revision")?;
    let id: Option<Uuid> = row.try_get("entity_id")?;
    if id.is_some() {
        return Ok(Told::Entity((ordinal, last), entity(row)?));
    }
    Ok(Told::Lane(LaneTold {
        ordinal,
        epoch: row.try_get("epoch")?,
        ended: row.try_get("ended")?,
        read: LaneRead {
            head: revision(row, "head")?,
            entities: row.try_get("entities")?,
            open_conflicts: row.try_get("open_conflicts")?,
            inbox_revision: revision(row, "inbox_revision")?,
            last: last.map(Revision::new),
        },
    }))
}

fn page_read(told: Vec<Told>, lanes: usize, standing: Standing) -> Result<PageRead, Fault> {
    let mut epoch = None;
    let mut read = vec![None; lanes];
    let mut entities = Vec::with_capacity(told.len());
    let mut exhausted = true;
    for told in told {
        match told {
            Told::Entity(place, entity) => entities.push((place, entity)),
            Told::Lane(lane) => {
                epoch = Some(lane.epoch);
                exhausted &= lane.ended;
                let place = read.get_mut(lane.ordinal);
                *place.ok_or_else(|| unexpected("ordinal"))? = Some(lane.read);
            }
        }
    }
    entities.sort_by_key(|(place, _)| *place);
    let lanes: Option<Vec<LaneRead>> = read.into_iter().collect();
    Ok(PageRead {
        epoch: epoch.ok_or_else(|| unexpected("epoch"))?,
        lanes: lanes.ok_or_else(|| unexpected("ordinal"))?,
        exhausted,
        entities: entities.into_iter().map(|(_, entity)| entity).collect(),
        standing,
    })
}

fn entity(row: &Row) -> Result<Entity, Fault> {
    let data: Option<String> = row.try_get("data")?;
    Ok(Entity {
        key: entity_key(row)?,
        document: data.map(Document::from_store),
        version: version(row, "version")?,
        device: parsed(row, "device_id", DeviceId::new)?,
        edit_time: millis(row, "edit_time")?,
        created_at: millis(row, "created_at")?,
        updated_at: millis(row, "updated_at")?,
    })
}
