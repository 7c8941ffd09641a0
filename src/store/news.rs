//! Whether there may be anything new for devices: of many at once.

use tokio_postgres::Row;
use uuid::Uuid;

use super::Store;
use super::columns::{revision, unexpected};
use super::session::Behalf;
use super::standing::standing;
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::standing::Standing;
use crate::domain::version::Revision;
use crate::error::Fault;

const LOOK_FOR_NEWS: &str = include_str!("sql/look_for_news.sql");

/// Where a device's scopes stand, and how the device does.
#[derive(Debug)]
pub struct News {
    /// The life of the database.
    pub epoch: Uuid,
    /// The last revisions of the library and of the user's scope.
    pub reached: [Revision; 2],
    /// How many of the user's conflicts are open.
    pub open_conflicts: i32,
    /// How the device stands.
    pub standing: Standing,
}

impl Store {
    /// Looks whether there may be anything new for these devices, all of one moment: an answer for each, in this
    /// order.
    pub async fn look_for_news(&self, devices: &[(Scope, DeviceId)]) -> Result<Vec<News>, Fault> {
        let scopes: Vec<&str> = devices.iter().map(|(scope, _)| scope.as_str()).collect();
        let ids: Vec<&str> = devices.iter().map(|(_, device)| device.as_str()).collect();
        let rows = self
            .ask(Behalf::Each, LOOK_FOR_NEWS, &[&scopes, &ids])
            .await?;
        if rows.len() != devices.len() {
            return Err(unexpected("own_revision"));
        }
        rows.iter().map(news).collect()
    }
}

fn news(row: &Row) -> Result<News, Fault> {
    Ok(News {
        epoch: row.try_get("epoch")?,
        reached: [
            revision(row, "library_revision")?,
            revision(row, "own_revision")?,
        ],
        open_conflicts: row.try_get("open_conflicts")?,
        standing: standing(row)?,
    })
}
