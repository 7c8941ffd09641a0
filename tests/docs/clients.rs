//! What a client is told to do is told for every answer the service can give, and for no other.

use std::collections::BTreeSet;

use super::{descriptors, read};

/// The values of an enum of the protocol, without their prefix and the unspecified one.
fn values(name: &str, prefix: &str) -> BTreeSet<String> {
    let files = descriptors().file;
    let mut enums = files.iter().flat_map(|file| &file.enum_type);
    let found = enums.find(|found| found.name() == name).expect(name);
    let values = found.value.iter().filter(|value| value.number() != 0);
    let plain = values.map(|value| value.name().strip_prefix(prefix).expect(prefix).to_owned());
    plain.collect()
}

/// The rows of the tables of the page whose head begins so: their cells.
fn rows(page: &str, head: &str) -> Vec<Vec<String>> {
    let lines = page.lines().skip_while(|line| !line.starts_with(head));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<String>> = rows
        .map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "no table with the head {head}");
    rows
}

/// The names in backquotes in a column of a table.
fn named(page: &str, head: &str, column: usize) -> BTreeSet<String> {
    let rows = rows(page, head);
    let cells = rows.iter().map(|cells| cells[column].as_str());
    cells.flat_map(quoted).collect()
}

fn quoted(cell: &str) -> Vec<String> {
    let parts = cell.split('`').skip(1).step_by(2);
    parts.map(str::to_owned).collect()
}

#[test]
fn every_answer_to_an_item_or_a_decision_has_its_row() {
    let page = read("docs/clients.md");
    for (name, prefix, head, column) in [
        ("Resolution", "RESOLUTION_", "| status | resolution |", 2),
        ("ErrorCode", "ERROR_CODE_", "| status | error code |", 2),
        (
            "ResolveStatus",
            "RESOLVE_STATUS_",
            "| `ResolveConflict` |",
            1,
        ),
    ] {
        assert_eq!(named(&page, head, column), values(name, prefix), "{name}");
    }
    let mut statuses: BTreeSet<String> = BTreeSet::new();
    for head in ["| status | resolution |", "| status | error code |"] {
        statuses.extend(rows(&page, head).into_iter().map(|cells| cells[1].clone()));
    }
    assert_eq!(statuses, values("SyncStatus", "SYNC_STATUS_"));
}

#[test]
fn every_reason_a_call_fails_for_has_its_row() {
    let page = read("docs/clients.md");
    // The one bridge from errors to statuses: what is written there in capitals is a reason.
    let bridge = read("src/grpc/status.rs");
    let capitals = |text: &&str| {
        let is_capital = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
        text.len() > 1 && text.bytes().all(is_capital)
    };
    let literals = bridge.split('"').skip(1).step_by(2);
    let reasons: BTreeSet<String> = literals.filter(capitals).map(str::to_owned).collect();
    assert!(reasons.len() > 20, "the reasons are elsewhere: {reasons:?}");
    let head = "| code | reason |";
    assert_eq!(named(&page, head, 2), reasons);

    let codes: BTreeSet<String> = bridge
        .split("Code::")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next())
        .map(screaming)
        .collect();
    let told: BTreeSet<String> = rows(&page, head)
        .into_iter()
        .map(|cells| cells[1].clone())
        .collect();
    assert_eq!(told, codes);
}

#[test]
fn reasons_stand_beside_the_code_they_come_with() {
    let page = read("docs/clients.md");
    let bridge = read("src/grpc/status.rs");
    let pairs = bridge.split("(Code::").skip(1).filter_map(|rest| {
        let (code, rest) = rest.split_once(", \"")?;
        let is_pair = code.chars().all(char::is_alphanumeric);
        is_pair.then(|| (screaming(code), rest.split('"').next().unwrap_or_default()))
    });
    let rows = rows(&page, "| code | reason |");
    let mut checked = 0;
    for (code, reason) in pairs {
        let row = rows
            .iter()
            .find(|cells| quoted(&cells[2]).iter().any(|named| named == reason));
        assert_eq!(row.map(|cells| &cells[1]), Some(&code), "{reason}");
        checked += 1;
    }
    assert!(
        checked > 15,
        "the pairs are written in another way: {checked}"
    );
}

/// `NotFound` as `NOT_FOUND`.
fn screaming(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}
