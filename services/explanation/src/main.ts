import { runService } from "@mistral-sae/rpc";
import { createLogger, serverCalls, startTelemetry } from "@mistral-sae/telemetry";
import { readConfig } from "./config.ts";
import { openExplanationService } from "./open-service.ts";

const config = readConfig(process.env);
const telemetry = await startTelemetry({ serviceName: "mistral-sae-explanation" });
const logger = createLogger("explanation");
const service = await openExplanationService(config);
await runService({
  name: "explanation",
  listen: config.listen,
  services: service.implementations,
  observer: serverCalls,
  ready: async () => {
    const taken = service.engine.recover();
    if (taken.length > 0) logger.info("operations taken up", { operations: taken.map(({ name }) => name) });
  },
  close: async () => {
    await service.close();
    await telemetry.shutdown();
  },
});
