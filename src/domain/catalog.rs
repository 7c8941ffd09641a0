//! What the service knows of entity types: how their conflicts are settled, who may write them, how
//! soon an app needs them, since which schema version they exist, what their data looks like.
//!
//! A catalog is a TOML file; docs/catalog.md describes it, `file` reads it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::entity::{Document, EntityType};
use super::json::Violation;
use super::policy::Policy;
use super::schema::Schema;
use super::scope::Scope;
pub use reader::{Problem, ReadFile};

mod file;
mod reader;

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
#[derive(Debug, Clone)]
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
    /// How long what is no longer current is kept.
    pub retention: Retention,
    /// What its data must look like; `None`: any JSON object.
    pub schema: Option<Schema>,
}

impl TypeRules {
    /// A type with this policy and nothing special: the user's own, known to every app, any data.
    pub fn with(policy: Policy) -> Self {
        Self {
            policy,
            tier: Tier::Supporting,
            since: 0,
            shared: false,
            duplicates: None,
            retention: Retention::default(),
            schema: None,
        }
    }
}

/// Two entities of a type that began at about the same time are possibly the same thing, recorded twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateRule {
    /// Keys of the data that may hold when it began; the first that is there counts.
    pub time_keys: Vec<String>,
    /// How far apart two beginnings may be.
    pub tolerance_ms: i64,
}

/// How long what is no longer current is kept. The fact of a deletion is kept for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Contents of superseded versions go at this age..
    pub versions_days: u32,
    /// ..except the newest so many of each entity.
    pub versions_min: u32,
    /// Contents of all versions of an entity go so long after its deletion.
    pub deleted_days: u32,
    /// Settled conflicts go at this age.
    pub conflicts_days: u32,
}

impl Default for Retention {
    /// A year of history and at least ten versions; half a year to think better of a deletion.
    fn default() -> Self {
        Self {
            versions_days: 365,
            versions_min: 10,
            deleted_days: 180,
            conflicts_days: 365,
        }
    }
}

/// The catalog of workout apps, read once.
static BUILTIN: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::parse(Catalog::BUILTIN, &|_| Err("no schema files".to_owned()))
        .unwrap_or_else(|problems| unreachable!("a test reads the same text: {problems:?}"))
});

/// The entity types of an installation.
#[derive(Debug, Clone)]
pub struct Catalog {
    types: BTreeMap<EntityType, TypeRules>,
    /// The rules of all other types.
    unlisted: TypeRules,
    /// Whether devices may write the other types.
    unlisted_known: bool,
}

/// Which types a pull shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleTypes {
    /// These; `None`: all but `except`.
    pub only: Option<Vec<String>>,
    /// Not these.
    pub except: Vec<String>,
}

impl VisibleTypes {
    /// The named types, or else all there are, whatever the catalog says of them.
    pub fn whatever(named: &[EntityType]) -> Self {
        let only = named.iter().map(|named| named.as_str().to_owned());
        Self {
            only: (!named.is_empty()).then(|| only.collect()),
            except: Vec::new(),
        }
    }
}

impl Catalog {
    /// The text of the built-in catalog.
    pub const BUILTIN: &str = include_str!("catalog/builtin.toml");

    /// The catalog of workout apps.
    pub fn builtin() -> Self {
        BUILTIN.clone()
    }

    /// A catalog of these types and no others. Names that are no entity types are left out.
    pub fn new<'a>(types: impl IntoIterator<Item = (&'a str, TypeRules)>) -> Self {
        let types = types
            .into_iter()
            .filter_map(|(name, rules)| Some((EntityType::new(name)?, rules)))
            .collect();
        Self {
            types,
            unlisted: TypeRules::with(Policy::Ask),
            unlisted_known: false,
        }
    }

    /// Reads a catalog in TOML. `read_file` gives the text of a schema file, or says what was
    /// expected of it.
    ///
    /// # Errors
    ///
    /// All problems that are found, in the order of their lines.
    pub fn parse(text: &str, read_file: ReadFile<'_>) -> Result<Self, Vec<Problem>> {
        file::read(text, read_file)
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

    /// The rules of a type. One that is not listed has those of the default policy; without one,
    /// what is left of it is settled by the person.
    pub fn rules(&self, entity_type: &EntityType) -> &TypeRules {
        self.types.get(entity_type).unwrap_or(&self.unlisted)
    }

    /// The scope that holds a user's entities of a type: theirs, or the library.
    pub fn home(&self, entity_type: &EntityType, user: &Scope) -> Scope {
        match self.rules(entity_type).shared {
            true => Scope::library(),
            false => user.clone(),
        }
    }

    /// What is wrong with the data of an entity of a type, by the type's schema.
    pub fn violations(&self, entity_type: &EntityType, document: &Document) -> Vec<Violation> {
        match (&self.rules(entity_type).schema, document.json()) {
            (Some(schema), Some(json)) => schema.violations(json),
            (None, _) | (_, None) => Vec::new(),
        }
    }

    /// The rules of all types that are not listed.
    pub fn unlisted(&self) -> &TypeRules {
        &self.unlisted
    }

    /// Whether devices may write a type: it is listed, or there is a default policy.
    pub fn knows(&self, entity_type: &EntityType) -> bool {
        self.unlisted_known || self.types.contains_key(entity_type)
    }

    /// The policy of types that are not listed; `None`: devices may not write them.
    pub fn default_policy(&self) -> Option<&Policy> {
        self.unlisted_known.then_some(&self.unlisted.policy)
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
            .filter(|named| new(self.rules(named)))
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
    use serde_json::json;

    use super::*;
    use crate::domain::json::Json;
    use crate::domain::policy::OnOverlap;

    fn catalog() -> Catalog {
        let since = |since| TypeRules {
            since,
            ..TypeRules::with(Policy::Ask)
        };
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

    /// The entities of workout apps: name, policy and its option, tier, whether they are shared.
    const ENTITIES: [(&str, &str, Tier, bool); 24] = {
        use Tier::{Core, OnDemand, Supporting};
        [
            ("workout", "ask", Core, false),
            ("workout_session", "ask", Core, false),
            ("workout_exercise", "merge_fields latest", Supporting, false),
            (
                "workout_exercise_set",
                "merge_fields latest",
                Supporting,
                false,
            ),
            ("exercise_log", "merge_fields ask", Core, false),
            ("exercise_log_set", "merge_fields latest", Core, false),
            ("routine", "last_write_wins", Supporting, false),
            ("routine_workout", "last_write_wins", Supporting, false),
            ("routine_exercise", "merge_fields latest", Supporting, false),
            ("superset", "last_write_wins", Supporting, false),
            ("custom_exercise", "merge_fields latest", Supporting, false),
            (
                "exercise_definition",
                "server_authoritative",
                Supporting,
                true,
            ),
            ("settings_option", "server_authoritative", Supporting, true),
            ("personal_record", "last_write_wins", Core, false),
            ("phase_statistics", "merge_max", Core, false),
            ("volume", "merge_max", Supporting, false),
            ("recovery", "latest_per_key days", Supporting, false),
            ("progression", "ask", Core, false),
            ("progress", "last_write_wins", Supporting, false),
            ("profile", "ask", Supporting, false),
            ("user_settings", "last_write_wins", Supporting, false),
            ("gamification_stats", "merge_max", Supporting, false),
            ("earned_badge", "last_write_wins", Supporting, false),
            ("metric_sample_set", "last_write_wins", OnDemand, false),
        ]
    };

    #[test]
    fn the_built_in_catalog_has_the_entities_of_workout_apps_and_no_others() {
        let catalog = Catalog::builtin();
        assert_eq!(catalog.types().count(), ENTITIES.len());
        assert_eq!(catalog.default_policy(), None);
        for (name, policy, tier, shared) in ENTITIES {
            let rules = &catalog.types[&EntityType::new(name).expect(name)];
            let option = match &rules.policy {
                Policy::MergeFields {
                    on_overlap: OnOverlap::Latest,
                } => " latest",
                Policy::MergeFields {
                    on_overlap: OnOverlap::Ask,
                } => " ask",
                Policy::LatestPerKey { key } => &format!(" {key}"),
                Policy::Ask
                | Policy::LastWriteWins
                | Policy::MergeMax
                | Policy::ServerAuthoritative => "",
            };
            assert_eq!(format!("{}{option}", rules.policy.name()), policy, "{name}");
            assert_eq!(
                (rules.tier, rules.shared, rules.since),
                (tier, shared, 0),
                "{name}"
            );
            assert_eq!(rules.retention, Retention::default(), "{name}");
            let twice = ["workout", "workout_session"].contains(&name);
            assert_eq!(rules.duplicates.is_some(), twice, "{name}");
            if let Some(rule) = &rules.duplicates {
                assert_eq!(rule.time_keys, ["date", "sessionDate", "session_date"]);
                assert_eq!(rule.tolerance_ms, 300_000);
            }
        }
    }

    fn accepts(name: &str, document: &serde_json::Value) -> bool {
        let rules = &Catalog::builtin().types[&EntityType::new(name).expect(name)];
        let document = Json::from_device(document.to_string().as_bytes()).expect("a document");
        let schema = rules.schema.as_ref().expect("a schema");
        schema.violations(&document).is_empty()
    }

    #[test]
    fn the_built_in_schemas_let_pass_whatever_they_do_not_know() {
        let unknown = json!({"anything": [{"else": null}], "": 1});
        for (name, ..) in ENTITIES {
            assert!(accepts(name, &json!({})), "{name}");
            assert!(accepts(name, &unknown), "{name}");
        }
        for (name, document) in [
            (
                "workout",
                json!({"exercises": [{"sets": [{"weight": 102.5, "reps": 8, "rpe": 7.5}]}]}),
            ),
            (
                "workout",
                json!({"exercises": ["an id", null, {"sets": null, "rest": "2 min"}]}),
            ),
            (
                "workout_session",
                json!({"session_date": 1_700_000_000_000_i64, "is_shared": 1}),
            ),
            ("routine_exercise", json!({"sets": 3, "order": 1.5})),
            (
                "volume",
                json!({"week": "2024-W07", "muscleGroups": {"chest": {"sets": 12}}}),
            ),
            (
                "recovery",
                json!({"days": {"2024-02-12": {"sleep": 7.5, "updatedAt": "now"}}}),
            ),
            (
                "exercise_definition",
                json!({"mechanic": null, "equipment": null, "primaryMuscles": ["abs"]}),
            ),
        ] {
            assert!(accepts(name, &document), "{name}: {document}");
        }
    }

    #[test]
    fn the_built_in_schemas_refuse_other_types_and_ranges_of_what_they_know() {
        for (name, document) in [
            ("workout", json!({"title": 7})),
            ("workout", json!({"estimated_duration": -1})),
            ("workout", json!({"exercises": {}})),
            (
                "workout",
                json!({"exercises": [{"sets": [{}, {"reps": "8"}]}]}),
            ),
            ("workout_session", json!({"sharedWith": "leo"})),
            ("exercise_log", json!({"sets": [{"rpe": 11}]})),
            ("exercise_log_set", json!({"done": "yes"})),
            ("gamification_stats", json!({"best_streak": -3})),
            ("recovery", json!({"days": {"2024-02-12": 7}})),
            (
                "volume",
                json!({"muscle_groups": {"chest": {"sets": "many"}}}),
            ),
            ("profile", json!({"birthYear": 90.5})),
        ] {
            assert!(!accepts(name, &document), "{name}: {document}");
        }
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
