//! A history page by page: nothing twice, nothing missing, no page too long.

use ironflow_sync::grpc::proto::{ListVersionsRequest, ListVersionsResponse, SyncItem};
use uuid::Uuid;

use super::{contested, edit, history, keys, of, phone_and_tablet};
use crate::support::TestService;

#[tokio::test]
async fn tiny_pages_neither_miss_nor_repeat_while_others_write() {
    let service = TestService::start().await;
    let id = contested(&service, "mia").await;
    let [mut phone, mut tablet] = phone_and_tablet(&service, "mia").await;
    let before = keys(&history(&mut phone, of("workout", id)).await);
    let writes = async {
        for n in 0..10 {
            let title = format!("later {n}");
            let forced = SyncItem {
                force: true,
                ..edit("workout", id, 5, Some(&title))
            };
            tablet.sync_one(forced).await;
            phone.sync_one(edit("workout", id, 1, Some(&title))).await;
        }
    };
    let mut readers = Vec::new();
    for page_size in [1, 2, 3, 7] {
        let [mut reader, _] = phone_and_tablet(&service, "mia").await;
        let request = ListVersionsRequest {
            page_size,
            ..of("workout", id)
        };
        readers.push(tokio::spawn(async move {
            let mut all = Vec::new();
            for _ in 0..3 {
                all.push(keys(&history(&mut reader, request.clone()).await));
            }
            all
        }));
    }
    writes.await;
    for reader in readers {
        for seen in reader.await.expect("pages") {
            let known: Vec<_> = seen.iter().filter(|key| before.contains(key)).collect();
            assert_eq!(known, before.iter().collect::<Vec<_>>());
            let mut once = seen.clone();
            once.sort();
            once.dedup();
            assert_eq!(once.len(), seen.len(), "something came twice");
        }
    }
}

#[tokio::test]
async fn a_page_ends_at_about_a_mebibyte_and_goes_on_behind_it() {
    let service = TestService::start().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    let id = Uuid::new_v4();
    for base in 0..9 {
        let title = "x".repeat(240_000) + &base.to_string();
        phone
            .sync_one(edit("workout", id, base, Some(&title)))
            .await;
    }
    let mut request = of("workout", id);
    let mut sizes = Vec::new();
    loop {
        let page = phone.list_versions(request.clone()).await.expect("a page");
        let ListVersionsResponse {
            entries,
            next_page_token,
        } = page;
        let bytes: usize = entries.iter().map(|entry| entry.data.len()).sum();
        assert!(bytes <= 1024 * 1024);
        sizes.push(entries.len());
        request.page_token = next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(sizes, [4, 4, 1]);
}

#[tokio::test]
async fn a_page_is_as_long_as_asked_within_bounds() {
    let service = TestService::start().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    let id = Uuid::new_v4();
    for chunk in 0..2 {
        let items = (0..300).map(|n| edit("workout", id, 0, Some(&format!("{chunk} {n}"))));
        phone.sync(items.collect()).await;
    }
    for (page_size, expected) in [(0, 100), (1, 1), (500, 500), (501, 500), (i32::MAX, 500)] {
        let request = ListVersionsRequest {
            page_size,
            ..of("workout", id)
        };
        let page = phone.list_versions(request).await.expect("a page");
        assert_eq!(page.entries.len(), expected, "{page_size}");
        let last = page.entries.last().expect("entries").version;
        assert_eq!(page.next_page_token, last.to_string(), "{page_size}");
    }
    let exactly = ListVersionsRequest {
        page_size: 100,
        page_token: "101".to_owned(),
        ..of("workout", id)
    };
    let page = phone.list_versions(exactly).await.expect("a page");
    let ends = (page.entries.len(), page.next_page_token.as_str());
    assert_eq!(ends, (100, ""), "nothing is left");
}
