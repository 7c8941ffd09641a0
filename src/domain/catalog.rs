//! What the service knows of entity types: who may write them, how soon an app needs them, since
//! which schema version they exist.

use std::collections::BTreeMap;

use super::entity::EntityType;
use super::policy::Policy;

/// How soon an app needs the entities of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Without it the app is of no use.
    Core,
    /// Everything else that is synced by itself.
    Supporting,
    /// Only pulled by name.
    OnDemand,
}

/// The rules of one entity type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeRules {
    /// How its true conflicts are settled.
    pub policy: Policy,
    /// How soon an app needs it.
    pub tier: Tier,
    /// The schema version that introduced it; apps of older schemas do not get to see it.
    pub since: i32,
    /// Lives in the scope `library`: everybody reads it, only the operator writes it.
    pub shared: bool,
    /// How an entity that was recorded twice is noticed; `None`: it is not looked for.
    pub duplicates: Option<DuplicateRule>,
}

/// Two entities of a type that began at about the same time are possibly the same thing, recorded twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateRule {
    /// Keys of the data that may hold when it began; the first that is there counts.
    pub time_keys: Vec<String>,
    /// How far apart two beginnings may be.
    pub tolerance_ms: i64,
}

/// A type the catalog does not list: the user's own, known to every schema.
const UNLISTED: TypeRules = TypeRules {
    policy: Policy::Ask,
    duplicates: None,
    tier: Tier::Supporting,
    since: 0,
    shared: false,
};

/// The entity types of an installation.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    types: BTreeMap<EntityType, TypeRules>,
}

/// Which types a pull shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleTypes {
    /// These; `None`: all but `except`.
    pub only: Option<Vec<String>>,
    /// Not these.
    pub except: Vec<String>,
}

impl Catalog {
    /// The types workout apps share or ask for by name; all others need no rules of their own.
    pub fn builtin() -> Self {
        let shared = TypeRules {
            policy: Policy::ServerAuthoritative,
            shared: true,
            ..UNLISTED
        };
        let on_demand = TypeRules {
            tier: Tier::OnDemand,
            ..UNLISTED
        };
        Self::new([
            ("exercise_definition", shared.clone()),
            ("settings_option", shared),
            ("metric_sample_set", on_demand),
        ])
    }

    /// A catalog of these types. Names that are no entity types are left out.
    pub fn new<'a>(types: impl IntoIterator<Item = (&'a str, TypeRules)>) -> Self {
        let types = types
            .into_iter()
            .filter_map(|(name, rules)| Some((EntityType::new(name)?, rules)))
            .collect();
        Self { types }
    }

    /// The listed types, by name.
    pub fn types(&self) -> impl Iterator<Item = (&EntityType, &TypeRules)> {
        self.types.iter()
    }

    /// The schema version that counts for an app: 0 and whatever is beyond the newest are the newest.
    pub fn schema(&self, asked: i32) -> i32 {
        let newest = self.types.values().map(|rules| rules.since).max();
        let newest = newest.unwrap_or_default();
        match asked {
            0 => newest,
            asked => asked.min(newest),
        }
    }

    /// The rules of a type.
    pub fn rules(&self, entity_type: &EntityType) -> &TypeRules {
        self.types.get(entity_type).unwrap_or(&UNLISTED)
    }

    /// What a pull shows to an app of this schema: the types it names, or else all that are not
    /// on-demand; never one that is newer than the app.
    pub fn visible(&self, named: &[EntityType], schema: i32) -> VisibleTypes {
        if named.is_empty() {
            let hidden = |rules: &TypeRules| rules.since > schema || rules.tier == Tier::OnDemand;
            let except = self.names(hidden);
            return VisibleTypes { only: None, except };
        }
        let only = named
            .iter()
            .filter(|named| self.rules(named).since <= schema)
            .map(|named| named.as_str().to_owned())
            .collect();
        VisibleTypes {
            only: Some(only),
            except: Vec::new(),
        }
    }

    /// The types that become visible when an app moves from one schema to a newer one.
    pub fn newly_visible(&self, named: &[EntityType], before: i32, now: i32) -> Vec<String> {
        let new = |rules: &TypeRules| rules.since > before && rules.since <= now;
        if named.is_empty() {
            return self.names(|rules| new(rules) && rules.tier != Tier::OnDemand);
        }
        named
            .iter()
            .filter(|named| new(&self.rules(named)))
            .map(|named| named.as_str().to_owned())
            .collect()
    }

    fn names(&self, wanted: impl Fn(&TypeRules) -> bool) -> Vec<String> {
        self.types
            .iter()
            .filter(|(_, rules)| wanted(rules))
            .map(|(name, _)| name.as_str().to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let since = |since| TypeRules { since, ..UNLISTED };
        let on_demand = TypeRules {
            tier: Tier::OnDemand,
            ..since(3)
        };
        Catalog::new([
            ("workout", since(1)),
            ("superset", since(2)),
            ("readiness", since(3)),
            ("samples", on_demand),
        ])
    }

    fn named(names: &[&str]) -> Vec<EntityType> {
        names
            .iter()
            .filter_map(|name| EntityType::new(name))
            .collect()
    }

    #[test]
    fn newer_and_on_demand_types_are_withheld_unless_named_by_an_app_that_knows_them() {
        let all = catalog().visible(&[], 2);
        assert_eq!(all.only, None);
        assert_eq!(all.except, ["readiness", "samples"]);
        let some = catalog().visible(&named(&["workout", "samples", "unlisted"]), 2);
        assert_eq!(
            some.only,
            Some(vec!["workout".to_owned(), "unlisted".to_owned()])
        );
        let newest = catalog().visible(&named(&["samples"]), i32::MAX);
        assert_eq!(newest.only, Some(vec!["samples".to_owned()]));
    }

    #[test]
    fn an_upgrade_shows_what_came_between() {
        assert_eq!(
            catalog().newly_visible(&[], 1, 3),
            ["readiness", "superset"]
        );
        assert_eq!(catalog().newly_visible(&[], 3, 9), [""; 0]);
        let samples = named(&["workout", "samples"]);
        assert_eq!(catalog().newly_visible(&samples, 1, 3), ["samples"]);
    }
}
