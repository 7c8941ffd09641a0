//! The catalog of entity types: read from its file, checked, shown.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error as ThisError;

use super::print;
use crate::config::{CatalogCommand, Config};
use crate::domain::catalog::{Catalog, Problem};

/// Why there is no catalog.
#[derive(Debug, ThisError)]
pub(super) enum CatalogError {
    #[error("{0}: expected a catalog to read")]
    Unreadable(String, #[source] std::io::Error),
    #[error("the catalog cannot be used:\n{}", lines(.0, .1))]
    Bad(String, Vec<Problem>),
}

/// The problems as editors and people find them: `file:line:column: key: expected ..`.
fn lines(file: &str, problems: &[Problem]) -> String {
    let lines = problems.iter().map(|problem| format!("{file}:{problem}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The catalog in effect: the file that is set, or the built-in one.
pub(super) fn in_effect(config: &Config) -> Result<Catalog, CatalogError> {
    match &config.catalog {
        Some(file) => Ok(read(file)?.1),
        None => Ok(Catalog::builtin()),
    }
}

/// Runs a catalog command.
pub(super) fn run(config: &Config, command: CatalogCommand) -> Result<(), Box<dyn Error>> {
    match (command, &config.catalog) {
        (CatalogCommand::Check { file }, _) => {
            let (_, catalog) = read(&file)?;
            let types = catalog.types().count();
            let others = match catalog.default_policy() {
                Some(policy) => format!("all others by {}", policy.name()),
                None => "all others are refused".to_owned(),
            };
            print(&format!(
                "{}: {types} entity types, {others}\n",
                file.display()
            ));
        }
        (CatalogCommand::Show, Some(file)) => {
            let (text, _) = read(file)?;
            // Quoted, so that no name of a file can end the comment.
            print(&format!(
                "# The catalog in {:?}\n{text}",
                file.display().to_string()
            ));
        }
        (CatalogCommand::Show, None) => print(Catalog::BUILTIN),
    }
    Ok(())
}

/// The text of a catalog, and what it says. Schema files lie beside it.
fn read(file: &Path) -> Result<(String, Catalog), CatalogError> {
    let name = || file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| CatalogError::Unreadable(name(), error))?;
    // Of no use in UTF-8, and `show` puts a line before the text.
    let text = text.trim_start_matches('\u{feff}').to_owned();
    let folder = file.parent().map(Path::to_owned).unwrap_or_default();
    let read_schema = |schema_file: &str| {
        let path: PathBuf = folder.join(schema_file);
        fs::read_to_string(path)
            .map_err(|error| format!("a file to read, beside the catalog: {error}"))
    };
    let catalog = Catalog::parse(&text, &read_schema);
    let catalog = catalog.map_err(|problems| CatalogError::Bad(name(), problems))?;
    Ok((text, catalog))
}
