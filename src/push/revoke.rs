//! Revoking a device. It goes the way of a push, so that it comes before or after each batch of the user,
//! and takes a place in their order of changes, so that every watch looks again.

use tracing::field;

use super::Push;
use crate::domain::clock::Millis;
use crate::domain::scope::{DeviceId, Scope};
use crate::error::{CallError, FieldProblem, Refusal};
use crate::trace::traced;

/// A wish that a device shall no longer be one of its user's.
#[derive(Debug, Clone)]
pub struct RevokeRequest {
    /// Whose device.
    pub scope: Scope,
    /// Which.
    pub device: DeviceId,
    /// The server's clock.
    pub now: Millis,
}

impl Push {
    /// Revokes a device, and says since when it is. From then on its calls are refused, and its streams
    /// end when they look again.
    pub async fn revoke(&self, request: RevokeRequest) -> Result<Millis, CallError> {
        let span = traced(tracing::info_span!(
            "revoke",
            trace_id = field::Empty,
            scope = %request.scope.log_name(),
            device = %request.device.log_name(),
        ));
        let push = self.clone();
        let scope = request.scope.clone();
        let work = async move {
            let RevokeRequest { scope, device, now } = &request;
            let Some(revoked) = push.store.revoke_device(scope, device, *now).await? else {
                let unknown = FieldProblem {
                    field: "device_id",
                    expected: "a device of this user, see GetStatus",
                };
                return Err(Refusal::from(unknown).into());
            };
            push.feed.publish(scope, revoked.revision);
            tracing::info!("device revoked");
            Ok(revoked.at)
        };
        self.in_turn(&scope, span, work).await
    }
}
