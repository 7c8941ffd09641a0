//! Which logins the service can work with: an owner of the tables that is no superuser, and one that owns
//! nothing.

use ironflow_sync::domain::catalog::Catalog;
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::scope::{Scope, UserId};
use ironflow_sync::grpc::proto::Resolution::{Applied, NeedsUser};
use ironflow_sync::retention::{Retention, RetentionOptions};
use ironflow_sync::store::Store;
use ironflow_sync::store::migrations::{MigrationError, migrate};
use serde_json::json;
use tokio_postgres::{Client, Config};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::database::connect;
use crate::support::{TestDatabase, TestService, put};

/// A login of a test, gone with it.
struct Login {
    name: String,
    sql: Client,
}

impl Login {
    async fn new(database: &TestDatabase) -> Self {
        let name = format!("ironflow_test_{}", Uuid::new_v4().simple());
        let sql = database.client().await;
        let create = format!("create role {name} login");
        sql.batch_execute(&create).await.expect("a login");
        Self { name, sql }
    }

    async fn may(&self, right: &str) {
        let grant = right.replace("LOGIN", &self.name);
        self.sql.batch_execute(&grant).await.expect("granted");
    }

    fn config(&self, database: &TestDatabase) -> Config {
        let mut config = database.config();
        config.user(&self.name);
        config
    }

    /// Takes the login away, with what it owns.
    async fn end(self) {
        let drop = format!("drop owned by {0}; drop role {0}", self.name);
        self.sql.batch_execute(&drop).await.expect("dropped");
    }
}

/// Everything a service does in a day, once.
async fn works(store: Store, database: TestDatabase) -> TestService {
    let service = TestService::over(store.clone(), database, &[]).await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let id = Uuid::new_v4();
    for (base, title) in [(0, "a"), (1, "b")] {
        let answer = phone
            .sync_one(put(id, base, &json!({ "title": title })))
            .await;
        assert_eq!(answer.resolution(), Applied);
    }
    let answer = tablet.sync_one(put(id, 1, &json!({"title": "c"}))).await;
    assert_eq!(answer.resolution(), NeedsUser);
    let (seen, _) = tablet.pull_all(tablet.page_after("")).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(tablet.status().await.open_conflicts, 1);
    let retention = Retention::new(
        store,
        Catalog::builtin().into(),
        RetentionOptions::default(),
    );
    let stop = CancellationToken::new();
    let compacted = retention.run_once(Millis(1_900_000_000_000), &stop).await;
    assert!(compacted.expect("compacts").finished);
    let mut leaving = service.device("zoe", "phone").await;
    let answer = leaving.sync_one(put(id, 0, &json!({}))).await;
    assert_eq!(answer.resolution(), Applied);
    assert_eq!(leaving.export_all().await.len(), 4);
    leaving.leave_for_good().await;
    service
}

#[tokio::test]
async fn an_owner_that_is_no_superuser_is_behind_the_wall_too() {
    // The roles exist: other databases of the server have been migrated.
    let database = TestDatabase::without_tables().await;
    migrate(&TestDatabase::without_tables().await.store())
        .await
        .expect("migrates");
    let login = Login::new(&database).await;
    login.may("grant create on schema public to LOGIN").await;
    let config = login.config(&database);
    let store = Store::new(config.clone(), 4).expect("a pool");
    let refused = migrate(&store).await;
    match &refused {
        Err(MigrationError::NotAllowed { migration, problem }) => {
            assert_eq!(*migration, "0004_isolation");
            let typed = format!("grant ironflow_sync_service to {};", login.name);
            assert!(problem.contains(&typed), "{problem}");
        }
        other => panic!("{other:?}"),
    }
    for role in ["ironflow_sync_service", "ironflow_sync_keeper"] {
        login.may(&format!("grant {role} to LOGIN")).await;
    }
    migrate(&store).await.expect("migrates");

    let service = works(store.clone(), database).await;
    let zoe = Scope::of(&UserId::new("zoe").expect("an id"));
    let marks = store.list_erasures(None, 9).await.expect("marks");
    assert_eq!(marks.len(), 1);
    assert!(store.reopen(&zoe).await.expect("opened"));
    assert!(!store.is_erased(&zoe).await.expect("an answer"));
    assert_eq!(store.remember_erasures(&marks).await.expect("put back"), 1);
    let owner = connect(&config).await;
    let count = "select count(*) from entities";
    let seen: i64 = owner.query_one(count, &[]).await.expect("a count").get(0);
    assert_eq!(seen, 0, "the owner sees no more than the service");
    drop(owner);
    login.end().await;
    drop(service);
}

#[tokio::test]
async fn a_login_that_owns_nothing_serves_what_an_owner_has_migrated() {
    let database = TestDatabase::new().await;
    let login = Login::new(&database).await;
    let grant = "grant ironflow_sync_service, ironflow_sync_keeper to LOGIN";
    login.may(grant).await;
    let store = Store::new(login.config(&database), 4).expect("a pool");
    assert!(migrate(&store).await.expect("nothing to do").is_empty());
    let service = works(store.clone(), database).await;
    store.new_epoch().await.expect_err("that is the owner's");
    let zoe = Scope::of(&UserId::new("zoe").expect("an id"));
    store.reopen(&zoe).await.expect_err("that is the owner's");
    login.end().await;
    drop(service);
}
