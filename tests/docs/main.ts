// Calls the push of the README once: main.js URL TOKEN.
import { create } from "@bufbuild/protobuf";
import { Resolution } from "./gen/ironflow/sync/v1/resolution_pb";
import { SyncItemSchema } from "./gen/ironflow/sync/v1/sync_pb";
import { push } from "./push";

const [url, token] = process.argv.slice(2);
const item = create(SyncItemSchema, {
  entityType: "workout",
  entityId: crypto.randomUUID(),
  operation: "create",
  data: new TextEncoder().encode('{"title":"Push day"}'),
});
void push(url!, token!, "my-phone", 1n, [item]).then(([result]) => {
  console.log(Resolution[result!.resolution], result!.serverVersion);
});
