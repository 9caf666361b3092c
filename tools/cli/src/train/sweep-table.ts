import type { Sweep, SweepResult } from "@mistral-sae/contracts/mistral_sae/training/v1/sweep";
import { TrainingRunStateSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import type { Column } from "../format.ts";
import { badInput, formatCount, formatNumber, formatSeconds, formatTable } from "../output.ts";

/** Figures that a table can be sorted by, beside the axes. */
const FIGURES: Readonly<Record<string, (row: SweepResult) => number | undefined>> = {
  fvu: ({ fvu }) => fvu,
  l0: ({ l0 }) => l0,
  dead_fraction: ({ deadFraction }) => deadFraction,
  ce_recovered: ({ ceRecovered }) => ceRecovered,
  kl_recovered: ({ klRecovered }) => klRecovered,
  train_seconds: ({ trainSeconds }) => trainSeconds,
  step: ({ step }) => Number(step),
};

/** How a table is sorted: by an axis or a figure, the smallest first. */
export interface SortOptions {
  readonly sort?: string | undefined;
  readonly desc?: boolean | undefined;
}

/** The results of a sweep, sorted; rows without the value come last. Throws bad input on a name that is no column. */
export function sortedResults({ axes, results }: { readonly axes: readonly { readonly field: string }[]; readonly results: readonly SweepResult[] }, { sort, desc = false }: SortOptions): SweepResult[] {
  if (sort === undefined) return [...results];
  const name = sort.replaceAll("-", "_");
  const figure = FIGURES[name];
  const fields = axes.map(({ field }) => field);
  if (figure === undefined && !fields.includes(name)) throw badInput("the table has no such column", { field: "--sort", got: sort, wanted: [...fields, ...Object.keys(FIGURES)].join(", ") });
  const keyOf = (row: SweepResult): number | string | undefined => {
    if (figure !== undefined) return figure(row);
    const text = row.values[name];
    return text === undefined || Number.isNaN(Number(text)) ? text : Number(text);
  };
  return results.toSorted((a, b) => {
    const [one, other] = [keyOf(a), keyOf(b)];
    if (one === undefined || other === undefined) return Number(one === undefined) - Number(other === undefined);
    const order = typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));
    return desc ? -order : order;
  });
}

/** One line a run: the values of its axes, its state and its figures. */
export function sweepTable({ axes, results }: Pick<Sweep, "axes" | "results">): string {
  const percent = (share: number | undefined): string => (share === undefined ? "" : `${formatNumber(share * 100)}%`);
  const begun = (row: SweepResult): boolean => row.fvu > 0 || row.l0 > 0;
  const columns: Column<SweepResult>[] = [
    { header: "run", cell: ({ trainingRun }) => trainingRun.slice("trainingRuns/".length) },
    ...axes.map(({ field }) => ({ header: field, cell: ({ values }: SweepResult) => values[field] ?? "" })),
    { header: "state", cell: ({ state }) => stateWord(state) },
    { header: "step", cell: ({ step }) => formatCount(step), align: "right" },
    { header: "FVU", cell: (row) => (begun(row) ? row.fvu : ""), align: "right" },
    { header: "L0", cell: (row) => (begun(row) ? row.l0 : ""), align: "right" },
    { header: "dead", cell: (row) => (begun(row) ? percent(row.deadFraction) : ""), align: "right" },
    { header: "CE rec.", cell: ({ ceRecovered }) => percent(ceRecovered), align: "right" },
    { header: "KL rec.", cell: ({ klRecovered }) => percent(klRecovered), align: "right" },
    { header: "train", cell: ({ trainSeconds }) => (trainSeconds > 0 ? formatSeconds(trainSeconds) : ""), align: "right" },
  ];
  return formatTable(results, columns);
}

/** TRAINING_RUN_STATE_SUCCEEDED as "succeeded". */
export function stateWord(state: string): string {
  return (TrainingRunStateSchema.values.find(({ name }) => name === state)?.localName ?? state).toLowerCase();
}
