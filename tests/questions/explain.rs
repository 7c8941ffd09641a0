//! Why an entity is as it is.

use ironflow_sync::grpc::proto::Resolution::{
    Applied, ClientWon, Merged, NeedsUser, Resurrected, ServerWon,
};
use ironflow_sync::grpc::proto::restore_version_request::Source;
use ironflow_sync::grpc::proto::{RestoreVersionRequest, SyncItem};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{object, refused, told};
use crate::support::database::contents;
use crate::support::{TestService, delete, put};

fn of_type(entity_type: &str, item: SyncItem) -> SyncItem {
    SyncItem {
        entity_type: entity_type.to_owned(),
        ..item
    }
}

/// The one entity of an answer.
fn only(answer: &Value) -> &Value {
    let entities = answer["entities"].as_array().expect("a list");
    assert_eq!(entities.len(), 1, "{answer}");
    &entities[0]
}

/// An event in short: what happened, by whom, the rule, the policy.
fn short(event: &Value) -> String {
    let text = |name: &str| event[name].to_string().replace('"', "");
    let what = match &*text("event") {
        "version" => format!("v{} {}", event["version"], text("resolution")),
        _ => format!(
            "side of {} at {} {}",
            event["base_version"],
            event["server_version"],
            text("settlement")
        ),
    };
    format!(
        "{what} {} {} {}",
        text("device_id"),
        text("rule"),
        text("policy")
    )
}

fn shorts(entity: &Value) -> Vec<String> {
    let events = entity["events"].as_array().expect("a list");
    events.iter().map(short).collect()
}

#[tokio::test]
async fn every_version_side_and_decision_is_told_in_order_with_rule_and_policy() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await.called("Mia's phone");
    let mut tablet = service.device("mia", "tablet").await;
    let id = Uuid::new_v4();
    let titled = |title: &str| json!({"title": title, "secret": "squats"});
    for (base, title) in [(0, "a"), (1, "b")] {
        let answer = phone.sync_one(put(id, base, &titled(title))).await;
        assert_eq!(answer.resolution(), Applied);
    }
    let asked = tablet.sync_one(put(id, 1, &titled("c"))).await;
    assert_eq!(asked.resolution(), NeedsUser);
    // The person decides on the tablet: its next push knows version 2.
    let decided = tablet.sync_one(put(id, 2, &titled("d"))).await;
    assert_eq!(decided.resolution(), Applied);
    let gone = phone.sync_one(delete(id, 3)).await;
    assert_eq!(gone.resolution(), Applied);
    let wish = RestoreVersionRequest {
        entity_type: "workout".to_owned(),
        entity_id: id.to_string(),
        source: Some(Source::Version(2)),
        expected_version: 4,
        ..RestoreVersionRequest::default()
    };
    let restored = tablet.restore(wish).await.expect("an answer");
    assert!(restored.restored);
    let forced = SyncItem {
        force: true,
        ..put(id, 4, &titled("e"))
    };
    assert_eq!(phone.sync_one(forced).await.resolution(), ClientWon);

    let id_text = id.to_string();
    let question = ["explain", "--user", "mia", "--entity", &id_text];
    let answer = object(&service.database, &question).await;
    let entity = only(&answer);
    assert_eq!(
        shorts(entity),
        [
            "v1 applied phone 2 null",
            "v2 applied phone 3 null",
            "side of 1 at 2 pushed tablet 9 ask",
            "v3 applied tablet 3 null",
            "v4 applied phone 3 null",
            "v5 resurrected tablet 3 null",
            "v6 client_won phone 6 null",
        ]
    );
    assert_eq!(
        (&entity["version"], &entity["deleted"]),
        (&json!(6), &json!(false))
    );
    assert_eq!(entity["events"][4]["deleted"], json!(true));
    assert_eq!(entity["events"][5]["cause"], "restore");
    assert_eq!(entity["events"][2]["settled_version"], 3);
    assert_eq!(entity["events"][0]["device_label"], "Mia's phone");
    assert!(!answer.to_string().contains("squats"), "no data is told");

    let text = told(&service.database, &question).await;
    let mut behind = text.as_str();
    for words in [
        "it was new (rule 2)",
        "nobody was in the way (rule 3)",
        "a person is to decide (rule 9, policy ask); a device pushed its choice: version 3",
        "deleted: the device knew the newest version",
        "a person brought an older version back",
        "the person chose this side (rule 6)",
    ] {
        let (_, rest) = behind
            .split_once(words)
            .unwrap_or_else(|| panic!("{words}, in order:\n{text}"));
        behind = rest;
    }
    assert!(!text.contains("squats"), "{text}");
}

#[tokio::test]
async fn merges_deletions_and_policies_are_put_into_words() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let [volume, setting, deleted] = [0; 3].map(|_| Uuid::new_v4());
    let at = |seconds: i64, item: SyncItem| SyncItem {
        timestamp: 1_700_000_000_000 + seconds * 1_000,
        ..item
    };
    let chest = |base, sets| of_type("volume", put(volume, base, &json!({"chest": sets})));
    let unit = |base, unit| of_type("user_settings", put(setting, base, &json!({"unit": unit})));
    for item in [
        chest(0, 8),
        chest(1, 12),
        at(1, unit(0, "kg")),
        at(9, unit(1, "lb")),
    ] {
        assert_eq!(phone.sync_one(item).await.resolution(), Applied);
    }
    let both = of_type("volume", put(volume, 1, &json!({"chest": 9, "back": 6})));
    for (item, expected) in [(both, Merged), (at(5, unit(1, "stone")), ServerWon)] {
        assert_eq!(tablet.sync_one(item).await.resolution(), expected);
    }
    let titled = |base, title| put(deleted, base, &json!({"title": title}));
    for item in [at(1, titled(0, "a")), at(5, delete(deleted, 1))] {
        assert_eq!(phone.sync_one(item).await.resolution(), Applied);
    }
    let late = tablet.sync_one(at(2, titled(1, "b"))).await;
    assert_eq!(late.resolution(), ServerWon);
    let back = tablet.sync_one(at(9, titled(1, "c"))).await;
    assert_eq!(back.resolution(), Resurrected);

    for (id, expected, words) in [
        (
            volume,
            vec![
                "v1 applied phone 2 null",
                "v2 applied phone 3 null",
                "side of 1 at 2 merged tablet 9 merge_max",
                "v3 merged tablet 9 merge_max",
            ],
            "both edits were merged (rule 9, policy merge_max)",
        ),
        (
            setting,
            vec![
                "v1 applied phone 2 null",
                "v2 applied phone 3 null",
                "side of 1 at 2 server_won tablet 9 last_write_wins",
            ],
            "the policy decided (rule 9, policy last_write_wins); the server's copy stayed",
        ),
        (
            deleted,
            vec![
                "v1 applied phone 2 null",
                "v2 applied phone 3 null",
                "side of 1 at 2 server_won tablet 7 null",
                "v3 resurrected tablet 7 null",
            ],
            "another device had deleted it later than this edit (rule 7)",
        ),
    ] {
        let id = id.to_string();
        let question = ["explain", "--user", "mia", "--entity", &id];
        let answer = object(&service.database, &question).await;
        assert_eq!(shorts(only(&answer)), expected);
        let text = told(&service.database, &question).await;
        assert!(text.contains(words), "{words}:\n{text}");
    }
}

#[tokio::test]
async fn it_is_told_which_device_has_which_version_and_why_one_has_the_old() {
    let mut service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let mut lost = service.device("mia", "lost").await;
    let id = Uuid::new_v4();
    assert_eq!(
        phone.sync_one(put(id, 0, &json!({}))).await.resolution(),
        Applied
    );
    for reader in [&mut tablet, &mut lost] {
        let (_, cursor) = reader.pull_all(reader.page_after("")).await;
        // What it asks to go on from, it has.
        reader
            .pull(reader.page_after(&cursor))
            .await
            .expect("a page");
    }
    let second = phone.sync_one(put(id, 1, &json!({"title": "new"}))).await;
    assert_eq!(second.resolution(), Applied);
    service.stop().await.expect("what was gathered is written");

    let revoke = ["device", "revoke", "--user", "mia", "--device", "lost"];
    told(&service.database, &revoke).await;
    let id = id.to_string();
    let question = [
        "explain", "--user", "mia", "--entity", &id, "--type", "workout",
    ];
    let answer = object(&service.database, &question).await;
    let devices = only(&answer)["devices"].as_array().expect("a list");
    let mut has: Vec<(&str, i64, bool, bool)> = devices
        .iter()
        .map(|device| {
            (
                device["device_id"].as_str().expect("an id"),
                device["seen_version"].as_i64().expect("a version"),
                device["up_to_date"].as_bool().expect("yes or no"),
                device["revoked_time"].is_i64(),
            )
        })
        .collect();
    has.sort_unstable();
    assert_eq!(
        has,
        [
            ("lost", 1, false, true),
            ("phone", 2, true, false),
            ("tablet", 1, false, false),
        ]
    );
    let text = told(&service.database, &question).await;
    let line = |device: &str| {
        let lines = text.lines().rev();
        let found = lines
            .clone()
            .find(|line| line.trim_start().starts_with(device));
        found
            .unwrap_or_else(|| panic!("{device}:\n{text}"))
            .to_owned()
    };
    assert!(line("tablet").contains("version 1"), "{text}");
    assert!(line("tablet").ends_with("at its next pull"), "{text}");
    assert!(line("phone").ends_with("up to date"), "{text}");
    assert!(line("lost").contains("revoked"), "{text}");
}

#[tokio::test]
async fn one_id_under_two_types_is_two_entities_and_others_are_never_told() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut leos = service.device("leo", "leos").await;
    let id = Uuid::new_v4();
    for item in [
        put(id, 0, &json!({})),
        of_type("routine", put(id, 0, &json!({}))),
    ] {
        assert_eq!(phone.sync_one(item).await.resolution(), Applied);
    }
    let his = Uuid::new_v4();
    assert_eq!(
        leos.sync_one(put(his, 0, &json!({}))).await.resolution(),
        Applied
    );

    let (id, his) = (id.to_string(), his.to_string());
    let both = object(
        &service.database,
        &["explain", "--user", "mia", "--entity", &id],
    )
    .await;
    let types: Vec<&Value> = both["entities"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entity| &entity["entity_type"])
        .collect();
    assert_eq!(types, ["routine", "workout"]);
    let one = [
        "explain", "--user", "mia", "--entity", &id, "--type", "routine",
    ];
    assert_eq!(
        only(&object(&service.database, &one).await)["entity_type"],
        "routine"
    );
    for asked in [
        vec!["explain", "--user", "mia", "--entity", &his],
        vec![
            "explain", "--user", "mia", "--entity", &his, "--type", "workout",
        ],
    ] {
        refused(&service.database, &asked, "and never had").await;
    }
}

#[tokio::test]
async fn what_is_unknown_or_no_id_is_said_kindly_and_nothing_is_ever_written() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let id = Uuid::new_v4();
    assert_eq!(
        phone.sync_one(put(id, 0, &json!({}))).await.resolution(),
        Applied
    );
    let sql = service.database.client().await;
    let before = contents(&sql).await;
    let id = id.to_string();
    let long = "u".repeat(1_000);
    for (user, entity, why) in [
        ("nobody", &*id, "nothing of this user"),
        ("Mia", &id, "upper and lower case differ"),
        ("library", &id, "nothing of this user"),
        ("user/mia", &id, "nothing of this user"),
        ("mia'; drop table entities; --", &id, "nothing of this user"),
        ("\u{1b}[2J\u{202e}", &id, "nothing of this user"),
        ("", &id, "--user: expected a user id"),
        (&long, &id, "--user: expected a user id"),
        ("mia", "7", "--entity: expected the id of an entity"),
        ("mia", "' or 1=1 --", "--entity: expected"),
        (
            "mia",
            "00000000-0000-0000-0000-000000000000",
            "and never had",
        ),
    ] {
        let question = ["explain", "--user", user, "--entity", entity];
        refused(&service.database, &question, why).await;
    }
    let of_no_type = [
        "explain", "--user", "mia", "--entity", &id, "--type", "Work out",
    ];
    refused(&service.database, &of_no_type, "--type: expected a name").await;
    phone.leave_for_good().await;
    let gone = ["explain", "--user", "mia", "--entity", &id];
    refused(&service.database, &gone, "was deleted").await;
    let after = contents(&sql).await;
    let tables = |rows: &[String]| rows.iter().filter(|row| row.starts_with("schema")).count();
    assert_eq!(tables(&before), tables(&after));
}
