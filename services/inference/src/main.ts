import { runService } from "@mistral-sae/rpc";
import { readConfig } from "./config.ts";
import { createInferenceServices } from "./service.ts";

const config = readConfig(process.env);
const { services, load, close } = await createInferenceServices(config);
await runService({ name: "inference", listen: config.listen, services, ready: load, close });
