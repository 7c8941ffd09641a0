//! Whether everything the service needs is there: looked at one by one, each with what to type.

mod checks;

use std::error::Error;

use serde::Serialize;
use thiserror::Error as ThisError;

use super::ask::print_json;
use super::print;
use super::table::table;
use crate::config::Config;
use crate::error::with_causes;

/// Something is not as it has to be.
#[derive(Debug, ThisError)]
#[error("the service cannot run like this: {0} of the checks failed")]
struct Ill(usize);

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Finding {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// The service cannot run, or nobody can use it.
    Fail,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    status: Finding,
    found: String,
    advice: Option<String>,
}

#[derive(Serialize)]
struct Findings {
    ok: bool,
    checks: Vec<Check>,
}

impl Check {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            status: Finding::Ok,
            found: found.into(),
            advice: None,
        }
    }

    fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check,
            status: Finding::Warn,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }

    fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Finding::Fail,
            ..Self::warn(check, found, advice)
        }
    }

    /// What failed, in the words of its error; those say what to do.
    fn failed(check: &'static str, error: &dyn Error) -> Self {
        Self {
            check,
            status: Finding::Fail,
            found: with_causes(error),
            advice: None,
        }
    }

    fn row(&self) -> [String; 3] {
        let status = match self.status {
            Finding::Ok => "ok",
            Finding::Warn => "warn",
            Finding::Fail => "fail",
        };
        let advice = self.advice.as_ref().map(|advice| format!(" -> {advice}"));
        let found = format!("{}{}", self.found, advice.unwrap_or_default());
        [status.to_owned(), self.check.to_owned(), found]
    }
}

/// Looks at everything, changes nothing, and fails if something has to be done first.
pub(super) async fn run(config: &Config, json: bool) -> Result<(), Box<dyn Error>> {
    let mut checks = checks::of_this_machine(config);
    checks.extend(checks::of_the_database(config).await);
    checks.push(checks::tokens(config).await);
    let failed = checks
        .iter()
        .filter(|check| check.status == Finding::Fail)
        .count();
    let findings = Findings {
        ok: failed == 0,
        checks,
    };
    match json {
        true => print_json(&findings)?,
        false => {
            let rows: Vec<[String; 3]> = findings.checks.iter().map(Check::row).collect();
            print(&table(["", "what", "found"], &rows));
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Ill(failed).into()),
    }
}
