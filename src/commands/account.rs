//! One account: what is paid for, taking it along, deleting it, and deleting it again after a backup was restored.

mod lines;
mod subscription;

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use thiserror::Error as ThisError;
use tokio_util::task::TaskTracker;

use lines::Line;

use super::{CommandError, Database, now, print, user_id};
use crate::config::{AccountCommand, Config};
use crate::domain::clock::Millis;
use crate::domain::scope::{Scope, UserId};
use crate::domain::standing::Subscription;
use crate::domain::version::Revision;
use crate::erasure::{Erasing, STEP_ROWS};
use crate::export::Export;
use crate::feed::Feed;
use crate::store::Store;
use crate::store::erasure::Erasure;
use crate::store::export::Counts;
use crate::store::migrations::migrate;

/// Marks and scopes read in one statement.
const PAGE: i64 = 500;

/// Why a command about an account did nothing, or not all.
#[derive(Debug, ThisError)]
enum AccountError {
    #[error("there is nothing of this user")]
    Nothing,
    #[error("nothing was deleted; add --yes to delete it")]
    Unconfirmed,
    #[error("the account of this user was not deleted, so there is nothing to open again")]
    NotDeleted,
    #[error(
        "{file}: line {line}: expected what account erasures prints: a digest, a time and a revision"
    )]
    Line { file: String, line: usize },
    #[error("{0}: expected a file")]
    File(String, #[source] io::Error),
}

/// Runs a command about an account.
pub(super) async fn run(config: &Config, command: AccountCommand) -> Result<(), Box<dyn Error>> {
    // Looked at before anything starts.
    let wish = subscription::wish(&command)?;
    let database = Database::open(config, "ironflow-sync account").await?;
    let done = done(&database.store, command, wish).await;
    database.close().await;
    done
}

async fn done(
    store: &Store,
    command: AccountCommand,
    wish: Option<Subscription>,
) -> Result<(), Box<dyn Error>> {
    migrate(store).await?;
    match command {
        AccountCommand::Set { user, .. } | AccountCommand::Show { user } => {
            subscription::run(store, &Scope::of(&named(&user)?), wish).await
        }
        AccountCommand::Export { user, out } => export(store, named(&user)?, out.as_deref()).await,
        AccountCommand::Delete { user, yes } => delete(store, &named(&user)?, yes).await,
        AccountCommand::Reopen { user } => reopen(store, &named(&user)?).await,
        AccountCommand::Erasures => erasures(store).await,
        AccountCommand::EraseAgain { file } => erase_again(store, &file).await,
    }
}

fn named(user: &str) -> Result<UserId, CommandError> {
    user_id("--user", user)
}

async fn export(store: &Store, user: UserId, out: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let account = store.count_account(&Scope::of(&user)).await?;
    let mut export = Export::new(store.clone(), user, now());
    // Refused if the account was deleted.
    let mut next = export.record().await?;
    if account.counts.all() == 0 {
        return Err(AccountError::Nothing.into());
    }
    let mut out: Box<dyn Write> = match out {
        None => Box::new(BufWriter::new(io::stdout())),
        Some(path) => {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            let file = options.open(path);
            let file =
                file.map_err(|error| AccountError::File(path.display().to_string(), error))?;
            Box::new(BufWriter::new(file))
        }
    };
    while let Some(record) = next {
        serde_json::to_writer(&mut out, &Line::of(&record)?)?;
        out.write_all(b"\n")?;
        next = export.record().await?;
    }
    Ok(out.flush()?)
}

async fn delete(store: &Store, user: &UserId, yes: bool) -> Result<(), Box<dyn Error>> {
    let scope = Scope::of(user);
    if !yes {
        let account = store.count_account(&scope).await?;
        print(&format!("Would delete {}.\n", sentence(account.counts)));
        return Err(AccountError::Unconfirmed.into());
    }
    let gone = erasing(store).erase(scope, now()).await?;
    print(&format!("Deleted {}.\n", sentence(gone)));
    Ok(())
}

async fn reopen(store: &Store, user: &UserId) -> Result<(), Box<dyn Error>> {
    let scope = Scope::of(user);
    if !store.is_erased(&scope).await? {
        return Err(AccountError::NotDeleted.into());
    }
    // What a crash has left of it must not come back.
    erasing(store).erase(scope.clone(), now()).await?;
    store.reopen(&scope).await?;
    print("The user can come back. Write the list of erasures anew, if you keep one.\n");
    Ok(())
}

async fn erasures(store: &Store) -> Result<(), Box<dyn Error>> {
    let mut after = None;
    loop {
        let page = store.list_erasures(after.as_ref(), PAGE).await?;
        for erasure in &page {
            print(&line(erasure));
        }
        match page.last() {
            Some(last) => after = Some(last.digest),
            None => return Ok(()),
        }
    }
}

async fn erase_again(store: &Store, file: &Path) -> Result<(), Box<dyn Error>> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| AccountError::File(name.clone(), error))?;
    let lines = text.lines().enumerate();
    let marks: Result<Vec<Erasure>, AccountError> = lines
        .map(|(place, line)| {
            parsed(line).ok_or_else(|| AccountError::Line {
                file: name.clone(),
                line: place + 1,
            })
        })
        .collect();
    // From here on the devices of these accounts are refused, before any row goes.
    let missing = store.remember_erasures(&marks?).await?;
    let mut accounts = 0_u64;
    let mut after = None;
    loop {
        let page = store.list_scopes(after.as_ref(), PAGE).await?;
        for (scope, _) in page.iter().filter(|(_, erased)| *erased) {
            while !store.erase_some(scope, STEP_ROWS).await?.finished {}
            accounts += 1;
        }
        let Some((last, _)) = page.into_iter().last() else {
            break;
        };
        after = Some(last);
    }
    print(&format!(
        "{missing} marks were missing, {accounts} accounts were deleted again.\n"
    ));
    Ok(())
}

fn erasing(store: &Store) -> Erasing {
    // Watchers on the instances hear of it by their poll.
    Erasing::new(store.clone(), Feed::new(), TaskTracker::new())
}

fn sentence(counts: Counts) -> String {
    format!(
        "{} entities, {} old versions, {} losing sides, {} conflicts and {} devices",
        counts.entities, counts.old_versions, counts.losing_sides, counts.conflicts, counts.devices
    )
}

/// A mark as a line: the digest of the scope, when it was erased in milliseconds, its last revision.
fn line(erasure: &Erasure) -> String {
    let digest: String = erasure
        .digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let (at, revision) = (erasure.erased_at.0, erasure.revision.number());
    format!("{digest} {at} {revision}\n")
}

fn parsed(line: &str) -> Option<Erasure> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [digest, at, revision] = fields.as_slice() else {
        return None;
    };
    let is_hex = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut bytes = [0; 32];
    for (place, byte) in bytes.iter_mut().enumerate().filter(|_| is_hex) {
        *byte = u8::from_str_radix(digest.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    let revision: i64 = revision.parse().ok().filter(|revision| *revision > 0)?;
    is_hex.then_some(Erasure {
        digest: bytes,
        erased_at: Millis(at.parse().ok()?),
        revision: Revision::new(revision),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_as_it_was_printed_and_nothing_else_is_one() {
        let erasure = Erasure {
            digest: [0xa7; 32],
            erased_at: Millis(1_700_000_000_000),
            revision: Revision::new(12),
        };
        let text = line(&erasure);
        assert_eq!(parsed(&text), Some(erasure));
        for bad in [
            "",
            "a7 1 1",
            &text.replace("a7a7", "g7a7"),
            &text.replace(" 12", ""),
            &text.replace(" 12", " 0"),
            &text.replace(" 12", " 12 x"),
            &text.replace("17000", "x"),
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
