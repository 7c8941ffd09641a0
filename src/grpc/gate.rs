//! What the settings and a caller's token say of a subscription.

use std::sync::Arc;

use crate::auth::Caller;
use crate::config::{Subscription, SubscriptionMode};
use crate::domain::standing::{Gate, Source};

/// Who needs a subscription. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gatekeeper {
    mode: SubscriptionMode,
    upgrade_url: Option<Arc<str>>,
}

impl Gatekeeper {
    /// As it is set.
    pub fn new(settings: &Subscription) -> Self {
        Self {
            mode: settings.mode,
            upgrade_url: settings.upgrade_url.as_deref().map(Arc::from),
        }
    }

    /// What holds for a call.
    pub(super) fn gate(&self, caller: &Caller) -> Gate {
        Gate {
            source: match self.mode {
                SubscriptionMode::Off => Source::Nobody,
                SubscriptionMode::Claim => Source::Token(caller.subscription),
                SubscriptionMode::Accounts => Source::Account,
            },
            upgrade_url: self.upgrade_url.clone(),
        }
    }
}
