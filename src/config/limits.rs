//! What callers may ask for, one by one and all together.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;

/// What callers may ask for (docs/protocol.md, section 8).
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Items in a batch
    #[arg(
        long,
        env = "IRONFLOW_BATCH_ITEMS_MAX",
        default_value_t = 500,
        value_parser = at_least_one(), global = true
    )]
    pub batch_items_max: usize,
    /// Bytes of one item's data
    #[arg(long, env = "IRONFLOW_ITEM_BYTES_MAX", default_value_t = 256 * 1024, value_parser = at_least_one(), global = true)]
    pub item_bytes_max: usize,
    /// Bytes of one message
    #[arg(long, env = "IRONFLOW_MESSAGE_BYTES_MAX", default_value_t = 4 * 1024 * 1024, value_parser = at_least_one(), global = true)]
    pub message_bytes_max: usize,
    /// Calls and watches under way on one connection
    #[arg(
        long,
        env = "IRONFLOW_CONNECTION_STREAMS_MAX",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..), global = true
    )]
    pub connection_streams_max: u32,
    /// Entities on a page of changes at most
    #[arg(long, env = "IRONFLOW_PAGE_SIZE_MAX", default_value_t = 2_000, global = true,
          value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub page_size_max: i32,
    /// Longest time a call may take, in milliseconds; a shorter deadline of the caller counts
    #[arg(
        long,
        env = "IRONFLOW_CALL_TIMEOUT_MS",
        default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(1..), global = true
    )]
    call_timeout_ms: u64,
    /// Calls of one user in a second, all devices together and in the long run
    #[arg(
        long,
        env = "IRONFLOW_USER_CALLS_PER_S",
        default_value = "50",
        global = true
    )]
    pub user_calls_per_s: NonZeroU32,
    /// Calls of one user at once, after a rest
    #[arg(
        long,
        env = "IRONFLOW_USER_CALLS_BURST",
        default_value = "200",
        global = true
    )]
    pub user_calls_burst: NonZeroU32,
    /// Calls of one user under way
    #[arg(long, env = "IRONFLOW_USER_CALLS_MAX", default_value_t = 64, value_parser = at_least_one(), global = true)]
    pub user_calls_max: usize,
    /// Watches of one user under way
    #[arg(long, env = "IRONFLOW_USER_WATCHES_MAX", default_value_t = 64, value_parser = at_least_one(), global = true)]
    pub user_watches_max: usize,
    /// Calls of all users under way; beyond it they are told to come back
    #[arg(long, env = "IRONFLOW_CALLS_MAX", default_value_t = 512, value_parser = at_least_one(), global = true)]
    pub calls_max: usize,
    /// Watches of all users under way
    #[arg(long, env = "IRONFLOW_WATCHES_MAX", default_value_t = 50_000, value_parser = at_least_one(), global = true)]
    pub watches_max: usize,
    /// How long a push or pull may wait for its turn before it is told to come back, in milliseconds
    #[arg(long, env = "IRONFLOW_CALL_WAIT_MS", default_value_t = 2_000, global = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    call_wait_ms: u64,
    /// Bytes of all messages that are being received or worked on
    #[arg(long, env = "IRONFLOW_RECEIVED_BYTES_MAX", default_value_t = 256 * 1024 * 1024, value_parser = at_least_one(), global = true)]
    pub received_bytes_max: usize,
    /// Devices of one user
    #[arg(long, env = "IRONFLOW_ACCOUNT_DEVICES_MAX", default_value_t = 100, value_parser = at_least_one(), global = true)]
    pub account_devices_max: usize,
    /// Entities of one user, deleted ones included
    #[arg(long, env = "IRONFLOW_ACCOUNT_ENTITIES_MAX", default_value_t = 1_000_000, value_parser = at_least_one(), global = true)]
    pub account_entities_max: usize,
    /// Connections at once; more are closed as they come
    #[arg(long, env = "IRONFLOW_CONNECTIONS_MAX", default_value_t = 20_000, value_parser = at_least_one(), global = true)]
    pub connections_max: usize,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

impl Limits {
    /// Longest time a call may take.
    pub fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }

    /// How long a push or pull may wait for its turn.
    pub fn call_wait(&self) -> Duration {
        Duration::from_millis(self.call_wait_ms)
    }
}
