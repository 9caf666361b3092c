import { setTimeout } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { TrainingEngine } from "./engine.ts";
import { initialise } from "./initialise.ts";
import { compileKernels } from "./kernels.ts";
import { planLayout } from "./layout.ts";
import { LoopEngine } from "./loop/loop-engine.ts";
import type { StepEngine } from "./step-engine.ts";
import { planLoopLayout } from "./loop/loop-layout.ts";
import { failureOf, type TrainerReply, type TrainerRequest, type TrainerThreadData } from "./trainer-messages.ts";
import { TrainerMemory } from "./trainer-memory.ts";

const { config, init, backend } = workerData as TrainerThreadData;
const port = parentPort!;
const reply = (message: TrainerReply): void => port.postMessage(message);

/** A pause this long ends a group of steps: more than a batch takes to be read and copied, little beside a run on a device. */
const gatherMs = 20;

async function serve(): Promise<void> {
  const memory = TrainerMemory.allocate(backend.kind === "loop" ? planLoopLayout(config) : planLayout(config), compileKernels());
  initialise(memory, config, init);
  const engine: StepEngine = backend.kind === "loop" ? await LoopEngine.start(config, memory, backend.provider) : await TrainingEngine.start(config, memory);
  const queue: TrainerRequest[] = [];
  let working = false;

  /** Runs the steps that wait at the head of the queue, as many at once as the engine takes. */
  const runSteps = async (): Promise<void> => {
    const most = engine.stepsPerRun;
    const end = queue.findIndex(({ kind }) => kind !== "step");
    const slots = queue.splice(0, Math.min(most, end < 0 ? queue.length : end)).flatMap((request) => (request.kind === "step" ? [request.slot] : []));
    try {
      for (const done of await engine.steps(slots)) reply(done instanceof Error ? { kind: "failed", error: failureOf(done) } : { kind: "stepped", metrics: done });
    } catch (error) {
      for (const _ of slots) reply({ kind: "failed", error: failureOf(error) });
    }
  };
  /** Waits for steps that come one behind the other, to run them together. */
  const gather = async (): Promise<void> => {
    for (let seen = 0; seen < queue.length && queue.length < engine.stepsPerRun && queue.at(-1)!.kind === "step"; ) {
      seen = queue.length;
      await setTimeout(gatherMs);
    }
  };
  const work = async (): Promise<void> => {
    if (working) return;
    working = true;
    while (queue.length > 0) {
      if (queue[0]!.kind === "step") {
        if (engine.stepsPerRun > 1) await gather();
        await runSteps();
        continue;
      }
      await engine.close();
      reply({ kind: "closed" });
      port.close();
      return;
    }
    working = false;
  };
  port.on("message", (request: TrainerRequest) => {
    queue.push(request);
    void work();
  });
  reply({ kind: "ready", shared: memory.shared });
}

try {
  await serve();
} catch (error) {
  reply({ kind: "failed", error: failureOf(error) });
}
