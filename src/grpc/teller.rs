//! Notes what a device is told is wrong, for whoever is asked why it does not sync.

use tonic::Status;

use super::edge::now;
use super::fields::device_id;
use super::proto::{SyncResult, SyncStatus};
use super::status::{kind, reported};
use crate::auth::Caller;
use crate::domain::entity::EntityType;
use crate::domain::item::uuid;
use crate::domain::scope::{DeviceId, Scope};
use crate::error::{CallError, Refusal};
use crate::presence::Presence;
use crate::store::device::LastError;

/// Tells a device what came of its call.
pub(super) struct Teller {
    presence: Presence,
    scope: Scope,
    /// `None`: it did not say which it is.
    device: Option<DeviceId>,
}

impl Teller {
    /// Tells the device that a request names.
    pub(super) fn new(presence: &Presence, caller: &Caller, device: &str) -> Self {
        Self {
            presence: presence.clone(),
            scope: Scope::of(&caller.user),
            device: device_id(device).ok(),
        }
    }

    /// What came of the call as a whole. Faults are in the log already.
    pub(super) fn outcome<T>(&self, result: Result<T, CallError>) -> Result<T, Status> {
        result.map_err(|error| {
            if let CallError::Refused(refusal) = &error
                && is_of_the_device(refusal)
            {
                let (_, reason) = kind(refusal);
                self.note([(reason, refusal.to_string(), None)]);
            }
            reported(error)
        })
    }

    /// What came of the items.
    pub(super) fn results(&self, results: &[SyncResult]) {
        let errors = results
            .iter()
            .filter(|result| result.status() == SyncStatus::Error);
        self.note(errors.map(|result| {
            let name = result.error_code().as_str_name();
            let code = name.strip_prefix("ERROR_CODE_").unwrap_or(name);
            let entity = EntityType::new(&result.entity_type).zip(uuid(&result.entity_id));
            (code, result.error_message.clone(), entity)
        }));
    }

    fn note(
        &self,
        errors: impl IntoIterator<Item = (&'static str, String, Option<(EntityType, uuid::Uuid)>)>,
    ) {
        let Some(device) = &self.device else {
            return;
        };
        let now = now().0;
        let errors = errors.into_iter().map(|(code, message, entity)| {
            let (entity_type, entity_id) = entity.unzip();
            LastError {
                last_time: now,
                first_time: now,
                count: 1,
                code: code.to_owned(),
                message,
                entity_type: entity_type.map(|of| of.as_str().to_owned()),
                entity_id,
            }
        });
        self.presence.told(&self.scope, device, errors);
    }
}

/// Whether a refusal says something of this device, and not how busy the service is or how long a token lasts.
fn is_of_the_device(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::NotYours
        | Refusal::Invalid(_)
        | Refusal::InvalidData(_)
        | Refusal::TooManyItems { .. }
        | Refusal::TooManyDevices { .. }
        | Refusal::CursorReset
        | Refusal::DeviceRevoked
        | Refusal::DeviceIdReused
        | Refusal::SubscriptionRequired { .. } => true,
        Refusal::TokenMissing
        | Refusal::TokenInvalid(_)
        | Refusal::TokenOutdated { .. }
        | Refusal::KeyUnknown
        | Refusal::KeysMissing
        | Refusal::RateLimited { .. }
        | Refusal::TooManyCalls { .. }
        | Refusal::TooManyStreams { .. }
        | Refusal::Overloaded
        | Refusal::AccountDeleted
        | Refusal::TokenExpired
        | Refusal::ShuttingDown => false,
    }
}
