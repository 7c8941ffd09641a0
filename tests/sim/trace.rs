//! What happened, as text, for people and to compare one run with another.

use std::fmt::Write as _;

use super::call::{Answered, Call, Reply};

/// Takes notes, if anybody wants them.
#[derive(Debug, Clone)]
pub struct Trace(Option<String>);

impl Trace {
    /// Nobody wants them.
    pub fn none() -> Self {
        Self(None)
    }

    pub fn kept() -> Self {
        Self(Some(String::new()))
    }

    pub fn text(self) -> String {
        self.0.unwrap_or_default()
    }

    pub fn line(&mut self, line: impl FnOnce() -> String) {
        if let Some(text) = &mut self.0 {
            text.push_str(&line());
            text.push('\n');
        }
    }

    /// A call as the server saw it, and its answer.
    pub fn exchange(&mut self, call: &Call, answered: &Answered) {
        self.line(|| format!("    {}\n    -> {}", asked(call), said(answered)));
    }
}

fn asked(call: &Call) -> String {
    match call {
        Call::Sync(request) => {
            let (device, number) = (&request.device_id, request.batch_number);
            let mut text = format!("{device} pushes batch {number}");
            for item in &request.items {
                let data = String::from_utf8_lossy(&item.data);
                let _ = write!(
                    text,
                    "\n        {} {}/{} base {} {} {data}",
                    item.operation,
                    item.entity_type,
                    tail(&item.entity_id),
                    item.version,
                    tail(&item.mutation_id),
                );
            }
            text
        }
        Call::Pull(request) => {
            let from = match request.cursor.as_str() {
                "" => "the beginning",
                _ => "its cursor",
            };
            let (device, number) = (&request.device_id, request.batch_number);
            format!("{device} reads from {from} ({number})")
        }
        Call::Resolve(request) => format!("{request:?}"),
        Call::List => "what waits?".to_owned(),
        Call::Look(request) => format!("what is {}?", request.conflict_id),
    }
}

fn said(answered: &Answered) -> String {
    match answered {
        Ok(Reply::Synced(response)) => {
            let results = response.results.iter().map(|result| {
                format!(
                    "{} {} {} {}",
                    result.resolution().as_str_name(),
                    result.error_code().as_str_name(),
                    result.server_version,
                    String::from_utf8_lossy(&result.server_data),
                )
            });
            results.collect::<Vec<_>>().join("\n       ")
        }
        Ok(Reply::Page(page)) => {
            let mut text = format!("has_more {}", page.has_more);
            for entity in &page.entities {
                let _ = write!(
                    text,
                    "\n        {}/{} version {} by {} {}",
                    entity.entity_type,
                    tail(&entity.entity_id),
                    entity.version,
                    entity.device_id,
                    String::from_utf8_lossy(&entity.data),
                );
            }
            text
        }
        other => format!("{other:?}"),
    }
}

/// The end of a UUID.
fn tail(id: &str) -> &str {
    id.get(id.len().saturating_sub(4)..).unwrap_or(id)
}
