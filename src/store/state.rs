//! What the database has one of: the key that signs cursors, and the epoch, which is its life since the last
//! restore.

use uuid::Uuid;

use super::Store;
use super::columns::unexpected;
use super::session::Behalf;
use crate::domain::cursor::CursorKey;
use crate::error::Fault;

const READ_CURSOR_KEY: &str = include_str!("sql/read_cursor_key.sql");
const NEW_EPOCH: &str = include_str!("sql/new_epoch.sql");

impl Store {
    /// The key that signs the cursors of this database.
    pub async fn cursor_key(&self) -> Result<CursorKey, Fault> {
        let row = self.ask_opt(Behalf::Keeper, READ_CURSOR_KEY, &[]).await?;
        let row = row.ok_or_else(|| unexpected("cursor_key"))?;
        let key: &[u8] = row.try_get("cursor_key")?;
        key.try_into()
            .map(CursorKey)
            .map_err(|_| unexpected("cursor_key"))
    }

    /// Begins a new life of the database: every cursor given out before answers CURSOR_RESET.
    pub async fn new_epoch(&self) -> Result<Uuid, Fault> {
        let owner = self.owner().await?;
        let row = owner.query_one(NEW_EPOCH, &[]).await?;
        Ok(row.try_get("epoch")?)
    }
}
