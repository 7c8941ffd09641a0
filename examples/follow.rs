//! Follows an account as a second device: pulls everything, then prints each change as it happens.
//!
//! ```sh
//! cargo run                                             # the service, in a terminal of its own
//! export IRONFLOW_TOKEN=$(cargo run -q -- token --user lifter)
//! cargo run --example follow                            # ends with Ctrl-C
//! cargo run --example import_strong                     # in a third terminal: watch it arrive
//! ```
//!
//! Reading order: [`catch_up`] pulls page by page, [`follow`] keeps a stream open from there,
//! [`report`] prints a change, [`client`] is what every client needs.

mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{Entity, PullRequest, WatchRequest};
use serde_json::{Map, Value};
use tonic::Status;
use tonic_types::StatusExt;

use client::{Account, Connection, Patience, described};

/// Follows an account of Ironflow Sync as a device of its own.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    account: Account,
    /// The device to follow as
    #[arg(long, default_value = "follower")]
    device: String,
    /// End when everything that is there has been pulled
    #[arg(long)]
    once: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = tokio::select! {
        ended = run(&arguments) => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("follow: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let device = Device {
        connection: Connection::open(&arguments.account).await?,
        id: arguments.device.clone(),
    };
    loop {
        let ended = async {
            let cursor = catch_up(&device).await?;
            if arguments.once {
                return Ok(());
            }
            follow(&device, cursor).await
        };
        match ended.await {
            // An app keeps the edits it has not pushed yet; this one has none.
            Err(status) if is_cursor_reset(&status) => {
                println!("The server was restored from a backup: starting again");
            }
            Err(status) => return Err(described(&status).into()),
            Ok(()) => return Ok(()),
        }
    }
}

/// One installation of an app.
struct Device {
    connection: Connection,
    id: String,
}

/// Pulls everything there is and prints how much that is. Returns the cursor behind it.
async fn catch_up(device: &Device) -> Result<String, Status> {
    let bar = ProgressBar::no_length();
    let mut patience = Patience::default();
    let mut store: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let request = device.connection.request(PullRequest {
            device_id: device.id.clone(),
            cursor: cursor.clone(),
            ..PullRequest::default()
        });
        let page = match device.connection.client().pull(request).await {
            Ok(response) => response.into_inner(),
            Err(status) => {
                patience.wait(status).await?;
                continue;
            }
        };
        patience = Patience::default();
        bar.inc(page.entities.len() as u64);
        bar.set_length(bar.position() + page.remaining.max(0) as u64);
        // While others write an entity may come twice, and one that came may be deleted later.
        for entity in page.entities {
            let ids = store.entry(entity.entity_type).or_default();
            if entity.deleted {
                ids.remove(&entity.entity_id);
            } else {
                ids.insert(entity.entity_id);
            }
        }
        cursor = page.cursor;
        if !page.has_more {
            break;
        }
    }
    bar.finish_and_clear();
    let count: usize = store.values().map(BTreeSet::len).sum();
    println!("{count} entities on the server");
    for (entity_type, ids) in store {
        println!("{} {entity_type}", ids.len());
    }
    Ok(cursor)
}

/// Prints what happens after a cursor, until waiting for the service is of no use any more.
async fn follow(device: &Device, mut cursor: String) -> Result<(), Status> {
    println!("Following, Ctrl-C ends it");
    // On a terminal, one line that says that the stream is alive; elsewhere nothing.
    let alive = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        alive.set_style(style);
    }
    alive.enable_steady_tick(Duration::from_millis(200));
    let mut patience = Patience::default();
    loop {
        let Err(status) = watch(device, &mut cursor, &alive, &mut patience).await;
        alive.set_message(format!("{}, trying again", described(&status)));
        patience.wait(status).await?;
    }
}

/// Follows one stream until it ends, and moves the cursor along.
async fn watch(
    device: &Device,
    cursor: &mut String,
    alive: &ProgressBar,
    patience: &mut Patience,
) -> Result<Infallible, Status> {
    let request = device.connection.request(WatchRequest {
        device_id: device.id.clone(),
        cursor: cursor.clone(),
        ..WatchRequest::default()
    });
    let mut stream = device
        .connection
        .client()
        .watch(request)
        .await?
        .into_inner();
    loop {
        let message = stream.message().await?;
        let message = message.ok_or_else(|| Status::unavailable("the stream ended"))?;
        *patience = Patience::default();
        match message.event {
            Some(Event::Changes(changes)) => {
                for entity in &changes.entities {
                    alive.suspend(|| report(entity));
                }
                *cursor = changes.cursor;
            }
            Some(Event::CaughtUp(caught_up)) => {
                alive.set_message("live");
                *cursor = caught_up.cursor;
            }
            Some(Event::Heartbeat(heartbeat)) => {
                alive.set_message(format!("live, heard at {}", utc(heartbeat.server_time)));
                *cursor = heartbeat.cursor;
            }
            Some(Event::Conflict(conflict)) => {
                let state = if conflict.open { "waits" } else { "is settled" };
                alive.suspend(|| {
                    println!(
                        "a conflict about {} {} {state}",
                        conflict.entity_type, conflict.entity_id
                    );
                });
            }
            // From a newer server.
            None => (),
        }
    }
}

/// Prints a change on one line: `workout_session "Push day" of "2021-02-10T16:46:13", version 2, by
/// "phone"`.
fn report(entity: &Entity) {
    // A tombstone has no data.
    let data: Map<String, Value> = serde_json::from_slice(&entity.data).unwrap_or_default();
    let text = |key: &str| data.get(key).and_then(Value::as_str);
    // Quoted, so that no text can do things to the terminal.
    let name = text("title").or_else(|| text("name"));
    let name = name.map_or_else(|| entity.entity_id.clone(), |name| format!("{name:?}"));
    let date = text("date").map_or_else(String::new, |date| format!(" of {date:?}"));
    let deleted = if entity.deleted { ", deleted" } else { "" };
    println!(
        "{} {name}{date}, version {}, by {:?}{deleted}",
        entity.entity_type, entity.version, entity.device_id
    );
}

/// The time of day: `16:46:13 UTC`.
fn utc(time_ms: i64) -> String {
    let seconds = time_ms / 1000;
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02} UTC", seconds % 60)
}

fn is_cursor_reset(status: &Status) -> bool {
    let info = status.get_details_error_info();
    info.is_some_and(|info| info.reason == "CURSOR_RESET")
}
