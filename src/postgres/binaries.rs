//! Finding the Postgres binaries of this machine.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ClusterConfig;
use super::error::StartError;

/// Debian keeps the server binaries below this, one folder per major, off `PATH`.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

/// Finds the folder that holds `postgres` and `initdb`.
///
/// `wanted` is the major that made the cluster; only that one will do. Looked
/// for in the setting, below Debian's root, in `PATH`, and where `pg_config`
/// points, in that order.
pub(super) fn find(
    config: &ClusterConfig,
    cluster_dir: PathBuf,
    wanted: Option<u32>,
) -> Result<PathBuf, StartError> {
    if let Some(bin_dir) = &config.bin_dir {
        return check_setting(bin_dir, wanted, cluster_dir);
    }
    match (
        search(Path::new(DEBIAN_ROOT), &config.search_path, wanted)?,
        wanted,
    ) {
        (Some(bin_dir), _) => Ok(bin_dir),
        (None, Some(major)) => Err(StartError::MissingMajor { cluster_dir, major }),
        (None, None) => Err(StartError::NoServer),
    }
}

fn check_setting(
    bin_dir: &Path,
    wanted: Option<u32>,
    cluster_dir: PathBuf,
) -> Result<PathBuf, StartError> {
    let bin_dir = bin_dir.to_owned();
    if !has_binaries(&bin_dir) {
        return Err(StartError::NoBinariesIn { bin_dir });
    }
    let Some(wanted) = wanted else {
        return Ok(bin_dir);
    };
    match major_in(&bin_dir)? {
        Some(found) if found == wanted => Ok(bin_dir),
        Some(found) => Err(StartError::WrongMajor {
            cluster_dir,
            wanted,
            bin_dir,
            found,
        }),
        None => Err(StartError::NoBinariesIn { bin_dir }),
    }
}

fn search(
    debian_root: &Path,
    search_path: &OsStr,
    wanted: Option<u32>,
) -> Result<Option<PathBuf>, StartError> {
    let packaged = packaged_majors(debian_root)
        .into_iter()
        .filter(|major| wanted.is_none_or(|wanted| wanted == *major))
        .map(|major| debian_root.join(major.to_string()).join("bin"))
        .find(|bin_dir| has_binaries(bin_dir));
    if packaged.is_some() {
        return Ok(packaged);
    }
    let on_path = env::split_paths(search_path)
        // A relative folder would mean whatever the caller's working folder holds.
        .filter(|bin_dir| bin_dir.is_absolute());
    for bin_dir in on_path.chain(named_by_pg_config(search_path)) {
        if has_binaries(&bin_dir) && (wanted.is_none() || major_in(&bin_dir)? == wanted) {
            return Ok(Some(bin_dir));
        }
    }
    Ok(None)
}

/// The majors that have a folder below Debian's root, newest first.
fn packaged_majors(debian_root: &Path) -> Vec<u32> {
    let entries = fs::read_dir(debian_root).into_iter().flatten().flatten();
    let mut majors: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    majors.sort_unstable_by(|a, b| b.cmp(a));
    majors
}

fn has_binaries(bin_dir: &Path) -> bool {
    ["postgres", "initdb"]
        .iter()
        .all(|program| bin_dir.join(program).is_file())
}

fn named_by_pg_config(search_path: &OsStr) -> Option<PathBuf> {
    let program = env::split_paths(search_path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("pg_config"))
        .find(|program| program.is_file())?;
    let output = Command::new(program).arg("--bindir").output().ok()?;
    let bin_dir = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(bin_dir.trim_end()))
}

/// Asks the server in `bin_dir` for its major version.
fn major_in(bin_dir: &Path) -> Result<Option<u32>, StartError> {
    let program = bin_dir.join("postgres");
    let output = Command::new(&program)
        .arg("--version")
        .output()
        .map_err(StartError::io("run", &program))?;
    Ok(parse_major(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `... 17beta2`.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.strip_prefix("postgres (PostgreSQL) ")?;
    let digits = number.find(|c: char| !c.is_ascii_digit())?;
    number[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(debian_root: &Path, major: &str) -> PathBuf {
        let bin_dir = debian_root.join(major).join("bin");
        fs::create_dir_all(&bin_dir).expect("a folder");
        for program in ["postgres", "initdb"] {
            fs::write(bin_dir.join(program), "").expect("a program");
        }
        bin_dir
    }

    #[test]
    fn the_newest_major_is_the_greatest_number_and_has_a_server() {
        let root = tempfile::tempdir().expect("a folder");
        for major in ["9.6", "9", "15", "100"] {
            install(root.path(), major);
        }
        // What a client-only installation leaves.
        fs::create_dir_all(root.path().join("101/bin")).expect("a folder");
        assert_eq!(packaged_majors(root.path()), [101, 100, 15, 9]);

        let found = search(root.path(), OsStr::new(""), None).expect("searched");
        assert_eq!(found, Some(root.path().join("100/bin")));
    }

    #[test]
    fn only_the_wanted_major_is_found() {
        let root = tempfile::tempdir().expect("a folder");
        let bin_dir = install(root.path(), "15");
        install(root.path(), "16");
        let search = |wanted| search(root.path(), OsStr::new(""), Some(wanted)).expect("searched");
        assert_eq!(search(15), Some(bin_dir));
        assert_eq!(search(17), None);
    }

    #[test]
    fn an_absolute_folder_on_the_path_is_found_when_nothing_is_packaged() {
        let root = tempfile::tempdir().expect("a folder");
        let bin_dir = install(root.path(), "15");
        let nowhere = root.path().join("nowhere");
        let path = env::join_paths([Path::new("relative"), &nowhere, &bin_dir]).expect("a path");
        let found = search(&nowhere, &path, None).expect("searched");
        assert_eq!(found, Some(bin_dir));
    }

    #[test]
    fn pg_config_has_the_last_word() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().expect("a folder");
        let bin_dir = install(root.path(), "15");
        let pg_config = root.path().join("pg_config");
        let script = format!("#!/bin/sh\necho {}\n", bin_dir.display());
        fs::write(&pg_config, script).expect("a script");
        fs::set_permissions(&pg_config, fs::Permissions::from_mode(0o755)).expect("executable");

        let nowhere = root.path().join("nowhere");
        let found = search(&nowhere, root.path().as_os_str(), None).expect("searched");
        assert_eq!(found, Some(bin_dir));
    }

    #[test]
    fn a_machine_without_a_server_is_told_what_to_install() {
        let root = tempfile::tempdir().expect("a folder");
        let found = search(root.path(), root.path().as_os_str(), None).expect("searched");
        assert_eq!(found, None);
        assert_eq!(
            StartError::NoServer.to_string(),
            "No PostgreSQL server was found. Run: apt-get install -y postgresql  \
             (or set DATABASE_URL to use a server of your own)"
        );
    }

    #[test]
    fn a_setting_without_binaries_is_refused_and_named() {
        let refused = check_setting(Path::new("/nowhere"), None, PathBuf::new())
            .expect_err("there is nothing there");
        assert!(
            refused.to_string().starts_with("/nowhere does not hold"),
            "{refused}"
        );
    }

    #[test]
    fn a_major_is_read_from_what_postgres_prints() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_major(debian), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 17beta2\n"), Some(17));
        assert_eq!(parse_major("postgres (PostgreSQL) \n"), None);
        assert_eq!(parse_major("bash: no such file\n"), None);
    }
}
