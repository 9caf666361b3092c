import { parentPort, workerData } from "node:worker_threads";
import { controlOf, deadPhase, scorePhase, Signal, stopPhase } from "./control.ts";
import { DeadThread } from "./dead-thread.ts";
import type { KernelThreadData } from "./kernel-team.ts";
import { instantiateKernels } from "./kernels.ts";
import { phaseNames, runPhase } from "./phases.ts";
import { ScoreThread } from "./score-thread.ts";

const { module, memory, layout, control, thread } = workerData as KernelThreadData;
const { signals, args, results } = controlOf(layout.threads, control);
const share = { kernels: instantiateKernels(module, memory), layout, memory, args, thread };
const scorer = layout.preselect === undefined ? undefined : await ScoreThread.create(share);
const dead = layout.topsDead ? await DeadThread.create(share) : undefined;
let seen = Atomics.load(signals, Signal.sequence);
parentPort?.postMessage("ready");

for (;;) {
  Atomics.wait(signals, Signal.sequence, seen);
  const sequence = Atomics.load(signals, Signal.sequence);
  if (sequence === seen) continue;
  seen = sequence;
  const phase = signals[Signal.phase]!;
  if (phase === stopPhase) break;
  try {
    if (phase === scorePhase) results[thread] = await scorer!.run();
    else if (phase === deadPhase) results[thread] = await dead!.run();
    else results[thread] = runPhase(phaseNames[phase - 1]!, share);
  } catch {
    // The team's owner waits for every thread, so a trap must be told, not lost with the thread.
    signals[Signal.failed] = thread;
  }
  if (Atomics.sub(signals, Signal.pending, 1) === 1) Atomics.notify(signals, Signal.pending);
}
await scorer?.close();
await dead?.close();
