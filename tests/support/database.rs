//! A database for each test, cloned from a migrated template.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, process};

use ironflow_sync::store::Store;
use ironflow_sync::store::migrations::migrate;
use tokio::sync::OnceCell;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

use super::server;

/// Connections of a test's store.
const CONNECTIONS_MAX: usize = 16;

/// A database of its own. Dropped with the value.
pub struct TestDatabase {
    admin: Config,
    config: Config,
}

impl TestDatabase {
    /// A migrated, empty database on the server of this test run.
    pub async fn new() -> Self {
        let admin = server::admin();
        Self::on(admin, template(admin).await).await
    }

    /// A database without any tables.
    pub async fn without_tables() -> Self {
        Self::on(server::admin(), "template1").await
    }

    /// A migrated, empty database on a server of its own that keeps what it commits, for benches.
    pub async fn durable() -> Self {
        let database = Self::on(&server::private(true), "template1").await;
        let store = database.store_with(1);
        migrate(&store).await.expect("migrates");
        store.close();
        database
    }

    async fn on(admin: &Config, template: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ironflow_test_{}_{count}", process::id());
        let client = connect(admin).await;
        let create = format!("create database {name} template {template}");
        client.batch_execute(&create).await.expect("a database");
        let mut config = admin.clone();
        config.dbname(&name);
        Self {
            admin: admin.clone(),
            config,
        }
    }

    /// A migrated, empty database on another server than the one of this test run, which must live
    /// longer.
    pub async fn on_server(admin: &Config) -> Self {
        let database = Self::on(admin, "template1").await;
        let store = database.store_with(1);
        migrate(&store).await.expect("migrates");
        store.close();
        database
    }

    /// How to connect to it.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// How a program connects to it: its `DATABASE_URL`.
    pub fn url(&self) -> String {
        let host = match &self.config.get_hosts()[0] {
            Host::Tcp(host) => host.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let user = self.config.get_user().expect("a user");
        let name = self.config.get_dbname().expect("named");
        let password = self.config.get_password().unwrap_or_default();
        let password = std::str::from_utf8(password).expect("UTF-8");
        format!("host='{host}' port={port} user='{user}' dbname='{name}' password='{password}'")
    }

    /// Copies it while nobody is connected.
    pub async fn copy_to(&self, name: &str) {
        let own = self.config.get_dbname().expect("named");
        let copy = format!("create database {name} template {own}");
        let client = connect(&self.admin).await;
        client.batch_execute(&copy).await.expect("a copy");
    }

    /// Puts a copy in its place.
    pub async fn replace_by(&self, name: &str) {
        let own = self.config.get_dbname().expect("named");
        let client = connect(&self.admin).await;
        for statement in [
            format!("drop database {own} with (force)"),
            format!("create database {own} template {name}"),
        ] {
            client.batch_execute(&statement).await.expect("replaced");
        }
    }

    /// A plain connection to it.
    pub async fn client(&self) -> Client {
        connect(&self.config).await
    }

    /// A store on it.
    pub fn store(&self) -> Store {
        self.store_with(CONNECTIONS_MAX)
    }

    /// A store with so many connections.
    pub fn store_with(&self, connections_max: usize) -> Store {
        Store::new(self.config(), connections_max).expect("a pool")
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let admin = self.admin.clone();
        let name = self.config.get_dbname().expect("named").to_owned();
        // Its own thread: a test's runtime cannot wait while it is being dropped.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let drop = format!("drop database {name} with (force)");
                connect(&admin).await.batch_execute(&drop).await
            })
        })
        .join();
        if !std::thread::panicking() {
            dropped.expect("no panic").expect("the database is dropped");
        }
    }
}

/// All rows of all tables as text, each with the transaction that wrote it: equal only if nothing
/// was written in between, not even the same again.
pub async fn contents(client: &Client) -> Vec<String> {
    let list = "select table_name::text from information_schema.tables \
                where table_schema = 'public' and table_type = 'BASE TABLE' order by 1";
    let mut rows = Vec::new();
    for table in client.query(list, &[]).await.expect("a catalog") {
        let table: String = table.get(0);
        let all = format!("select t.xmin::text || ' ' || t::text from {table} as t order by 1");
        let read = client.query(&all, &[]).await.expect("rows");
        rows.extend(
            read.iter()
                .map(|row| format!("{table}: {}", row.get::<_, String>(0))),
        );
    }
    rows
}

/// Connects, and drives the connection in the background.
pub async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("Postgres answers");
    tokio::spawn(connection);
    client
}

/// The name of the migrated template, made once per server and set of migrations. It is marked as
/// a template only when it is complete, so one left half-made is found out.
async fn template(admin: &Config) -> &'static str {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    TEMPLATE.get_or_init(|| make_template(admin)).await
}

async fn make_template(admin: &Config) -> String {
    const TEMPLATE_LOCK: i64 = 0x7E57;
    let name = format!("ironflow_template_{:016x}", migrations_hash());
    let client = connect(admin).await;
    let lock = "select pg_advisory_lock($1)";
    client
        .execute(lock, &[&TEMPLATE_LOCK])
        .await
        .expect("the lock");
    let find = "select datistemplate from pg_database where datname = $1";
    let found = client.query_opt(find, &[&name]).await.expect("a catalog");
    if !found.is_some_and(|row| row.get("datistemplate")) {
        let remake = [
            format!("drop database if exists {name} with (force)"),
            format!("create database {name}"),
        ];
        for statement in remake {
            client.batch_execute(&statement).await.expect("a template");
        }
        let mut config = admin.clone();
        config.dbname(&name);
        let store = Store::new(config, 1).expect("a pool");
        migrate(&store).await.expect("migrates");
        store.close();
        // A template can only be cloned when nobody is connected to it.
        let idle = "select count(*) from pg_stat_activity where datname = $1";
        let busy = async || -> i64 {
            let row = client.query_one(idle, &[&name]).await.expect("an answer");
            row.get(0)
        };
        while busy().await > 0 {
            tokio::task::yield_now().await;
        }
        let mark = format!("alter database {name} is_template true");
        client.batch_execute(&mark).await.expect("a template");
    }
    let unlock = "select pg_advisory_unlock($1)";
    client
        .execute(unlock, &[&TEMPLATE_LOCK])
        .await
        .expect("the lock is ours");
    name
}

fn migrations_hash() -> u64 {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the migrations")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        fs::read(file).expect("a migration").hash(&mut hasher);
    }
    hasher.finish()
}
