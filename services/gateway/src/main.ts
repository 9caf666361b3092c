import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runService } from "@mistral-sae/rpc";
import { BackendStates } from "./backend-states.ts";
import { readConfig } from "./config.ts";
import { gatewayServices, serviceNamesOf } from "./gateway.ts";
import { healthReport } from "./health-report.ts";
import { type Edge, startEdge } from "./http-server.ts";
import { openAiRoutes } from "./openai/routes.ts";
import { readPage } from "./page-files.ts";

const config = readConfig(process.env);
const services = gatewayServices(config.backends);
const states = new BackendStates(config.backends);
const consoleFolder = dirname(fileURLToPath(import.meta.resolve("@mistral-sae/console/package.json")));
let edge: Edge | undefined;

const server = await runService({
  name: "gateway",
  listen: config.listen,
  services,
  maxReceiveBytes: config.maxRequestBytes,
  ready: async (server) => {
    edge = await startEdge({
      ...config,
      listen: config.httpListen,
      services,
      page: readPage(join(consoleFolder, "src")),
      openAi: openAiRoutes(config),
      health: () => healthReport(states, server.address, edge?.address),
    });
  },
  close: async () => {
    states.stop();
    await edge?.close();
  },
});

// Only now: being ready has set every service to SERVING, and these are as their backends are.
await states.start((backend, serving) => {
  for (const name of serviceNamesOf(backend)) server.setServing(name, serving);
});
