//! The demo: a phone and a tablet of one lifter sync, go offline, disagree and agree again, through the
//! real service on a database of its own.
//!
//! `story` is what is told, `device` the app on either device, `log` their history, `question` and
//! `screen` the terminal, `folder` where the data lies.

mod device;
mod folder;
mod log;
mod question;
mod screen;
mod story;

use std::error::Error;
use std::io::{self, IsTerminal, stdin};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use thiserror::Error as ThisError;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Database, TRIAL_TOKEN_HOURS, TRIAL_USER, now, print, secret, shutdown_signal, sign, trial_user,
};
use crate::config::{Config, Demo, program};
use crate::domain::catalog::Catalog;
use crate::postgres::Cluster;
use crate::server::{self, Service};
use crate::store::migrations::migrate;

use folder::DemoFolder;
use screen::{Screen, Tone};
use story::{Chooser, Story};

/// Two devices and whoever looks on: fewer than any machine allows, so that it is not said.
const CONNECTIONS_MAX: usize = 16;

/// Why a demo ended before its end.
#[derive(Debug, ThisError)]
enum DemoError {
    #[error("the demo was stopped; nothing of it is left behind")]
    Stopped,
    #[error(
        "the demo cannot make a folder in {parent}; name one that can be written: TMPDIR=/var/tmp"
    )]
    Folder { parent: PathBuf, source: io::Error },
    #[error("the terminal cannot be read; say beforehand what to choose: --choose merge")]
    Keyboard(#[source] io::Error),
    #[error("the {device} called {call} and was told {status}")]
    Call {
        device: &'static str,
        call: &'static str,
        status: String,
    },
    #[error("the demo expected {0}; that is a defect, please report it")]
    Unexpected(&'static str),
}

/// Runs the demo. Of the settings given only the log and where the programs of Postgres are count: a
/// service that is set up is left alone.
pub(super) async fn run(given: &Config, demo: &Demo) -> Result<(), Box<dyn Error>> {
    let stopped = stop_signal()?;
    let begun = now();
    let folder = DemoFolder::make(&demo.temp_dir())?;
    let mut config = given.defaults_in(folder.path())?;
    config.limits.connections_max = CONNECTIONS_MAX;
    let stage = Stage {
        screen: Screen::new(demo.is_plain()),
        folder: folder.path(),
        is_kept: demo.keep,
        database: Database::open(&config, "ironflow-sync demo").await?,
    };
    let chooser = match demo.choose {
        Some(side) => Chooser::Argument(side),
        None if stdin().is_terminal() && stage.screen.is_terminal() => Chooser::Person,
        None => Chooser::Nobody,
    };
    let told = stage.serve_and_tell(&config, chooser, stopped).await;
    stage.database.close().await;
    told?;
    if demo.keep {
        folder.keep();
    }
    if !matches!(chooser, Chooser::Person) {
        let elapsed_s = (now().0 - begun.0) as f64 / 1000.0;
        print(&format!("\nDone in {elapsed_s:.1} s.\n"));
    }
    Ok(())
}

/// What the story is told on.
struct Stage<'a> {
    screen: Screen,
    folder: &'a Path,
    is_kept: bool,
    database: Database,
}

impl Stage<'_> {
    /// Serves for as long as the story takes, or until it is stopped.
    async fn serve_and_tell(
        &self,
        config: &Config,
        chooser: Chooser,
        stopped: impl Future<Output = ()>,
    ) -> Result<(), Box<dyn Error>> {
        let store = self.database.store.clone();
        migrate(&store).await?;
        secret::make(self.folder)?;
        let keyring = secret::keyring(config)?;
        let token = sign(config, &keyring, &trial_user()?, TRIAL_TOKEN_HOURS)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let service = Service {
            store,
            keyring,
            catalog: Catalog::builtin(),
            certificates: None,
            metrics: None,
        };
        let end = CancellationToken::new();
        let served = server::serve(service, config, listener, end.clone().cancelled_owned());
        let told = async {
            // The service ends with the story.
            let _end = end.drop_guard();
            tokio::select! {
                biased;
                () = stopped => Err(DemoError::Stopped),
                told = self.tell(address, &token, chooser) => told,
            }
        };
        let (served, told) = tokio::join!(served, told);
        served?;
        Ok(told?)
    }

    async fn tell(
        &self,
        address: SocketAddr,
        token: &str,
        chooser: Chooser,
    ) -> Result<(), DemoError> {
        let screen = self.screen;
        let title = format!("Ironflow Sync {}: the demo", env!("CARGO_PKG_VERSION"));
        print(&format!("{}\n", screen.toned(Tone::Bold, &title)));
        let cluster = self.database.cluster.as_ref();
        let version = cluster.map(Cluster::server_version).unwrap_or_default();
        screen.say(&format!(
            "One lifter with a phone and a tablet, a service on {address}, and a private Postgres\n\
             {version} in {}. Nothing else is touched.",
            self.folder.display()
        ));
        let mut story = Story::new(screen, &format!("http://{address}"), token)?;
        story.tell(chooser).await?;

        screen.step(7, "Where the data lies");
        let folder = self.folder.display();
        let (name, how) = (program(), self.how_to_look(address, story.workout()));
        if self.is_kept {
            screen.say(&format!(
                "It is kept in {folder}. Serve it again, on the same address:\n\n  \
                 {name} --data-dir {folder} --listen {address}\n\n\
                 Then look at every version of the workout, from another shell:\n\n{how}\n\n\
                 And be rid of it: rm -r {folder}"
            ));
            return Ok(());
        }
        match chooser {
            Chooser::Person => {
                screen.say(&format!(
                    "In {folder}, for as long as this runs.\n\
                     Look at every version of the workout, from another shell:\n\n{how}\n"
                ));
                screen.ask("Enter ends the demo and deletes the folder.");
                question::line().await.map_err(DemoError::Keyboard)?;
            }
            Chooser::Argument(_) | Chooser::Nobody => screen.say(&format!(
                "It lay in {folder}, which is deleted now.\n\
                 This keeps it, and tells how to look at it with psql and grpcurl:\n\n  {name} demo --keep"
            )),
        }
        Ok(())
    }

    /// What to type to see the versions of a workout: in the tables, and as a device sees them.
    fn how_to_look(&self, address: SocketAddr, workout: Uuid) -> String {
        let (folder, name) = (self.folder.display(), program());
        let socket = self.database.cluster.as_ref().map(Cluster::socket_dir);
        let socket = socket.unwrap_or(self.folder).display();
        let kind = device::ENTITY_TYPE;
        format!(
            "  psql -h {socket} -U ironflow ironflow -c \\\n    \
             \"select version, device_id, cause, data from changes\n     \
             where entity_id = '{workout}' order by version\"\n\n  \
             TOKEN=$({name} token --user {TRIAL_USER} --data-dir {folder})\n  \
             grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" \\\n    \
             -d '{{\"entity_type\":\"{kind}\",\"entity_id\":\"{workout}\"}}' \\\n    \
             {address} ironflow.sync.v1.SyncService/ListVersions"
        )
    }
}

/// Ends with the first SIGTERM or SIGINT, or when the terminal goes away.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let shutdown = shutdown_signal()?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            () = shutdown => (),
            _ = hangup.recv() => (),
        }
    })
}
