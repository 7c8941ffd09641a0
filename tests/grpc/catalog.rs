//! Entity types: which are known, what their data must look like, and catalogs of other apps.

use ironflow_sync::domain::catalog::Catalog;
use ironflow_sync::grpc::proto::ErrorCode::{InvalidData, ReadOnly, UnknownEntityType};
use ironflow_sync::grpc::proto::Resolution::{Applied, Resurrected};
use ironflow_sync::grpc::proto::{SyncItem, SyncResult, SyncStatus};
use serde_json::{Value, json};
use uuid::Uuid;

use super::count;
use crate::support::{Device, TestDatabase, TestService, delete, put};

/// The page that explains catalogs, with an example for an app that uses other names.
const PAGE: &str = include_str!("../../docs/catalog.md");

fn of_type(entity_type: &str, data: &Value) -> SyncItem {
    SyncItem {
        entity_type: entity_type.to_owned(),
        ..put(Uuid::new_v4(), 0, data)
    }
}

/// The places of an answer and what was expected there.
fn violations(answer: &SyncResult) -> Vec<(&str, &str)> {
    let violations = answer.violations.iter();
    violations
        .map(|violation| (violation.path.as_str(), violation.description.as_str()))
        .collect()
}

/// The blocks of the page in this language.
fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
    let begin = format!("```{language}\n");
    let blocks: Vec<&str> = PAGE.split(begin.as_str()).skip(1).collect();
    let ended = |block: &'static str| block.split("```").next().unwrap_or_default();
    blocks.into_iter().map(ended)
}

/// The catalog of the page that uses other names, with the schema file beside it.
fn other_names() -> Catalog {
    let text = blocks("toml").find(|text| text.contains("[types.workouts]"));
    let schema_file = blocks("json").next().expect("a schema");
    let read = |name: &str| match name {
        "log.schema.json" => Ok(schema_file.to_owned()),
        _ => Err("another file".to_owned()),
    };
    Catalog::parse(text.expect("an example"), &read).expect("a catalog")
}

#[test]
fn every_example_of_the_page_is_a_catalog() {
    let examples: Vec<&str> = blocks("toml").collect();
    assert_eq!(examples.len(), 4);
    for text in examples {
        // Some show only a part of a catalog.
        let text = match text.contains("[types.") {
            true => text.to_owned(),
            false => format!("default_policy = 'ask'\n{text}"),
        };
        let schema: &dyn Fn(&str) -> Result<String, String> = &|_| Ok("{}".to_owned());
        Catalog::parse(&text, schema).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
    }
}

#[tokio::test]
async fn unknown_types_are_errors_that_spare_their_neighbours() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    for unknown in ["connection_log", "workouts", "hunter2"] {
        let put = of_type(unknown, &json!({}));
        let delete = SyncItem {
            entity_type: unknown.to_owned(),
            ..delete(Uuid::new_v4(), 1)
        };
        let good = || of_type("workout", &json!({}));
        let answers = phone.sync(vec![good(), put, delete, good()]).await;
        for neighbour in [&answers[0], &answers[3]] {
            assert_eq!(neighbour.resolution(), Applied, "{neighbour:?}");
        }
        for answer in &answers[1..3] {
            assert_eq!(answer.status(), SyncStatus::Error);
            assert_eq!(answer.error_code(), UnknownEntityType);
            let message = &answer.error_message;
            assert!(message.starts_with("entity_type: expected"), "{message}");
            assert!(!message.contains(unknown), "{message}");
            assert_eq!(answer.entity_type, unknown);
            assert_eq!(violations(answer), []);
        }
    }
    let sql = service.database.client().await;
    assert_eq!(count(&sql, "select count(*) from entities").await, 6);
}

#[tokio::test]
async fn data_that_does_not_fit_its_type_is_told_with_every_place() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let sets = json!([{"reps": 8, "weight": 102.5}, {"reps": "hunter2", "rpe": 11, "rir": "any"}]);
    let data = json!({"title": 7, "exercises": [{"name": "Squat", "sets": sets}], "mood": "any"});
    let good = || of_type("workout", &json!({"title": "Push day", "notes": null}));
    let bad = of_type("workout", &data);
    let answers = phone.sync(vec![good(), bad.clone(), good()]).await;
    for neighbour in [&answers[0], &answers[2]] {
        assert_eq!(neighbour.resolution(), Applied, "{neighbour:?}");
    }
    let answer = &answers[1];
    assert_eq!(answer.error_code(), InvalidData, "{answer:?}");
    let mut places = violations(answer);
    places.sort_unstable();
    assert_eq!(
        places,
        [
            ("/exercises/0/sets/1/reps", "expected null or a number"),
            ("/exercises/0/sets/1/rpe", "expected at most 10"),
            ("/title", "expected null or text"),
        ]
    );
    let message = &answer.error_message;
    assert!(message.starts_with("data: expected"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    let again = phone.sync_one(bad).await;
    assert_eq!(violations(&again), violations(answer), "in the same order");

    let many = json!({"exercises": [{"sets": vec![json!({"reps": -1}); 1000]}]});
    let answer = phone.sync_one(of_type("workout", &many)).await;
    assert_eq!(answer.violations.len(), 20, "bounded");
    assert_eq!(answer.violations[0].path, "/exercises/0/sets/0/reps");
    let sql = service.database.client().await;
    assert_eq!(count(&sql, "select count(*) from entities").await, 2);
}

#[tokio::test]
async fn an_app_may_bring_its_own_names_schemas_and_a_default_policy() {
    let service = TestService::knowing(TestDatabase::new().await, &[], other_names()).await;
    let mut phone = service.device("mia", "phone").await;
    for (entity_type, data) in [
        (
            "workouts",
            json!({"name": "Push day", "order": 1, "status": "completed"}),
        ),
        (
            "logs",
            json!({"startedAt": "2024-02-12T18:30:00Z", "sets": [{"reps": 8}]}),
        ),
        (
            "anything_else",
            json!({"order": "first", "startedAt": "yesterday"}),
        ),
    ] {
        let answer = phone.sync_one(of_type(entity_type, &data)).await;
        assert_eq!(answer.resolution(), Applied, "{entity_type}: {answer:?}");
    }
    for (entity_type, data, expected) in [
        (
            "workouts",
            json!({"status": "done"}),
            (
                "/status",
                r#"expected "scheduled", "in_progress", "completed" or "skipped""#,
            ),
        ),
        (
            "workouts",
            json!({"order": 1.5}),
            ("/order", "expected a whole number"),
        ),
        (
            "logs",
            json!({"startedAt": "yesterday"}),
            ("/startedAt", "expected text of the format date-time"),
        ),
        (
            "logs",
            json!({"sets": [{"reps": 8}, {"reps": -1}]}),
            ("/sets/1/reps", "expected at least 0"),
        ),
    ] {
        let answer = phone.sync_one(of_type(entity_type, &data)).await;
        assert_eq!(answer.error_code(), InvalidData, "{answer:?}");
        assert_eq!(violations(&answer), [expected]);
    }
    let shared = of_type("exercise_catalogue", &json!({}));
    assert_eq!(phone.sync_one(shared).await.error_code(), ReadOnly);
    let policies = policies(&mut phone).await;
    let policies: Vec<(&str, &str)> = policies.iter().map(|(name, p)| (&**name, &**p)).collect();
    assert_eq!(
        policies,
        [
            ("exercise_catalogue", "server_authoritative"),
            ("exercises", "merge_fields"),
            ("heart_rate_series", "last_write_wins"),
            ("logs", "ask"),
            ("records", "merge_max"),
            ("workouts", "ask"),
        ]
    );
}

async fn policies(device: &mut Device) -> Vec<(String, String)> {
    let types = device.server_info().await.entity_types.into_iter();
    types.map(|info| (info.entity_type, info.policy)).collect()
}

#[tokio::test]
async fn a_type_that_is_removed_keeps_its_data_and_goes_on_when_it_is_listed_again() {
    let mut before = TestService::knowing(TestDatabase::new().await, &[], other_names()).await;
    let log = of_type("logs", &json!({"minutes": 60}));
    let id = log.entity_id.parse().expect("a UUID");
    let mut phone = before.device("mia", "phone").await;
    assert_eq!(phone.sync_one(log.clone()).await.resolution(), Applied);
    let delete = || SyncItem {
        entity_type: "logs".to_owned(),
        ..delete(id, 1)
    };
    before.stop().await.expect("stopped");

    let removed = TestService::on(before.database.clone(), &[]).await;
    let mut phone = removed.device("mia", "phone").await;
    let refused = phone.sync_one(delete()).await;
    assert_eq!(refused.error_code(), UnknownEntityType);
    let (entities, _) = phone.pull_all(phone.page_after("")).await;
    assert_eq!(entities.len(), 1, "it is still pulled");
    assert_eq!(
        (entities[0].entity_type.as_str(), entities[0].version),
        ("logs", 1)
    );

    let again = TestService::knowing(before.database.clone(), &[], other_names()).await;
    let mut phone = again.device("mia", "phone").await;
    assert_eq!(phone.sync_one(delete()).await.resolution(), Applied);
    let back = SyncItem {
        version: 2,
        mutation_id: Uuid::new_v4().to_string(),
        ..log
    };
    assert_eq!(phone.sync_one(back).await.resolution(), Resurrected);
}
