//! One page of changes, in one statement.

mod entity;

use entity::{ENTITY_ID, REVISION};
pub use entity::{Entity, EntityRow};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Store;
use super::columns::{ordinal, revision, unexpected};
use super::standing::{READ_STANDING, standing};
use crate::domain::page::{LaneRead, PageQuery};
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::standing::Standing;
use crate::domain::version::Revision;
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
    pub entities: Vec<EntityRow>,
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
        let mut told = Told::default();
        let read = session.ask_along(reader.scope, page, |row| told.take(row), stands);
        let who = read.await?;
        let who = who.first().ok_or_else(|| unexpected("revoked_at"))?;
        told.page(lanes.len(), standing(who)?)
    }
}

/// What the rows of a page tell.
#[derive(Default)]
struct Told {
    /// Entities and their places in the page: which lane, and where in it.
    entities: Vec<((usize, Option<i64>), EntityRow)>,
    lanes: Vec<LaneTold>,
}

/// What the row of a lane tells, of all lanes too.
struct LaneTold {
    ordinal: usize,
    epoch: Uuid,
    ended: bool,
    read: LaneRead,
}

impl Told {
    fn take(&mut self, row: Row) -> Result<(), Fault> {
        let ordinal = ordinal(&row)?;
        let last: Option<i64> = row.try_get(REVISION)?;
        let id: Option<Uuid> = row.try_get(ENTITY_ID)?;
        if id.is_some() {
            let place = (ordinal, last);
            self.entities.push((place, EntityRow::new(row)?));
            return Ok(());
        }
        let row = &row;
        self.lanes.push(LaneTold {
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
        });
        Ok(())
    }

    fn page(mut self, lanes: usize, standing: Standing) -> Result<PageRead, Fault> {
        let epoch = self.lanes.first().map(|lane| lane.epoch);
        let exhausted = self.lanes.iter().all(|lane| lane.ended);
        let mut read = vec![None; lanes];
        for lane in self.lanes {
            let place = read.get_mut(lane.ordinal);
            *place.ok_or_else(|| unexpected("ordinal"))? = Some(lane.read);
        }
        let lanes: Option<Vec<LaneRead>> = read.into_iter().collect();
        self.entities.sort_unstable_by_key(|(place, _)| *place);
        let entities = self.entities.into_iter();
        Ok(PageRead {
            epoch: epoch.ok_or_else(|| unexpected("epoch"))?,
            lanes: lanes.ok_or_else(|| unexpected("ordinal"))?,
            exhausted,
            entities: entities.map(|(_, entity)| entity).collect(),
            standing,
        })
    }
}
