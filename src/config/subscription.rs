//! Who needs a subscription, and who says that there is one.

use clap::{Args, ValueEnum};

/// Who needs a subscription, and who says that there is one.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Subscriptions")]
pub struct Subscription {
    /// Who says whether a user has the subscription that syncing needs: nobody needs one (off), a claim of
    /// the token (claim), or `ironflow-sync account set` (accounts)
    #[arg(
        long = "subscription",
        env = "IRONFLOW_SUBSCRIPTION",
        value_enum,
        default_value_t = SubscriptionMode::Off,
        global = true
    )]
    pub mode: SubscriptionMode,
    /// The claim of a token that names its subscription: a text, true or false, or a list of them
    #[arg(
        long = "subscription-claim",
        env = "IRONFLOW_SUBSCRIPTION_CLAIM",
        default_value = "subscription",
        global = true
    )]
    pub claim: String,
    /// What of that claim is a subscription, one of these, separated by commas
    #[arg(
        long = "subscription-values",
        env = "IRONFLOW_SUBSCRIPTION_VALUES",
        value_delimiter = ',',
        default_value = "premium",
        global = true
    )]
    pub values: Vec<String>,
    /// The claim of a token that says when its subscription ends, in seconds since 1970; a token without it
    /// has its subscription for as long as it is valid
    #[arg(
        long = "subscription-expires-claim",
        env = "IRONFLOW_SUBSCRIPTION_EXPIRES_CLAIM",
        default_value = "subscription_expires",
        global = true
    )]
    pub expires_claim: String,
    /// Where a person can subscribe: an address, told to apps that are refused for want of a subscription
    #[arg(
        long,
        env = "IRONFLOW_UPGRADE_URL",
        value_name = "URL",
        value_parser = clap::builder::NonEmptyStringValueParser::new(),
        global = true
    )]
    pub upgrade_url: Option<String>,
}

/// Who says whether there is a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SubscriptionMode {
    /// Nobody needs one.
    Off,
    /// A claim of the token.
    Claim,
    /// The operator, by `ironflow-sync account set`.
    Accounts,
}
