//! Links lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use super::path;

/// The pages of the repository.
fn pages() -> Vec<PathBuf> {
    let folders = ["", "docs", "docs/adr", "migrations", "examples/data"];
    let files = folders.iter().flat_map(|folder| {
        let entries = fs::read_dir(path(folder)).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path())
    });
    let pages = files.filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    pages.collect()
}

#[test]
fn every_link_of_a_page_leads_to_a_file_and_a_heading() {
    let mut followed = 0;
    for page in pages() {
        let text = prose(&page);
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let to = match file {
                "" => page.clone(),
                file => page.parent().expect("a folder").join(file),
            };
            assert!(to.exists(), "{}: no {target}", page.display());
            assert!(
                heading.is_empty() || headings(&to).iter().any(|found| found == heading),
                "{}: no heading {target}",
                page.display()
            );
            followed += 1;
        }
    }
    assert!(
        followed > 50,
        "links are written in another way: {followed}"
    );
}

/// The text of a page without its blocks of code.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).expect("a page");
    text.split("```").step_by(2).collect()
}

/// The names of a page's headings, as they are linked to.
fn headings(page: &Path) -> Vec<String> {
    let text = prose(page);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let names = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let anchors = names.map(|name| {
        let kept = name
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    });
    anchors.collect()
}
