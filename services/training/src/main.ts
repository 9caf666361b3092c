import { runService } from "@mistral-sae/rpc";
import { readConfig } from "./config.ts";
import { openTraining } from "./open-training.ts";

const config = readConfig(process.env);
const training = await openTraining(config);
await runService({
  name: "training",
  listen: config.listen,
  services: training.services,
  ready: async () => {
    training.recover();
    await Promise.resolve();
  },
  close: () => training.close(),
});
