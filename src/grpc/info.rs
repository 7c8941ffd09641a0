//! How an account is doing, and what the server is and allows, as messages.

use std::time::Duration;

use super::changes::PAGE_SIZE_DEFAULT;
use super::edge::now;
use super::proto;
use crate::config::Limits;
use crate::domain::catalog::{Catalog, Tier};
use crate::domain::clock::Millis;
use crate::domain::json::DEPTH_MAX;
use crate::domain::standing::SubscriptionState;
use crate::status::Status;
use crate::store::device::KnownDevice;

/// How an account is doing, as a message.
pub(super) fn status_response(status: Status) -> proto::GetStatusResponse {
    let (subscription_status, expiry) = subscription(status.subscription);
    proto::GetStatusResponse {
        last_sync_time: status.waiting.last_seen.unwrap_or_default().0,
        waiting_changes: status.waiting.changes,
        devices: status.devices.into_iter().map(device).collect(),
        server_time: now().0,
        open_conflicts: status.waiting.open_conflicts,
        subscription_status: subscription_status.into(),
        subscription_expiry_time: expiry.unwrap_or_default().0,
    }
}

/// How a subscription stands, and when it ends or has ended.
fn subscription(state: SubscriptionState) -> (proto::SubscriptionStatus, Option<Millis>) {
    match state {
        SubscriptionState::NotRequired => (proto::SubscriptionStatus::NotRequired, None),
        SubscriptionState::Active { until } => (proto::SubscriptionStatus::Active, until),
        SubscriptionState::Expired { at } => (proto::SubscriptionStatus::Expired, Some(at)),
        SubscriptionState::Missing => (proto::SubscriptionStatus::None, None),
    }
}

fn device(known: KnownDevice) -> proto::DeviceStatus {
    proto::DeviceStatus {
        device_id: known.device.as_str().to_owned(),
        label: known.info.label.unwrap_or_default(),
        platform: known.info.platform.unwrap_or_default(),
        app_version: known.info.app_version.unwrap_or_default(),
        last_seen_time: known.last_seen.0,
        pending_count: known.info.pending_count.unwrap_or_default(),
        revoked_time: known.revoked_at.unwrap_or_default().0,
    }
}

/// What the server is and allows, as a message.
pub(super) fn server_info_response(
    limits: &Limits,
    catalog: &Catalog,
) -> proto::GetServerInfoResponse {
    // A limit beyond the largest int32 is none.
    let int32 = |limit: usize| i32::try_from(limit).unwrap_or(i32::MAX);
    let millis = |limit: Duration| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
    let entity_types = catalog.types().map(|(name, rules)| proto::EntityTypeInfo {
        entity_type: name.as_str().to_owned(),
        policy: rules.policy.name().to_owned(),
        tier: match rules.tier {
            Tier::Core => "core",
            Tier::Supporting => "supporting",
            Tier::OnDemand => "on_demand",
        }
        .to_owned(),
        since: rules.since,
        shared: rules.shared,
    });
    proto::GetServerInfoResponse {
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        limits: Some(proto::Limits {
            batch_items_max: int32(limits.batch_items_max),
            item_bytes_max: int32(limits.item_bytes_max),
            message_bytes_max: int32(limits.message_bytes_max),
            json_depth_max: int32(DEPTH_MAX),
            page_size_default: PAGE_SIZE_DEFAULT.min(limits.page_size_max),
            page_size_max: limits.page_size_max,
            user_calls_per_s: int32(limits.user_calls_per_s.get() as usize),
            user_calls_burst: int32(limits.user_calls_burst.get() as usize),
            user_calls_max: int32(limits.user_calls_max),
            user_watches_max: int32(limits.user_watches_max),
            connection_streams_max: int32(limits.connection_streams_max as usize),
            call_timeout_ms: millis(limits.call_timeout()),
            calls_max: int32(limits.calls_max),
            watches_max: int32(limits.watches_max),
            call_wait_ms: millis(limits.call_wait()),
            account_devices_max: int32(limits.account_devices_max),
            account_entities_max: int32(limits.account_entities_max),
            connections_max: int32(limits.connections_max),
            received_bytes_max: i64::try_from(limits.received_bytes_max).unwrap_or(i64::MAX),
        }),
        entity_types: entity_types.collect(),
    }
}
