//! The data folder: its layout, its lock, and the folder of the socket.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{self, Path, PathBuf};

use nix::fcntl::OFlag;

use super::account::{self, Account};
use super::error::StartError;
use super::log::Log;

/// The longest path of a unix socket that Linux takes: `sun_path` has 108 bytes,
/// one of them for the terminating zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What Postgres calls its socket; the number is the port it does not have.
const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// Where a socket goes whose path below the data folder would be too long. Not
/// `TMPDIR`, which may be long itself.
const SHORT_FOLDER: &str = "/tmp";

/// More than any lock text of ours; a bound on reading a file others could write.
const LOCK_TEXT_BYTES_MAX: u64 = 512;

/// A data folder that exists. Its path is absolute and has no links in it.
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Opens the data folder, making it if it is missing.
    pub(super) fn open(data_dir: &Path) -> Result<Folder, StartError> {
        let wanted = path::absolute(data_dir).map_err(StartError::io("found", data_dir))?;
        let root = make_data_dir(&wanted)
            .and_then(|()| wanted.canonicalize())
            .map_err(|source| refusal(&wanted, source, "made"))?;
        Ok(Folder { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn cluster_dir(&self) -> PathBuf {
        self.root.join("pg")
    }

    /// Where `initdb` works until the cluster is whole.
    pub(super) fn unfinished_cluster_dir(&self) -> PathBuf {
        self.root.join("pg.new")
    }

    pub(super) fn log(&self) -> Log {
        Log::new(self.root.join("postgres.log"))
    }

    /// The user the cluster belongs to; `None` if there is no cluster yet.
    pub(super) fn cluster_owner(&self) -> Result<Option<u32>, StartError> {
        let cluster_dir = self.cluster_dir();
        match fs::symlink_metadata(&cluster_dir) {
            Ok(metadata) => Ok(Some(metadata.uid())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StartError::io("looked at", &cluster_dir)(error)),
        }
    }

    /// The major version that made the cluster; `None` if there is no cluster yet.
    pub(super) fn cluster_major(&self) -> Result<Option<u32>, StartError> {
        if self.cluster_owner()?.is_none() {
            return Ok(None);
        }
        let cluster_dir = self.cluster_dir();
        let version = fs::read_to_string(cluster_dir.join("PG_VERSION")).unwrap_or_default();
        match version.trim().parse() {
            Ok(major) => Ok(Some(major)),
            Err(_) => Err(StartError::NotACluster { cluster_dir }),
        }
    }

    /// Takes the folder for this service, until the lock is dropped or the
    /// process is gone, however it goes.
    pub(super) fn lock(&self, holder: &str) -> Result<FolderLock, StartError> {
        let path = self.root.join("service.lock");
        let mut file = open_options()
            .read(true)
            .write(true)
            .mode(0o644) // a second service may be another user, and reads who holds it
            .open(&path)
            .map_err(|source| refusal(&self.root, source, "locked"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StartError::InUse {
                    data_dir: self.root.clone(),
                    holder: read_holder(&file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(StartError::io("locked", &path)(error)),
        }
        let text = format!("{holder}, pid {}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(StartError::io("written", &path))?;
        Ok(FolderLock { _file: file })
    }
}

/// The data folder is ours while this lives. The text in the file stays behind
/// and means nothing once the lock is gone.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

/// The folder of the server's socket: private, and removed when dropped.
#[derive(Debug)]
pub(super) struct SocketFolder {
    path: PathBuf,
}

impl SocketFolder {
    /// Makes it afresh, so that it belongs to the account Postgres runs as now.
    /// The caller holds the lock of the folder.
    pub(super) fn create(folder: &Folder, account: &Account) -> Result<SocketFolder, StartError> {
        let below = folder.root.join("run");
        let path = if socket_fits(&below) {
            remove_folder(&below)?;
            make_private_folder(&below, account)?;
            below
        } else {
            let pattern = Path::new(SHORT_FOLDER).join("ironflow-XXXXXX");
            let path = nix::unistd::mkdtemp(&pattern)
                .map_err(|errno| StartError::io("made", &pattern)(errno.into()))?;
            account.give(&path)?;
            path
        };
        Ok(SocketFolder { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(folder = %self.path.display(), %error, "socket folder not removed");
        }
    }
}

/// The lock file Postgres puts beside its socket.
pub(super) fn socket_lock(socket_dir: &Path) -> PathBuf {
    socket_dir.join(format!("{SOCKET_NAME}.lock"))
}

/// Whether Postgres can put its socket there. It reads the setting as a list, so
/// a comma or a quote would cut the path in two.
fn socket_fits(socket_dir: &Path) -> bool {
    let bytes = socket_dir.as_os_str().as_bytes();
    bytes.len() + 1 + SOCKET_NAME.len() <= SOCKET_PATH_BYTES_MAX
        && !bytes.iter().any(|byte| matches!(byte, b',' | b'"'))
}

/// Makes an empty folder of mode 0700 that belongs to the account of Postgres.
pub(super) fn make_private_folder(path: &Path, account: &Account) -> Result<(), StartError> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(StartError::io("made", path))?;
    account.give(path)
}

/// Removes a folder of ours with all that is in it, if it is there.
pub(super) fn remove_folder(path: &Path) -> Result<(), StartError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StartError::io("removed", path)(error))
        }
        _ => Ok(()),
    }
}

/// How our own files in the data folder are opened. No following of links: the
/// folder may belong to the account of Postgres, which must not lead root astray.
pub(super) fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .mode(0o600);
    options
}

/// Makes the data folder and its parents; leaves one that exists as it is.
fn make_data_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    // Root's Postgres runs as another account, which must pass, but not look.
    let mode = if account::is_root() { 0o711 } else { 0o700 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Tells a data folder we may not write in from other failures.
fn refusal(data_dir: &Path, source: io::Error, step: &'static str) -> StartError {
    if matches!(
        source.kind(),
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory
    ) {
        let in_the_way = |path: &&Path| path.try_exists().unwrap_or(false) && !path.is_dir();
        return StartError::NotAFolder {
            data_dir: data_dir.to_owned(),
            file: data_dir
                .ancestors()
                .find(in_the_way)
                .unwrap_or(data_dir)
                .to_owned(),
        };
    }
    if !matches!(
        source.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    ) {
        return StartError::io(step, data_dir)(source);
    }
    // The lowest folder we can see is the one that refused to show or make the next.
    let folder = data_dir
        .ancestors()
        .find(|folder| folder.try_exists().unwrap_or(false))
        .unwrap_or(data_dir);
    StartError::NotWritable {
        data_dir: data_dir.to_owned(),
        folder: folder.to_owned(),
        account: account::own_name(),
        error: source,
    }
}

fn read_holder(file: &File) -> String {
    let mut text = String::new();
    // Unreadable or not yet written: we know that it is held, and not by whom.
    let read = file.take(LOCK_TEXT_BYTES_MAX).read_to_string(&mut text);
    match text.lines().next() {
        Some(line) if read.is_ok() => line.to_owned(),
        _ => "another service".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_may_have_107_bytes_and_no_separator() {
        let of_length = |bytes: usize| PathBuf::from(format!("/{}", "x".repeat(bytes - 1)));
        let room = SOCKET_PATH_BYTES_MAX - "/.s.PGSQL.5432".len();
        assert!(socket_fits(&of_length(room)));
        assert!(!socket_fits(&of_length(room + 1)));
        assert!(socket_fits(Path::new("/with space/run")));
        assert!(!socket_fits(Path::new("/a,b/run")));
        assert!(!socket_fits(Path::new("/a\"b/run")));
    }
}
