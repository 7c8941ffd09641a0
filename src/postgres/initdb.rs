//! Making a new cluster, wholly or not at all.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use super::account::Account;
use super::error::StartError;
use super::folder::{Folder, make_private_folder, remove_folder};
use super::server::SUPERUSER;

/// `initdb` takes half a second here and writes 40 MB; a slow network disk may
/// need a hundred times as long.
const INITDB_TIMEOUT: Duration = Duration::from_secs(120);

/// How often a running `initdb` is looked at.
const INITDB_POLL: Duration = Duration::from_millis(10);

/// Makes the cluster of a folder that has none. The caller holds its lock.
pub(super) fn run(
    folder: &Folder,
    account: &Account,
    bin_dir: &Path,
    durable: bool,
) -> Result<(), StartError> {
    let unfinished = folder.unfinished_cluster_dir();
    // Left by an initdb that was killed. Ours, since the lock is.
    remove_folder(&unfinished)?;
    make_private_folder(&unfinished, account)?;

    let log = folder.log();
    let entry = log.open()?;
    let program = bin_dir.join("initdb");
    let mut command = account.command(&program);
    command
        .arg("-D")
        .arg(&unfinished)
        .args(["-U", SUPERUSER, "-A", "trust"]) // module promise 1
        .args(["--locale=C.UTF-8", "--encoding=UTF8"])
        .stdout(clone_of(&entry.file, log.path())?)
        .stderr(entry.file);
    if !durable {
        command.arg("--no-sync");
    }
    let child = account.spawn(&mut command)?;
    let outcome = wait(child).map_err(StartError::io("waited for", &program))?;
    if !outcome.is_some_and(|status| status.success()) {
        return Err(StartError::Initdb {
            cluster_dir: folder.cluster_dir(),
            outcome: outcome.map_or_else(
                || format!("stopped after {} s", INITDB_TIMEOUT.as_secs()),
                |status| status.to_string(),
            ),
            output: log.tail(entry.begin),
        });
    }
    // From here on the cluster is there, also after a power cut: initdb has
    // synced its files, and the new name is synced now.
    fs::rename(&unfinished, folder.cluster_dir())
        .and_then(|()| File::open(folder.root())?.sync_all())
        .map_err(StartError::io("named", &folder.cluster_dir()))
}

fn clone_of(file: &File, path: &Path) -> Result<File, StartError> {
    file.try_clone().map_err(StartError::io("opened", path))
}

/// Waits for the end of `initdb`; `None` if it had to be killed.
fn wait(mut child: Child) -> std::io::Result<Option<ExitStatus>> {
    let begin = Instant::now();
    while begin.elapsed() < INITDB_TIMEOUT {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(INITDB_POLL);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}
