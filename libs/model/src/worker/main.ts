import { parentPort, workerData } from "node:worker_threads";
import { forwardCommands } from "../commands/forward.ts";
import { generateCommands } from "../commands/generate.ts";
import { saeCommands } from "../commands/saes.ts";
import { scoreCommands } from "../commands/score.ts";
import { readModelSource } from "../graph/model-source.ts";
import { ModelRuntime } from "../runtime/model-runtime.ts";
import { requireProvider } from "../runtime/provider.ts";
import { toMessage } from "./error-message.ts";
import { describeModel } from "../graph/describe-model.ts";
import { openingId, type CommandHandlers, type Reply, type Request, type WorkerSettings } from "./protocol.ts";
import { transferables } from "./transfer.ts";
import { WorkQueue, type Work } from "./work-queue.ts";

const port = parentPort;
if (port === null) throw new Error("this file runs in a worker thread");
const settings = workerData as WorkerSettings;

function reply(message: Reply): void {
  port?.postMessage(message, "result" in message ? transferables(message.result) : []);
}

function serve(runtime: ModelRuntime): void {
  const handlers: CommandHandlers = { ...forwardCommands(runtime), ...scoreCommands(runtime), ...generateCommands(runtime), ...saeCommands(runtime) };
  const queue = new WorkQueue();
  let busy = false;

  const run = async (work: Work): Promise<void> => {
    if (work.name === "open") return;
    if (work.name === "close") {
      await runtime.close();
      reply({ id: work.id, result: undefined });
      port?.close();
      return;
    }
    try {
      const handler = handlers[work.name] as (args: unknown) => Promise<unknown>;
      reply({ id: work.id, result: await handler(work.args) });
    } catch (error) {
      reply({ id: work.id, error: toMessage(error) });
    }
  };

  const drain = async (): Promise<void> => {
    if (busy) return;
    busy = true;
    for (let work = queue.take(); work !== undefined; work = queue.take()) {
      await run(work);
      // Lets messages that arrived meanwhile in, so that the most urgent work is taken next.
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
    }
    busy = false;
  };

  port?.on("message", (request: Request) => {
    if ("drop" in request) {
      const dropped = queue.drop(request.drop);
      if (dropped !== undefined) reply({ id: dropped.id, result: undefined });
      return;
    }
    if (request.name === "close") queue.clear();
    queue.push(request);
    void drain();
  });
}

try {
  await requireProvider(settings.provider);
  const source = await readModelSource(settings.modelDir, settings.maxContext, settings.provider);
  const opened = await describeModel(source);
  serve(new ModelRuntime(source, settings));
  reply({ id: openingId, result: opened });
} catch (error) {
  reply({ id: openingId, error: toMessage(error) });
  port.close();
}
