import type { TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { nextPageToken, pageStart, type Handlers } from "@mistral-sae/rpc";
import type { TrainingParts } from "./training-handlers.ts";

type SweepHandlers = Pick<Handlers<typeof TrainingService>, "createSweep" | "getSweep" | "listSweeps" | "stopSweep">;

export function sweepHandlers({ sweeps, sweepMaker }: Pick<TrainingParts, "sweeps" | "sweepMaker">): SweepHandlers {
  return {
    createSweep: async (request, { signal }) => {
      const asked = await sweepMaker.ask(request, signal);
      if (asked.kind === "known") return { sweep: await sweeps.retryFailed(asked.sweep, request.validateOnly) };
      return { sweep: request.validateOnly ? sweeps.draft(asked.facts, asked.runs) : sweeps.start(asked.facts, asked.runs) };
    },
    getSweep: async ({ name }) => await Promise.resolve({ sweep: sweeps.message(sweeps.row(name)) }),
    listSweeps: async (request) => {
      const { size, after } = pageStart(request, "sweeps");
      const rows = sweeps.store.page(size + 1, after === undefined ? undefined : Number(after));
      const page = rows.slice(0, size);
      const last = page.at(-1);
      const nextToken = rows.length > size && last !== undefined ? nextPageToken(String(last.seq), "sweeps") : "";
      return await Promise.resolve({ sweeps: page.map((row) => sweeps.message(row)), nextPageToken: nextToken });
    },
    stopSweep: async ({ name }) => await Promise.resolve({ sweep: sweeps.stop(name) }),
  };
}
