import { runService } from "@mistral-sae/rpc";
import { createLogger } from "@mistral-sae/telemetry";
import { readConfig } from "./config.ts";
import { openFeatureIndex } from "./service.ts";

const config = readConfig(process.env);
const log = createLogger("feature-index");
const index = await openFeatureIndex(config);
await runService({
  name: "feature-index",
  listen: config.listen,
  services: index.services,
  ready: async () => index.recover(),
  close: () => index.close(),
});
// Without its database the service can do nothing: whoever started it starts both again.
const reason = await index.server.died;
log.error("ClickHouse is gone", { error: reason });
process.exit(1);
