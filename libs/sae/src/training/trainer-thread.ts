import { parentPort, workerData } from "node:worker_threads";
import { TrainingEngine } from "./engine.ts";
import { initialise } from "./initialise.ts";
import { compileKernels } from "./kernels.ts";
import { planLayout } from "./layout.ts";
import { failureOf, type TrainerReply, type TrainerRequest, type TrainerThreadData } from "./trainer-messages.ts";
import { TrainerMemory } from "./trainer-memory.ts";

const { config, init } = workerData as TrainerThreadData;
const port = parentPort!;
const reply = (message: TrainerReply): void => port.postMessage(message);

async function serve(): Promise<void> {
  const memory = TrainerMemory.allocate(planLayout(config), compileKernels());
  initialise(memory, config, init);
  const engine = await TrainingEngine.start(config, memory);
  const answer = async (request: TrainerRequest): Promise<void> => {
    try {
      if (request.kind === "step") return reply({ kind: "stepped", metrics: await engine.step(request.slot) });
      await engine.close();
      reply({ kind: "closed" });
      port.close();
    } catch (error) {
      reply({ kind: "failed", error: failureOf(error) });
    }
  };
  // Requests wait for each other: onnxruntime gives the thread back between its runs.
  let last = Promise.resolve();
  port.on("message", (request: TrainerRequest) => {
    last = last.then(() => answer(request));
  });
  reply({ kind: "ready", shared: memory.shared });
}

try {
  await serve();
} catch (error) {
  reply({ kind: "failed", error: failureOf(error) });
}
