//! The dashboard asks for what there is: every panel has data once devices do a little of everything.

use std::collections::BTreeSet;

use serde_json::Value;

use super::load::load;
use super::told::{LISTEN, Told};
use crate::support::TestService;

const DASHBOARD: &str = include_str!("../../deploy/grafana/dashboards/ironflow-sync.json");

/// A query of a panel.
struct Query {
    panel: String,
    expression: String,
}

fn queries() -> Vec<Query> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let mut queries = Vec::new();
    let mut titles = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        if panel["type"] == "row" {
            continue;
        }
        assert!(titles.insert(title.to_owned()), "{title} is there twice");
        assert!(panel["description"].is_string(), "{title} explains nothing");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title} asks nothing");
        for target in targets {
            queries.push(Query {
                panel: title.to_owned(),
                expression: target["expr"].as_str().expect("a query").to_owned(),
            });
        }
    }
    queries
}

/// A metric with the conditions on its labels.
struct Selector<'a> {
    name: &'a str,
    /// Label, whether it is a pattern, and what is wanted.
    conditions: Vec<(&'a str, bool, &'a str)>,
}

/// The metrics of an expression; each is written with braces.
fn selectors(expression: &str) -> Vec<Selector<'_>> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some((before, after)) = rest.split_once('{') {
        let begins = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (conditions, next) = after.split_once('}').expect("closed");
        found.push(Selector {
            name: &before[begins.map_or(0, |place| place + 1)..],
            conditions: conditions.split(", ").map(condition).collect(),
        });
        rest = next;
    }
    found
}

fn condition(text: &str) -> (&str, bool, &str) {
    let (label, wanted) = text.split_once('=').expect("a condition");
    let pattern = wanted.strip_prefix('~');
    let wanted = pattern.unwrap_or(wanted).trim_matches('"');
    (label, pattern.is_some(), wanted)
}

/// The labels an expression keeps apart, except the ones that Prometheus makes.
fn groups(expression: &str) -> impl Iterator<Item = &str> {
    let groups = expression.split(" by (").skip(1);
    let labels = groups.flat_map(|group| group.split(')').next().unwrap_or_default().split(", "));
    labels.filter(|label| !["le", "instance"].contains(label))
}

#[tokio::test]
async fn every_panel_has_data_when_devices_do_a_little_of_everything() {
    let service = TestService::with(&LISTEN).await;
    let _watching = load(&service, "mia").await;
    let told = Told::by(&service).await;
    let queries = queries();
    assert!(queries.len() > 30, "{}", queries.len());
    for Query { panel, expression } in &queries {
        let selectors = selectors(expression);
        assert!(
            !selectors.is_empty(),
            "{panel} is of no metric: {expression}"
        );
        for Selector { name, conditions } in &selectors {
            assert_eq!(conditions[0], ("instance", true, "$instance"), "{panel}");
            // What is not there yet is told as 0.
            let conditions = match expression.ends_with(" or vector(0)") {
                true => &[],
                false => &conditions[1..],
            };
            let fits = |sample: &str| {
                sample.split(['{', ' ']).next() == Some(name)
                    && conditions.iter().all(|(label, pattern, wanted)| {
                        let mut wanted = wanted.split(|c| *pattern && c == '|');
                        wanted.any(|wanted| sample.contains(&format!("{label}=\"{wanted}\"")))
                    })
            };
            let found = told.samples().any(|(sample, _)| fits(sample));
            assert!(found, "{panel}: no {name} as in {expression}");
            for label in groups(expression) {
                let labels = told.labels(name, label);
                assert!(!labels.is_empty(), "{panel}: {name} has no {label}");
            }
        }
    }
}

#[tokio::test]
async fn every_metric_is_on_the_dashboard() {
    let service = TestService::with(&LISTEN).await;
    let _watching = load(&service, "mia").await;
    let queries = queries();
    let asked: Vec<&str> = queries
        .iter()
        .flat_map(|query| selectors(&query.expression))
        .map(|selector| selector.name)
        .collect();
    for name in Told::by(&service).await.families().keys() {
        let bucket = format!("{name}_bucket");
        let shown = asked.iter().any(|asked| *asked == name || *asked == bucket);
        assert!(shown, "{name} is on no panel");
    }
}
