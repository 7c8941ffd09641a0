//! A real training log, imported twice, and then edited on two devices.

use super::run;
use crate::support::TestService;

#[tokio::test]
async fn a_training_log_is_imported_once_however_often_it_is_imported() {
    let service = TestService::start().await;
    let first = import(&service, &[]).await;
    assert!(first.contains("\n129 APPLIED\n"), "{first}");
    let again = import(&service, &[]).await;
    assert!(again.contains("\n129 UNCHANGED\n"), "{again}");

    let client = service.database.client().await;
    let count = "select count(*), count(distinct entity_id), max(version) from entities";
    let row = client.query_one(count, &[]).await.expect("a count");
    let counted: (i64, i64, i32) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(counted, (129, 129, 1));
    let sets = "select count(*) from entities, \
        jsonb_path_query(data, '$.exercises[*].sets[*]') where entity_type = 'workout_session'";
    let sets: i64 = client.query_one(sets, &[]).await.expect("a count").get(0);
    assert_eq!(sets, 2078);
}

#[tokio::test]
async fn an_imported_workout_keeps_what_the_export_says() {
    let service = TestService::start().await;
    import(&service, &[]).await;
    let client = service.database.client().await;
    let find = "select (data - 'exercises')::text, (data #> '{exercises,0,name}')::text, \
        (data #> '{exercises,0,sets,3}')::text \
        from entities where data->>'date' = '2021-02-10T16:46:13'";
    let row = client.query_one(find, &[]).await.expect("one workout");
    let found: [String; 3] = [row.get(0), row.get(1), row.get(2)];
    let expected = [
        r#"{"date": "2021-02-10T16:46:13", "title": "Mittwoch", "duration": 138}"#,
        r#""Bench Press (Barbell)""#,
        r#"{"reps": 6, "order": 4, "weight": 75.0, "seconds": 0, "distance": 0}"#,
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_edit_on_an_old_base_shows_both_versions() {
    let service = TestService::start().await;
    let shown = import(&service, &["--conflict"]).await;
    for expected in [
        "both from version 1",
        "phone:  APPLIED, version 2",
        "tablet: NEEDS_USER, the server holds 2",
        "written by device phone (Phone)",
        "server, version 2",
        "tablet, from version 1",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let notes = shown.lines().find(|line| line.starts_with("* notes"));
    let notes = notes.expect("the notes differ");
    let server = notes.find("New personal best").expect("the server's side");
    let tablet = notes.find("Slept badly").expect("the tablet's side");
    assert!(server < tablet, "{notes}");

    let again = import(&service, &[]).await;
    assert!(again.contains("\n128 UNCHANGED\n"), "{again}");
    assert!(again.contains("\n1 NEEDS_USER\n"), "{again}");
}

async fn import(service: &TestService, arguments: &[&str]) -> String {
    run("import_strong", service, arguments).await
}
