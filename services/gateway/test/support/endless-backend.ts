// A backend in a process of its own, to be killed: its stream and its call never end.
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { implement, runService } from "@mistral-sae/rpc";

const never = new Promise<never>(() => undefined);

await runService({
  name: "inference",
  listen: "127.0.0.1:0",
  services: [
    implement(InferenceService, {
      getModel: () => never,
      async *forward() {
        yield { hookName: "first" };
        await never;
      },
    }),
  ],
});
