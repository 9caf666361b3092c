import type { Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import type { Output, Progress } from "../output.ts";

/** Shows an operation as one progress bar a stage. */
export function operationBars(output: Output, label: string): { readonly show: (operation: Operation) => void; readonly end: () => void } {
  let stage: string | undefined;
  let bar: Progress | undefined;
  return {
    show: ({ progress }) => {
      if (progress === undefined || progress.stage === "") return;
      if (progress.stage !== stage) {
        bar?.finish();
        stage = progress.stage;
        bar = output.progress(stage === label ? label : `${label}: ${stage}`);
      }
      bar?.update({
        done: Number(progress.doneUnits),
        total: Number(progress.totalUnits),
        unit: progress.unit,
        ...(progress.rate > 0 ? { rate: progress.rate } : {}),
      });
    },
    end: () => bar?.finish(),
  };
}
