//! The data folder of a demo: made anew each time, and removed at the end unless it is kept.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::DemoError;

/// A folder that goes when this is dropped.
pub(super) struct DemoFolder {
    path: PathBuf,
    is_kept: bool,
}

impl DemoFolder {
    /// Makes one that nobody else has, in `parent`.
    pub(super) fn make(parent: &Path) -> Result<Self, DemoError> {
        let no_folder = |source| DemoError::Folder {
            parent: parent.to_owned(),
            source,
        };
        let made = nix::unistd::mkdtemp(&parent.join("ironflow-demo-XXXXXX"));
        let folder = Self {
            path: made.map_err(|errno| no_folder(errno.into()))?,
            is_kept: false,
        };
        // Root's Postgres runs as another account, which must pass, but not look.
        fs::set_permissions(&folder.path, Permissions::from_mode(0o711)).map_err(no_folder)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it where it is.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for DemoFolder {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(folder = %self.path.display(), %error, "the demo's folder was not removed");
        }
    }
}
