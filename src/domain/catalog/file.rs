//! Reads a catalog from TOML, and finds every problem in it.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reader::{Problem, ReadFile, Reader, Section, one_of};
use super::{Catalog, DuplicateRule, Retention, Tier, TypeRules};
use crate::domain::entity::EntityType;
use crate::domain::policy::{OnOverlap, Policy};
use crate::domain::schema::{Schema, SchemaProblem};

/// Longest time anything is kept, in days: a hundred years.
const DAYS_MAX: i64 = 36_500;

/// Most superseded versions of an entity that are kept whatever their age.
const VERSIONS_MAX: i64 = 1_000_000;

/// Furthest apart that two recordings of the same thing may have begun: a day.
const TOLERANCE_MAX_S: i64 = 86_400;

/// See [`Catalog::parse`].
pub(super) fn read(text: &str, read_file: ReadFile<'_>) -> Result<Catalog, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        text,
        read_file,
        problems: Vec::new(),
    };
    for error in errors {
        let at = error.span().unwrap_or_default();
        reader.complain("", at, format!("TOML: {}", error.message()));
    }
    // What a text that is no TOML seems to say is not worth complaining about.
    let catalog = reader.problems.is_empty().then(|| {
        reader.catalog(&Section {
            path: String::new(),
            at: 0..0,
            table: document.get_ref(),
        })
    });
    if let Some(catalog) = catalog.filter(|_| reader.problems.is_empty()) {
        return Ok(catalog);
    }
    reader
        .problems
        .sort_by_key(|problem| (problem.line, problem.column));
    Err(reader.problems)
}

/// What a catalog, its types and their parts may say.
const CATALOG_KEYS: [&str; 3] = ["default_policy", "retention", "types"];
const TYPE_KEYS: [&str; 10] = [
    "policy",
    "on_overlap",
    "key",
    "tier",
    "since",
    "scope",
    "schema",
    "schema_file",
    "duplicates",
    "retention",
];
const DUPLICATES_KEYS: [&str; 2] = ["time_keys", "tolerance_s"];
const RETENTION_KEYS: [&str; 4] = [
    "versions_days",
    "versions_min",
    "deleted_days",
    "conflicts_days",
];

impl Reader<'_> {
    fn catalog(&mut self, root: &Section<'_>) -> Catalog {
        self.only(root, &CATALOG_KEYS);
        let retention = self.retention(root, Retention::default());
        // Only policies without options: a type that needs more can be listed.
        let defaults = [Policy::Ask, Policy::LastWriteWins, Policy::MergeMax];
        let defaults = defaults.map(|policy| (policy.name(), policy));
        let default_policy = self.choice(root, "default_policy", &defaults);
        let mut types = BTreeMap::new();
        if let Some(listed) = self.section(root, "types") {
            for name in listed.table.keys().map(|name| name.get_ref().as_ref()) {
                let expected = "a name of 1-64 lower-case letters, digits and underscores, \
                                beginning with a letter";
                let entity_type = EntityType::new(name);
                if entity_type.is_none() {
                    self.complain(&listed.path_of(name), listed.at(name), expected);
                }
                let rules = self
                    .section(&listed, name)
                    .and_then(|section| self.rules(&section, retention));
                types.extend(entity_type.zip(rules));
            }
        }
        if !root.has("default_policy") && !root.has("types") {
            let expected = "at least one type, as [types.NAME], or a default_policy";
            self.complain("types", 0..0, expected);
        }
        Catalog {
            types,
            unlisted_known: default_policy.is_some(),
            unlisted: TypeRules {
                retention,
                ..TypeRules::with(default_policy.unwrap_or(Policy::Ask))
            },
        }
    }

    fn rules(&mut self, section: &Section<'_>, retention: Retention) -> Option<TypeRules> {
        self.only(section, &TYPE_KEYS);
        let tiers = [
            ("core", Tier::Core),
            ("supporting", Tier::Supporting),
            ("on_demand", Tier::OnDemand),
        ];
        let tier = self.choice(section, "tier", &tiers);
        let since = self.whole(section, "since", 0..=i32::MAX.into());
        let scopes = [("user", false), ("library", true)];
        let shared = self.choice(section, "scope", &scopes).unwrap_or_default();
        let duplicates = self
            .section(section, "duplicates")
            .and_then(|section| self.duplicates(&section));
        let retention = self.retention(section, retention);
        let schema = self.schema(section);
        let policy = self.policy(section)?;
        if shared != (policy == Policy::ServerAuthoritative) {
            let (name, expected) = match shared {
                true => (
                    "policy",
                    "\"server_authoritative\", as the scope is library",
                ),
                false => (
                    "scope",
                    "\"library\", as the policy is server_authoritative",
                ),
            };
            self.complain(&section.path_of(name), section.at(name), expected);
        }
        Some(TypeRules {
            tier: tier.unwrap_or(Tier::Supporting),
            since: since.unwrap_or_default(),
            shared,
            duplicates,
            retention,
            schema,
            ..TypeRules::with(policy)
        })
    }

    fn policy(&mut self, section: &Section<'_>) -> Option<Policy> {
        let overlaps = [("latest", OnOverlap::Latest), ("ask", OnOverlap::Ask)];
        let on_overlap = self.choice(section, "on_overlap", &overlaps);
        let key = self.text(section, "key");
        let policies = [
            Policy::Ask,
            Policy::LastWriteWins,
            Policy::MergeFields {
                on_overlap: on_overlap.unwrap_or(OnOverlap::Ask),
            },
            Policy::MergeMax,
            Policy::LatestPerKey {
                key: key.unwrap_or_default().to_owned(),
            },
            Policy::ServerAuthoritative,
        ];
        let policies = policies.map(|policy| (policy.name(), policy));
        if !section.has("policy") {
            let expected = one_of(policies.iter().map(|(name, _)| *name));
            self.complain(&section.path_of("policy"), section.at.clone(), expected);
        }
        let policy = self.choice(section, "policy", &policies)?;
        for (option, owner) in [("on_overlap", "merge_fields"), ("key", "latest_per_key")] {
            let expected = match (policy.name() == owner, section.has(option)) {
                (true, false) => format!("a value, as the policy is {owner}"),
                (false, true) => format!("nothing, it is only for the policy {owner}"),
                (true, true) | (false, false) => continue,
            };
            self.complain(&section.path_of(option), section.at(option), expected);
        }
        Some(policy)
    }

    fn duplicates(&mut self, section: &Section<'_>) -> Option<DuplicateRule> {
        self.only(section, &DUPLICATES_KEYS);
        for name in DUPLICATES_KEYS
            .into_iter()
            .filter(|name| !section.has(name))
        {
            self.complain(&section.path_of(name), section.at.clone(), "a value");
        }
        let tolerance_s: Option<i64> = self.whole(section, "tolerance_s", 1..=TOLERANCE_MAX_S);
        let (_, value) = section.table.get_key_value("time_keys")?;
        let time_keys: Option<Vec<String>> = value.get_ref().as_array().and_then(|names| {
            let name = |name: &Spanned<DeValue<'_>>| name.get_ref().as_str().map(str::to_owned);
            names.iter().map(name).collect()
        });
        let time_keys = time_keys.filter(|keys| !keys.is_empty());
        if time_keys.is_none() {
            let expected = "a list of at least one key of the data, as text";
            self.complain(&section.path_of("time_keys"), value.span(), expected);
        }
        Some(DuplicateRule {
            time_keys: time_keys?,
            tolerance_ms: tolerance_s? * 1000,
        })
    }

    /// The retention of a section, which says only what differs.
    fn retention(&mut self, parent: &Section<'_>, otherwise: Retention) -> Retention {
        let Some(section) = self.section(parent, "retention") else {
            return otherwise;
        };
        self.only(&section, &RETENTION_KEYS);
        let mut days = |name, otherwise| {
            let days = self.whole(&section, name, 1..=DAYS_MAX);
            days.unwrap_or(otherwise)
        };
        let retention = Retention {
            versions_days: days("versions_days", otherwise.versions_days),
            deleted_days: days("deleted_days", otherwise.deleted_days),
            conflicts_days: days("conflicts_days", otherwise.conflicts_days),
            ..otherwise
        };
        let versions_min = self.whole(&section, "versions_min", 0..=VERSIONS_MAX);
        Retention {
            versions_min: versions_min.unwrap_or(otherwise.versions_min),
            ..retention
        }
    }

    fn schema(&mut self, section: &Section<'_>) -> Option<Schema> {
        if section.has("schema") && section.has("schema_file") {
            let path = section.path_of("schema_file");
            let expected = "nothing, as there is a schema already";
            self.complain(&path, section.at("schema_file"), expected);
            return None;
        }
        match section.table.get_key_value("schema") {
            Some((key, value)) => self.schema_inline(section.path_of("schema"), key.span(), value),
            None => self.schema_file(section),
        }
    }

    fn schema_inline(
        &mut self,
        path: String,
        at: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Schema> {
        let DeValue::Table(_) = value.get_ref() else {
            self.complain(&path, value.span(), "a table, the JSON Schema");
            return None;
        };
        let schema = self.json(&path, value)?;
        let compiled = Schema::new(&schema);
        let complained = compiled.map_err(|SchemaProblem { pointer, expected }| {
            let (path, at) = place_in(value, &pointer, path, at);
            self.complain(&path, at, format!("{expected}, as JSON Schema has it"));
        });
        complained.ok()
    }

    fn schema_file(&mut self, section: &Section<'_>) -> Option<Schema> {
        let file = self.text(section, "schema_file")?;
        let json = |text: String| {
            let json = serde_json::from_str(&text);
            json.map_err(|error| format!("JSON in the file: {error}"))
        };
        let compiled = |json| {
            Schema::new(&json).map_err(|SchemaProblem { pointer, expected }| {
                format!("a JSON Schema in the file, at {pointer:?} {expected}")
            })
        };
        let schema = (self.read_file)(file).and_then(json).and_then(compiled);
        let complained = schema.map_err(|expected| {
            let path = section.path_of("schema_file");
            self.complain(&path, section.at("schema_file"), expected);
        });
        complained.ok()
    }
}

/// The keys and the place that a JSON Pointer leads to below a value, as far as it leads.
fn place_in(
    value: &Spanned<DeValue<'_>>,
    pointer: &str,
    mut path: String,
    mut at: Range<usize>,
) -> (String, Range<usize>) {
    let mut value = value;
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let element = || value.get_ref().get(step.parse::<usize>().ok()?);
        if let DeValue::Table(table) = value.get_ref() {
            let Some((key, entry)) = table.get_key_value(step.as_str()) else {
                break;
            };
            let section = Section { path, at, table };
            (path, at) = (section.path_of(&step), key.span());
            value = entry;
        } else if let Some(element) = element() {
            (path, at) = (format!("{path}[{step}]"), element.span());
            value = element;
        } else {
            break;
        }
    }
    (path, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<Problem> {
        let read_file: ReadFile<'_> = &|name| match name {
            "workout.json" => Ok(r#"{"properties": {"reps": {"minimum": 0}}}"#.to_owned()),
            "broken.json" => Ok("{\n  \"type\": }".to_owned()),
            "wrong.json" => Ok(r#"{"properties": {"reps": {"minimum": "none"}}}"#.to_owned()),
            _ => Err("a file to read".to_owned()),
        };
        Catalog::parse(text, read_file).err().unwrap_or_default()
    }

    fn rules<'a>(catalog: &'a Catalog, name: &str) -> &'a TypeRules {
        catalog.rules(&EntityType::new(name).expect("a name"))
    }

    /// Bad catalogs; line and column, key, and words of what was expected.
    #[test]
    fn bad_catalogs_are_refused_with_line_key_and_what_was_expected() {
        let a = |lines: &str| format!("[types.a]\n{lines}");
        let ask = |lines: &str| format!("[types.a]\npolicy = 'ask'\n{lines}");
        let library = "policy = 'server_authoritative'\n";
        let duplicates = |rest: &str| ask(&format!("duplicates = {{ {rest} }}"));
        for (text, place, key, expected) in [
            (String::new(), (1, 1), "types", "at least one type"),
            ("a =".into(), (1, 4), "", "TOML"),
            ("[types.a\npolicy = 'ask'".into(), (1, 9), "", "TOML"),
            (ask("policy = 'ask'"), (3, 1), "", "duplicate key"),
            (
                format!("typs = 1\n{}", ask("")),
                (1, 1),
                "typs",
                "default_policy, retention, types",
            ),
            ("types = 1".into(), (1, 9), "types", "a table"),
            ("[types]\na = 'ask'".into(), (2, 5), "types.a", "a table"),
            (
                "[types.A]\npolicy = 'ask'".into(),
                (1, 8),
                "types.A",
                "lower-case",
            ),
            (
                "[types.'a b']\npolicy = 'ask'".into(),
                (1, 8),
                "types.\"a b\"",
                "1-64",
            ),
            (a(""), (1, 8), "types.a.policy", "\"ask\""),
            (
                a("policy = 'lww'"),
                (2, 10),
                "types.a.policy",
                "\"merge_max\"",
            ),
            (
                a("policy = 1"),
                (2, 10),
                "types.a.policy",
                "or \"server_authoritative\"",
            ),
            (
                ask("polcy = 'ask'"),
                (3, 1),
                "types.a.polcy",
                "one of the keys policy",
            ),
            (
                ask("on_overlap = 'ask'"),
                (3, 1),
                "types.a.on_overlap",
                "only for the policy merge_fields",
            ),
            (
                ask("key = 'days'"),
                (3, 1),
                "types.a.key",
                "only for the policy latest_per_key",
            ),
            (
                a("policy = 'merge_fields'"),
                (1, 8),
                "types.a.on_overlap",
                "a value",
            ),
            (
                a("policy = 'merge_fields'\non_overlap = 'never'"),
                (3, 14),
                "types.a.on_overlap",
                "\"latest\" or \"ask\"",
            ),
            (
                a("policy = 'latest_per_key'"),
                (1, 8),
                "types.a.key",
                "a value",
            ),
            (
                a("policy = 'latest_per_key'\nkey = ''"),
                (3, 7),
                "types.a.key",
                "text",
            ),
            (a(library), (1, 8), "types.a.scope", "\"library\""),
            (
                a(&format!("{library}scope = 'user'")),
                (3, 1),
                "types.a.scope",
                "\"library\"",
            ),
            (
                ask("scope = 'library'"),
                (2, 1),
                "types.a.policy",
                "\"server_authoritative\"",
            ),
            (
                ask("scope = 'all'"),
                (3, 9),
                "types.a.scope",
                "\"user\" or \"library\"",
            ),
            (ask("tier = 'top'"), (3, 8), "types.a.tier", "\"on_demand\""),
            (
                ask("since = -1"),
                (3, 9),
                "types.a.since",
                "from 0 to 2147483647",
            ),
            (
                ask("since = 2_147_483_648"),
                (3, 9),
                "types.a.since",
                "from 0 to",
            ),
            (
                ask("since = 1.5"),
                (3, 9),
                "types.a.since",
                "a whole number",
            ),
            (
                duplicates("time_keys = ['date']"),
                (3, 1),
                "types.a.duplicates.tolerance_s",
                "a value",
            ),
            (
                duplicates("time_keys = [], tolerance_s = 1"),
                (3, 28),
                "types.a.duplicates.time_keys",
                "at least one key",
            ),
            (
                duplicates("time_keys = [7], tolerance_s = 1"),
                (3, 28),
                "types.a.duplicates.time_keys",
                "as text",
            ),
            (
                duplicates("time_keys = ['date'], tolerance_s = 0"),
                (3, 52),
                "types.a.duplicates.tolerance_s",
                "from 1 to 86400",
            ),
            (
                ask("retention = 7"),
                (3, 13),
                "types.a.retention",
                "a table",
            ),
            (
                ask("retention = { versions_days = 0 }"),
                (3, 31),
                "types.a.retention.versions_days",
                "from 1 to 36500",
            ),
            (
                format!("[retention]\nversions_min = 1_000_001\n{}", ask("")),
                (2, 16),
                "retention.versions_min",
                "from 0 to 1000000",
            ),
            (
                format!("[retention]\nyears = 1\n{}", ask("")),
                (2, 1),
                "retention.years",
                "versions_days",
            ),
            (
                "default_policy = 'server_authoritative'".into(),
                (1, 18),
                "default_policy",
                "\"merge_max\"",
            ),
            (
                "default_policy = {}".into(),
                (1, 18),
                "default_policy",
                "\"ask\"",
            ),
            (
                ask("schema = 'x.json'"),
                (3, 10),
                "types.a.schema",
                "a table",
            ),
            (
                ask("schema = { type = 'txt' }"),
                (3, 12),
                "types.a.schema.type",
                "\"array\", ",
            ),
            (
                ask("schema = { const = [1, 1979-05-27] }"),
                (3, 24),
                "types.a.schema.const[1]",
                "a value that JSON has",
            ),
            (
                ask("schema = { maximum = nan }"),
                (3, 22),
                "types.a.schema.maximum",
                "JSON",
            ),
            (
                ask("schema = { '$ref' = 'https://example.com/a.json' }"),
                (3, 1),
                "types.a.schema",
                "references that stay within the schema",
            ),
            (
                ask("schema = { pattern = '(?=a)b' }"),
                (3, 12),
                "types.a.schema.pattern",
                "a regular expression without look-around",
            ),
            (
                ask("[types.a.schema.properties.reps]\nminimum = 'none'"),
                (4, 1),
                "types.a.schema.properties.reps.minimum",
                "a number, as JSON Schema has it",
            ),
            (
                ask("schema = { allOf = [{}, { 'required' = 'x' }] }"),
                (3, 27),
                "types.a.schema.allOf[1].required",
                "a list, as JSON Schema has it",
            ),
            (
                ask("schema = { patternProperties = { '~/(' = {} } }"),
                (3, 34),
                "types.a.schema.patternProperties.\"~/(\"",
                "a regular expression",
            ),
            (
                ask("schema = {}\nschema_file = 'workout.json'"),
                (4, 1),
                "types.a.schema_file",
                "a schema already",
            ),
            (
                ask("schema_file = 1"),
                (3, 15),
                "types.a.schema_file",
                "text",
            ),
            (
                ask("schema_file = 'none.json'"),
                (3, 1),
                "types.a.schema_file",
                "a file to read",
            ),
            (
                ask("schema_file = 'broken.json'"),
                (3, 1),
                "types.a.schema_file",
                "line 2 column 11",
            ),
            (
                ask("schema_file = 'wrong.json'"),
                (3, 1),
                "types.a.schema_file",
                "at \"/properties/reps/minimum\" a number",
            ),
        ] {
            let problems = problems(&text);
            let [problem] = problems.as_slice() else {
                panic!("one problem: {text}: {problems:?}")
            };
            assert_eq!((problem.line, problem.column), place, "{text}: {problem}");
            assert_eq!(problem.key, key, "{text}: {problem}");
            assert!(problem.expected.contains(expected), "{text}: {problem}");
        }
    }

    #[test]
    fn all_problems_are_told_in_the_order_of_their_lines() {
        let text = "[types.b]\npolicy = 'ask'\nsince = -1\ntier = 'x'\n\n[types.a]\n\n[retention]\nx = 1\n";
        let problems = problems(text);
        let shown: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(
            shown,
            [
                "3:9: types.b.since: expected a whole number from 0 to 2147483647",
                "4:8: types.b.tier: expected \"core\", \"supporting\" or \"on_demand\"",
                "6:8: types.a.policy: expected \"ask\", \"last_write_wins\", \"merge_fields\", \
                 \"merge_max\", \"latest_per_key\" or \"server_authoritative\"",
                "9:1: retention.x: expected one of the keys versions_days, versions_min, \
                 deleted_days, conflicts_days",
            ]
        );
    }

    #[test]
    fn everything_a_catalog_says_is_read() {
        let text = "
            default_policy = 'last_write_wins'
            [retention]
            versions_days = 30
            deleted_days = 36_500
            [types.a]
            policy = 'merge_fields'
            on_overlap = 'latest'
            tier = 'core'
            since = 7
            scope = 'user'
            schema_file = 'workout.json'
            duplicates = { time_keys = ['date', 'started'], tolerance_s = 90 }
            [types.b]
            policy = 'latest_per_key'
            key = 'days'
            retention = { versions_min = 0, versions_days = 1, conflicts_days = 2 }
            [types.c]
            policy = 'server_authoritative'
            scope = 'library'
            tier = 'on_demand'";
        let catalog = Catalog::parse(text, &|_| Ok("{}".to_owned())).expect("a catalog");
        let days = |versions_days, versions_min, conflicts_days| Retention {
            versions_days,
            versions_min,
            deleted_days: 36_500,
            conflicts_days,
        };
        let a = rules(&catalog, "a");
        let on_overlap = OnOverlap::Latest;
        assert_eq!(a.policy, Policy::MergeFields { on_overlap });
        assert_eq!((a.tier, a.since, a.shared), (Tier::Core, 7, false));
        assert!(a.schema.is_some());
        let duplicates = a.duplicates.as_ref().expect("a rule");
        assert_eq!(duplicates.time_keys, ["date", "started"]);
        assert_eq!(duplicates.tolerance_ms, 90_000);
        assert_eq!(a.retention, days(30, 10, 365));
        let b = rules(&catalog, "b");
        let key = "days".to_owned();
        assert_eq!(b.policy, Policy::LatestPerKey { key });
        assert_eq!(b.retention, days(1, 0, 2));
        let c = rules(&catalog, "c");
        assert_eq!((c.tier, c.shared), (Tier::OnDemand, true));
        let unlisted = EntityType::new("d").expect("a name");
        assert!(catalog.knows(&unlisted));
        assert_eq!(catalog.rules(&unlisted).policy, Policy::LastWriteWins);
        assert_eq!(catalog.rules(&unlisted).retention, days(30, 10, 365));
        let closed = Catalog::parse("[types.a]\npolicy = 'ask'", &|_| Err(String::new()));
        let closed = closed.expect("a catalog");
        assert!(!closed.knows(&unlisted));
        assert_eq!(closed.rules(&unlisted).policy, Policy::Ask);
        assert_eq!(closed.rules(&unlisted).retention, Retention::default());
    }
}
