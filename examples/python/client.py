"""Two devices of one lifter: push, conflict, resolve, pull, watch.

    cargo run                                             # the service, in a terminal of its own
    python3 -m venv venv && venv/bin/pip install -r examples/python/requirements.txt
    IRONFLOW_TOKEN=$(cargo run -q -- token --user lifter) venv/bin/python examples/python/client.py

The stubs are made from proto/ as it starts (by grpcio-tools). Reading order: main is the story, Device what every
client needs. The rules it cites are those of docs/clients.md.
"""

import json
import os
import sys
import time
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../proto"))
pb, service = grpc.protos_and_services("ironflow/sync/v1/sync.proto")
resolution, pulls, conflicts = (
    grpc.protos(f"ironflow/sync/v1/{name}.proto") for name in ("resolution", "pull", "conflicts"))

# "When to try again"; a real client makes each up to a fifth longer by chance.
WAITS_S = [30, 60, 300, 900, 3600]
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL}


class Device:
    """One installation of an app. A real one keeps all of this in its database, rule by rule."""

    def __init__(self, stub, name):
        self.stub, self.id = stub, f"{name}-{uuid.uuid4()}"
        self.metadata = [("authorization", f"Bearer {os.environ['IRONFLOW_TOKEN']}")]
        self.copies, self.queue, self.cursor, self.count = {}, [], "", 0

    def call(self, method, request):
        """Makes a call until it is answered: the same request, so that nothing is done twice (rule 4)."""
        asked, waits = 10, iter(WAITS_S)
        while True:
            try:
                return method(request, metadata=self.metadata, timeout=30)
            except grpc.RpcError as error:
                wait_s = retry_after_s(error) if asked else None
                asked -= wait_s is not None
                if wait_s is None and error.code() in AWAY:
                    wait_s = next(waits, None)
                if wait_s is None:
                    raise
                time.sleep(wait_s)

    def edit(self, entity_id, data):
        """Queues an edit based on the version the person saw, under a name of its own (rule 2)."""
        self.queue.append(pb.SyncItem(
            entity_type="workout", entity_id=entity_id, operation="update", data=json.dumps(data).encode(),
            version=self.copies.get(entity_id, (0, None))[0], timestamp=int(time.time() * 1000),
            mutation_id=str(uuid.uuid4())))

    def push(self):
        """Sends what waits as one batch, with the next number, and takes the answers (rules 3 and 5)."""
        self.count += 1
        response = self.call(self.stub.Sync, pb.SyncRequest(
            device_id=self.id, items=self.queue, client_time=int(time.time() * 1000), batch_number=self.count))
        for item, result in zip(self.queue, response.results):
            if result.status == pb.SYNC_STATUS_ERROR:
                print("  set aside:", result.error_message)
                continue
            is_ours = result.status == pb.SYNC_STATUS_SUCCESS
            self.adopt(item.entity_id, result.server_version, item.data if is_ours else result.server_data)
            print(f"  {resolution.Resolution.Name(result.resolution)}, version {result.server_version}")
        self.queue = []
        return response.results

    def pull(self):
        """Reads what the others changed, page by page (rule 6)."""
        more = True
        while more:
            page = self.call(self.stub.Pull, pulls.PullRequest(
                device_id=self.id, cursor=self.cursor, batch_number=self.count, include_own=not self.count))
            self.see(page.entities)
            self.cursor, more = page.cursor, page.has_more

    def watch(self):
        """What happens after the cursor, as it happens (rule 8)."""
        return self.stub.Watch(pulls.WatchRequest(
            device_id=self.id, cursor=self.cursor, batch_number=self.count), metadata=self.metadata)

    def resolve(self, asked, choice, data):
        """Tells what the person decided about the version they saw (rule 9), counted like a batch (rule 3)."""
        self.count += 1
        answer = self.call(self.stub.ResolveConflict, conflicts.ResolveConflictRequest(
            device_id=self.id, conflict_id=asked.conflict.conflict_id, choice=choice, data=data,
            expected_version=asked.server_version, batch_number=self.count))
        self.adopt(answer.conflict.entity_id, answer.server.version, answer.server.data)
        print(f"  {conflicts.ResolveStatus.Name(answer.status)}, version {answer.server.version}")

    def see(self, entities):
        """Takes what a page shows, whatever was held before (rule 6)."""
        for entity in entities:
            self.copies[entity.entity_id] = (entity.version, json.loads(entity.data) if entity.data else None)

    def adopt(self, entity_id, version, data):
        """Takes what an answer says the server holds, unless something newer is known (rule 5)."""
        if version >= self.copies.get(entity_id, (0, None))[0]:
            self.copies[entity_id] = (version, json.loads(data) if data else None)


def retry_after_s(error):
    """How long the service asks to wait, if it does."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.ToTimedelta().total_seconds()
    return None


def main(address):
    stub = service.SyncServiceStub(grpc.insecure_channel(address))
    phone, tablet, workout = Device(stub, "phone"), Device(stub, "tablet"), str(uuid.uuid4())
    bench, squat = {"id": "bench", "name": "Bench 3x225"}, {"id": "squat", "name": "Squat 3x315"}

    print("The phone pushes a workout, the tablet pulls it")
    phone.edit(workout, {"title": "Push day", "exercises": []})
    phone.push()
    tablet.pull()

    print("Both edit it offline; the tablet is online first, then the phone")
    phone.edit(workout, {"title": "Push day", "exercises": [bench]})
    tablet.edit(workout, {"title": "Push day", "exercises": [squat]})
    tablet.push()
    [answer] = phone.push()

    print("The person is asked on the phone, and keeps both; the tablet watches")
    events = tablet.watch()
    phone.resolve(answer, conflicts.CHOICE_USE_DATA, answer.conflict.proposed_data)
    for event in events:
        tablet.see(event.changes.entities)
        if tablet.copies[workout] == phone.copies[workout]:
            break
    events.cancel()
    version, data = tablet.copies[workout]
    print(f"Both hold version {version}:", ", ".join(exercise["name"] for exercise in data["exercises"]))


if __name__ == "__main__":
    main(*sys.argv[1:] or ["127.0.0.1:50051"])
