//! The installations of an app a user calls from.

/// Remembers the device of a batch.
pub(super) const RECORD_DEVICE: &str = include_str!("sql/record_device.sql");

/// What a device says of itself. `None`: nothing this time, what is known stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// What a person would call it.
    pub label: Option<String>,
    /// Its operating system.
    pub platform: Option<String>,
    /// The version of the app.
    pub app_version: Option<String>,
    /// Items it still has queued.
    pub pending_count: i32,
}
