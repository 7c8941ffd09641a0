//! The question of the demo, and waiting for a person.

use std::{io, thread};

use tokio::sync::oneshot;

use super::screen::Screen;
use crate::config::Side;

/// The question, as an app would put it.
pub(super) const QUESTION: &str = "keep phone / keep tablet / merge both?";

/// Asks until the answer is one. Nothing but Enter, or an end of the input, means the proposed merge.
pub(super) async fn choose(screen: Screen) -> io::Result<Side> {
    loop {
        screen.ask(&format!("{QUESTION} [p, t or m; Enter merges]"));
        match side_of(&line().await?) {
            Some(side) => return Ok(side),
            None => screen.say("Expected one of: phone, tablet, merge."),
        }
    }
}

/// A line, when Enter was pressed. Empty at the end of the input.
///
/// A thread of its own waits for it, not one of the runtime: those are waited for when the demo is stopped,
/// and nothing stops one that reads.
pub(super) async fn line() -> io::Result<String> {
    let (sender, line) = oneshot::channel();
    thread::Builder::new().spawn(move || {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line).map(|_| line);
        // Nobody listens any more when the demo was stopped.
        let _ = sender.send(read);
    })?;
    line.await.map_err(io::Error::other)?
}

fn side_of(answer: &str) -> Option<Side> {
    let answer = answer.trim().to_lowercase();
    match answer.strip_prefix("keep ").unwrap_or(&answer) {
        "p" | "phone" => Some(Side::Phone),
        "t" | "tablet" => Some(Side::Tablet),
        "" | "m" | "merge" | "merge both" => Some(Side::Merge),
        _ => None,
    }
}
