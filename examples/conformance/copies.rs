//! Section 9: two installations with one device id, noticed by the device's own count of its batches; and devices
//! that are revoked.

use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::{
    PullRequest, RevokeDeviceRequest, RevokeDeviceResponse, SyncItem, SyncRequest,
};
use tonic::{Code, Status};

use crate::check::{Checked, Finding, broken, ensure, expect, refused, refused_for, settled, told};
use crate::client::described;
use crate::device::Device;
use crate::record::{WORKOUT, note};
use crate::subject::Subject;

/// A batch with a number.
fn numbered(device: &Device<'_>, batch_number: i64, items: &[SyncItem]) -> SyncRequest {
    SyncRequest {
        items: items.to_vec(),
        batch_number,
        ..device.batch()
    }
}

/// A number larger than any the counting device has had, in this run or an earlier one: the server's clock goes
/// on, whatever was kept of earlier runs. The next few are free too.
async fn next_number(subject: &Subject) -> Checked<i64> {
    const FREE: i64 = 10;
    let by_clock = subject.counting().now().await? * 1_000;
    let next = by_clock.max(subject.last_number.get() + FREE);
    subject.last_number.set(next);
    Ok(next)
}

fn reused<T>(what: &str, came: Result<T, Status>) -> Checked {
    refused(what, came, Code::FailedPrecondition, "DEVICE_ID_REUSED").map(drop)
}

pub async fn same_batch_again(subject: &Subject) -> Checked {
    let counting = subject.counting();
    let workout = subject.fresh(WORKOUT).await?;
    let number = next_number(subject).await?;
    let batch = numbered(&counting, number, &[workout.put(0, &note("a"))]);
    for _ in 0..2 {
        let answer = counting.sync(batch.clone()).await?;
        for result in &answer.results {
            settled("a counted batch", result, Applied, 1)?;
        }
    }
    let next = numbered(&counting, number + 1, &[workout.put(1, &note("b"))]);
    let came: Vec<String> = counting
        .sync(next)
        .await?
        .results
        .iter()
        .map(told)
        .collect();
    expect(
        "the next batch",
        came,
        vec!["SUCCESS APPLIED, version 2".to_owned()],
    )
}

pub async fn same_number_with_other_edits(subject: &Subject) -> Checked {
    let counting = subject.counting();
    let (one, two) = (subject.fresh(WORKOUT).await?, subject.fresh(WORKOUT).await?);
    let number = next_number(subject).await?;
    counting
        .sync(numbered(&counting, number, &[one.put(0, &note("a"))]))
        .await?;
    let came = counting
        .sync(numbered(&counting, number, &[two.put(0, &note("b"))]))
        .await;
    reused("the same number with other edits", came)?;
    expect(
        "what was written all the same",
        counting.held(subject, &two).await?,
        None,
    )
}

pub async fn smaller_number(subject: &Subject) -> Checked {
    let counting = subject.counting();
    let workout = subject.fresh(WORKOUT).await?;
    let number = next_number(subject).await?;
    counting.sync(numbered(&counting, number + 1, &[])).await?;
    let came = counting
        .sync(numbered(&counting, number, &[workout.put(0, &note("a"))]))
        .await;
    reused("a batch with a smaller number", came)?;
    expect(
        "what was written all the same",
        counting.held(subject, &workout).await?,
        None,
    )?;
    let page = |batch_number: i64| PullRequest {
        batch_number,
        ..counting.page(&[WORKOUT.name], "")
    };
    reused(
        "a pull with a smaller number",
        counting.pull(page(number)).await,
    )?;
    let watch = counting.watch(page(number)).await;
    let ended = match watch {
        Ok(mut stream) => stream.message().await.map(drop),
        Err(status) => Err(status),
    };
    reused("a watch with a smaller number", ended)?;
    counting.pull(page(number + 1)).await?;
    Ok(())
}

pub async fn devices_that_do_not_count(subject: &Subject) -> Checked {
    let counting = subject.counting();
    let number = next_number(subject).await?;
    counting.sync(numbered(&counting, number, &[])).await?;
    counting.sync(numbered(&counting, 0, &[])).await?;
    counting.pull(counting.page(&[WORKOUT.name], "")).await?;
    let came = counting.sync(numbered(&counting, -1, &[])).await;
    refused_for("a negative batch_number", came, "batch_number")
}

async fn revoke(device: &Device<'_>, device_id: &str) -> Result<RevokeDeviceResponse, Status> {
    let device_id = device_id.to_owned();
    device
        .call(
            RevokeDeviceRequest { device_id },
            async |mut client, request| client.revoke_device(request).await,
        )
        .await
}

pub async fn revoked_devices(subject: &Subject) -> Checked {
    let (phone, lost) = (subject.phone(), subject.lost());
    let workout = subject.fresh(WORKOUT).await?;
    // Only an operator gives a device back: in all runs but the first it is revoked already.
    match lost.sync(lost.batch()).await {
        Ok(_) => (),
        Err(status) if status.code() == Code::PermissionDenied => (),
        Err(status) => return broken(format!("expected an answer, came {}", described(&status))),
    }
    let since = revoke(&phone, lost.id).await?.revoked_time;
    ensure(since > 0, || "revoked_time; it is 0".to_owned())?;
    let again = revoke(&phone, lost.id).await?.revoked_time;
    expect("revoked_time, asked again", again, since)?;
    let batch = SyncRequest {
        items: vec![workout.put(0, &note("a"))],
        ..lost.batch()
    };
    let denied = Code::PermissionDenied;
    refused(
        "a push of a revoked device",
        lost.sync(batch).await,
        denied,
        "DEVICE_REVOKED",
    )?;
    let page = lost.page(&[WORKOUT.name], "");
    refused(
        "a pull of a revoked device",
        lost.pull(page).await,
        denied,
        "DEVICE_REVOKED",
    )?;
    let status = lost.get_status().await;
    refused(
        "GetStatus of a revoked device",
        status,
        denied,
        "DEVICE_REVOKED",
    )?;
    expect(
        "what was written all the same",
        phone.held(subject, &workout).await?,
        None,
    )?;
    let status = phone.get_status().await?;
    let listed = status
        .devices
        .into_iter()
        .find(|device| device.device_id == lost.id);
    match listed {
        Some(device) => expect("revoked_time in GetStatus", device.revoked_time, since),
        None if status_is_cut(&phone).await? => Ok(()),
        None => Err(Finding::Broken(
            "expected it to stay in the list of devices; it is gone".to_owned(),
        )),
    }
}

/// GetStatus lists the 100 devices that were seen last: a long revoked one may not be among them.
async fn status_is_cut(device: &Device<'_>) -> Checked<bool> {
    Ok(device.get_status().await?.devices.len() >= 100)
}

pub async fn revoking_an_unknown_device(subject: &Subject) -> Checked {
    let phone = subject.phone();
    for device_id in ["conformance-never-seen", ""] {
        let came = revoke(&phone, device_id).await;
        refused_for(&format!("revoking {device_id:?}"), came, "device_id")?;
    }
    Ok(())
}
