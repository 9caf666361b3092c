import { runService } from "@mistral-sae/rpc";
import { createLogger } from "@mistral-sae/telemetry";
import { readConfig } from "./config.ts";
import { openSteeringService } from "./open-service.ts";

const config = readConfig(process.env);
const logger = createLogger("steering");
const service = await openSteeringService(config);
await runService({
  name: "steering",
  listen: config.listen,
  services: service.implementations,
  ready: async () => {
    const taken = service.engine.recover();
    if (taken.length > 0) logger.info("operations taken up", { operations: taken.map(({ name }) => name) });
  },
  close: service.close,
});
