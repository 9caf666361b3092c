import { durationMs } from "@bufbuild/protobuf/wkt";
import type { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import type { Handlers } from "@mistral-sae/rpc";
import type { JobEngine } from "./job-engine.ts";

/** OperationService over an engine. */
export function operationHandlers(engine: JobEngine): Handlers<typeof OperationService> {
  return {
    getOperation: async ({ name }) => ({ operation: engine.get(name) }),
    listOperations: async (request) => engine.list(request),
    cancelOperation: async ({ name }) => ({ operation: engine.cancel(name) }),
    resumeOperation: async ({ name }) => ({ operation: await engine.resume(name) }),
    deleteOperation: async ({ name }) => {
      engine.delete(name);
      return {};
    },
    waitOperation: async ({ name, timeout }, { signal, deadline }) => {
      const asked = timeout === undefined ? undefined : durationMs(timeout);
      // A little is kept back, so that the answer arrives before the caller gives up.
      const left = deadline === undefined ? undefined : Math.max(0, deadline.getTime() - Date.now() - 50);
      const timeoutMs = asked === undefined ? left : Math.min(asked, left ?? asked);
      const operation = await engine.wait(name, { signal, ...(timeoutMs === undefined ? {} : { timeoutMs }) });
      return { operation };
    },
    async *watchOperation({ name }, { signal }) {
      for await (const operation of engine.watch(name, { signal })) yield { operation };
    },
  };
}
