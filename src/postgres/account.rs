//! The OS account Postgres runs as, and how programs are run as it.

use std::ffi::OsStr;
use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nix::unistd::{Gid, Uid, User};

use super::error::StartError;
use super::folder::Folder;

/// Where `setpriv`, `test` and `find` are. Fixed, so that a stray program in the
/// caller's `PATH` is never run as root.
const SYSTEM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The accounts root runs Postgres as, best first: Debian's own for the purpose,
/// then the one every system has.
const ACCOUNTS_FOR_ROOT: [&str; 2] = ["postgres", "nobody"];

/// How `setpriv` ends when it cannot change user or finds no such program.
const SETPRIV_FAILED: i32 = 127;

/// How it ends when it may not execute the program.
const NOT_EXECUTABLE: i32 = 126;

/// The account Postgres runs as: our own, or for root another.
#[derive(Debug)]
pub(super) struct Account {
    name: String,
    /// Who to become; `None` if we are that account already.
    switch_to: Option<(Uid, Gid)>,
}

impl Account {
    /// Picks the account. The owner of an existing cluster is kept, because
    /// Postgres opens only what belongs to it.
    pub(super) fn choose(folder: &Folder) -> Result<Account, StartError> {
        let owner = folder.cluster_owner()?.map(Uid::from_raw);
        let wrong_owner = |owner: Uid, cure: &str| StartError::WrongOwner {
            cluster_dir: folder.cluster_dir(),
            owner: owner.as_raw(),
            account: own_name(),
            cure: cure.to_owned(),
        };
        if !is_root() {
            let user = look_up(Uid::effective()).ok_or(StartError::UnknownUser {
                uid: Uid::effective().as_raw(),
            })?;
            return match owner.filter(|owner| *owner != user.uid) {
                Some(owner) => Err(wrong_owner(owner, &user.name)),
                None => Ok(Account {
                    name: user.name,
                    switch_to: None,
                }),
            };
        }
        let usual = ACCOUNTS_FOR_ROOT
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten());
        let user = match owner {
            None => usual.ok_or(StartError::NoAccount)?,
            Some(owner) if owner.is_root() => {
                let usual = usual.ok_or(StartError::NoAccount)?;
                return Err(wrong_owner(owner, &usual.name));
            }
            Some(owner) => look_up(owner).ok_or(StartError::UnknownUser {
                uid: owner.as_raw(),
            })?,
        };
        Ok(Account {
            name: user.name,
            switch_to: Some((user.uid, user.gid)),
        })
    }

    /// A program to be run as this account, in a fixed environment, with a
    /// SIGINT if the thread that spawns it ends first.
    ///
    /// That thread, not the process, is what the kernel watches: spawn from one
    /// that lives as long as the program may.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        if let Some((uid, gid)) = self.switch_to {
            command
                .arg(format!("--reuid={uid}"))
                .arg(format!("--regid={gid}"))
                .arg("--clear-groups");
        }
        // setpriv sets the signal last; a change of user would have cleared it.
        command.args(["--pdeathsig", "INT", "--"]).arg(program);
        command
            // PGPORT, PGDATA and their like must not steer the server, and our
            // own secrets are none of its business. TZ spares initdb a search.
            .env_clear()
            .envs([("PATH", SYSTEM_PATH), ("LC_ALL", "C"), ("TZ", "UTC")])
            // The caller's folder may be one the account cannot enter.
            .current_dir("/")
            // A Ctrl-C in a terminal is for the service, which then stops the
            // server at the right moment; it must not reach it directly.
            .process_group(0)
            .stdin(Stdio::null());
        command
    }

    /// Starts a program made by [`Account::command`].
    pub(super) fn spawn(&self, command: &mut Command) -> Result<Child, StartError> {
        command.spawn().map_err(|error| self.can_not_run(error))
    }

    /// Runs a quick program made by [`Account::command`] to its end. That it was
    /// run is certain; what came of it is for the caller to judge.
    pub(super) fn output(&self, command: &mut Command) -> Result<Output, StartError> {
        let output = command.output().map_err(|error| self.can_not_run(error))?;
        if matches!(output.status.code(), Some(SETPRIV_FAILED | NOT_EXECUTABLE)) {
            let reason = String::from_utf8_lossy(&output.stderr);
            return Err(self.can_not_run(reason.trim()));
        }
        Ok(output)
    }

    /// Fails, naming the folder in the way, unless the account can reach `target`.
    pub(super) fn check_reach(&self, target: &Path) -> Result<(), StartError> {
        if self.switch_to.is_none() || self.can_pass(target)? {
            return Ok(());
        }
        let mut from_the_root: Vec<&Path> = target.ancestors().collect();
        from_the_root.reverse();
        for folder in from_the_root {
            if !self.can_pass(folder)? {
                return Err(StartError::Unreachable {
                    account: self.name.clone(),
                    target: target.to_owned(),
                    folder: folder.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Gives a file or folder that we made to the account.
    pub(super) fn give(&self, path: &Path) -> Result<(), StartError> {
        match self.switch_to {
            Some((uid, gid)) => lchown(path, Some(uid.as_raw()), Some(gid.as_raw()))
                .map_err(StartError::io("given to the account of Postgres", path)),
            None => Ok(()),
        }
    }

    /// Asks the kernel, as the account: mode bits alone would miss access lists.
    fn can_pass(&self, path: &Path) -> Result<bool, StartError> {
        let output = self.output(self.command("test").arg("-x").arg(path))?;
        Ok(output.status.success())
    }

    fn can_not_run(&self, reason: impl ToString) -> StartError {
        StartError::Setpriv {
            account: self.name.clone(),
            reason: reason.to_string(),
        }
    }
}

/// Whether we are root.
pub(super) fn is_root() -> bool {
    Uid::effective().is_root()
}

/// The name of the account we run as, for messages.
pub(super) fn own_name() -> String {
    let uid = Uid::effective();
    look_up(uid).map_or_else(|| uid.to_string(), |user| user.name)
}

fn look_up(uid: Uid) -> Option<User> {
    User::from_uid(uid).ok().flatten()
}
