//! The devices of a user: listed, revoked, and allowed again.

use std::error::Error;
use std::fmt::Write as _;

use thiserror::Error as ThisError;

use super::{Database, now, print, user_id};
use crate::config::{Config, DeviceCommand};
use crate::domain::moment::rfc3339;
use crate::domain::scope::{DeviceId, LABEL_BYTES_MAX, Scope};
use crate::store::Store;
use crate::store::device::KnownDevice;
use crate::store::migrations::migrate;

/// Devices listed at most.
const DEVICES_MAX: i64 = 10_000;

/// What is wrong with a device.
#[derive(Debug, ThisError)]
enum DeviceError {
    #[error("--device: expected a device id of 1-{LABEL_BYTES_MAX} bytes without NUL")]
    Device,
    #[error("--device: expected a device of this user; `ironflow-sync device list` names them")]
    Unknown,
}

/// What to do, with what was named checked.
enum Task {
    List,
    Revoke(DeviceId),
    Allow(DeviceId),
}

/// Runs a device command.
pub(super) async fn run(config: &Config, command: DeviceCommand) -> Result<(), Box<dyn Error>> {
    let named = |id: &str| DeviceId::new(id).ok_or(DeviceError::Device);
    let (user, task) = match &command {
        DeviceCommand::List { user } => (user, Task::List),
        DeviceCommand::Revoke { user, device } => (user, Task::Revoke(named(device)?)),
        DeviceCommand::Allow { user, device } => (user, Task::Allow(named(device)?)),
    };
    let scope = Scope::of(&user_id("--user", user)?);
    let database = Database::open(config, "ironflow-sync device").await?;
    let done = perform(&database.store, &scope, task).await;
    database.close().await;
    print(&done?);
    Ok(())
}

/// Does it, and says what was done.
async fn perform(store: &Store, scope: &Scope, task: Task) -> Result<String, Box<dyn Error>> {
    migrate(store).await?;
    match task {
        Task::List => {
            let devices = store.read_devices(scope, DEVICES_MAX).await?;
            Ok(match devices.as_slice() {
                [] => "No devices.\n".to_owned(),
                devices => devices.iter().map(line).collect(),
            })
        }
        Task::Revoke(device) => {
            let revoked = store.revoke_device(scope, &device, now()).await?;
            let since = rfc3339(revoked.ok_or(DeviceError::Unknown)?.at);
            Ok(format!("Revoked since {since}.\n"))
        }
        Task::Allow(device) => match store.allow_device(scope, &device).await? {
            true => Ok("Allowed.\n".to_owned()),
            false => Err(DeviceError::Unknown.into()),
        },
    }
}

/// A device in one line. What it says of itself cannot write anything else to a terminal.
fn line(known: &KnownDevice) -> String {
    let info = &known.info;
    let mut line = known.device.as_str().escape_debug().to_string();
    let said = [&info.label, &info.platform, &info.app_version];
    for said in said.into_iter().flatten() {
        // Writing to a String does not fail.
        let _ = write!(line, ", {}", said.escape_debug());
    }
    let _ = write!(line, ", seen {}", rfc3339(known.last_seen));
    if let Some(pending @ 1..) = info.pending_count {
        let _ = write!(line, ", {pending} queued");
    }
    if let Some(at) = known.revoked_at {
        let _ = write!(line, ", revoked {}", rfc3339(at));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Millis;
    use crate::store::device::DeviceInfo;

    #[test]
    fn a_device_is_one_line_whatever_it_says_of_itself() {
        let known = KnownDevice {
            device: DeviceId::new("phone\n\u{1b}[2J").expect("an id"),
            info: DeviceInfo {
                label: Some("Mia's".to_owned()),
                pending_count: Some(3),
                ..DeviceInfo::default()
            },
            last_seen: Millis(1_700_000_000_000),
            revoked_at: Some(Millis(1_700_000_001_000)),
        };
        assert_eq!(
            line(&known),
            "phone\\n\\u{1b}[2J, Mia\\'s, seen 2023-11-14T22:13:20Z, 3 queued, \
             revoked 2023-11-14T22:13:21Z\n"
        );
    }
}
