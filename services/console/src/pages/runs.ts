import type {
  ListTrainingRunsResponseJson,
  SaeEvaluationJson,
  TrainingMetricsJson,
  TrainingRunJson,
  WatchTrainingRunResponseJson,
} from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { call, stream } from "../api.ts";
import { curve } from "../charts.ts";
import { card, failure, h, replace, table } from "../dom.ts";
import { count, idOf, num, percent, seconds, short, word } from "../format.ts";

const CURVES: readonly (readonly [keyof TrainingMetricsJson, string, (value: number) => string])[] = [
  ["fvu", "FVU", (value) => value.toFixed(4)],
  ["l0", "L0", (value) => value.toFixed(2)],
  ["deadFraction", "dead features", (value) => percent(value)],
  ["loss", "loss", (value) => short(value)],
  ["tokensPerSecond", "tokens/s", (value) => count(value)],
  ["lr", "learning rate", (value) => short(value)],
];
const KEPT_POINTS = 600;

/** Training runs: their metrics as they come, and what was measured at the end. */
export async function runsPage(root: HTMLElement, path: readonly string[], _parameters: URLSearchParams, signal: AbortSignal): Promise<void> {
  const { trainingRuns = [] } = await call<ListTrainingRunsResponseJson>("training", "ListTrainingRuns", {}, signal);
  const [wanted] = path;
  const shown = trainingRuns.find(({ name }) => idOf(name) === wanted) ?? trainingRuns[0];
  if (shown === undefined) {
    return replace(root, h("h1", {}, "Runs"), h("p.empty", {}, "No SAE was trained yet. ", h("code", {}, "mistral-sae train --help")));
  }
  const chips = trainingRuns.map((run) => {
    const current = run === shown;
    return h("a.chip", { href: `#/runs/${idOf(run.name)}`, "aria-current": current ? "true" : undefined }, `${idOf(run.name)} `, h("span.soft", {}, stateOf(run)));
  });
  const body = h("div");
  replace(root, h("h1", {}, "Runs"), h("div.toolbar", {}, chips), body);
  await watch(body, shown, signal);
}

async function watch(body: HTMLElement, first: TrainingRunJson, signal: AbortSignal): Promise<void> {
  let run = first;
  let points: TrainingMetricsJson[] = [];
  const summary = h("div");
  const charts = h("div.grid");
  replace(body, summary, h("p"), card("Metrics by step", charts));
  const draw = (): void => {
    replace(summary, h("div.grid", {}, summaryCard(run), run.evaluation === undefined ? undefined : evaluationCard(run.evaluation)));
    replace(charts, CURVES.map(([key, label, show]) => figure(points, key, label, show)));
  };
  draw();
  try {
    for await (const { trainingRun, metrics = [] } of stream<WatchTrainingRunResponseJson>("training", "WatchTrainingRun", { name: run.name }, signal)) {
      run = trainingRun ?? run;
      points = thin([...points, ...metrics]);
      if (!signal.aborted) draw();
    }
  } catch (error) {
    if (!signal.aborted) body.prepend(failure(error));
  }
}

/** Leaves every second point out when there are too many to draw. */
function thin(points: TrainingMetricsJson[]): TrainingMetricsJson[] {
  return points.length <= 2 * KEPT_POINTS ? points : points.filter((_, at) => at % 2 === 0 || at === points.length - 1);
}

function figure(points: readonly TrainingMetricsJson[], key: keyof TrainingMetricsJson, label: string, show: (value: number) => string): HTMLElement {
  const line = points.map((point) => [num(point.step), num(point[key])] as const);
  const last = line.at(-1)?.[1];
  return h("figure", {}, h("figcaption", {}, label, h("strong", {}, last === undefined ? "" : show(last))), curve(line, `${label} by step`));
}

function stateOf(run: TrainingRunJson): string {
  return word(run.state, "TRAINING_RUN_STATE_");
}

function summaryCard(run: TrainingRunJson): HTMLElement {
  const state = stateOf(run);
  const harvesting = state === "harvesting";
  const [done, total] = harvesting ? [num(run.tokensHarvested), num(run.tokensToHarvest)] : [num(run.step), num(run.totalSteps)];
  const { config } = run;
  return card(
    `Run ${idOf(run.name)}`,
    h("p", { "aria-live": "polite" }, h(`span.dot.${state}`), state, run.stateDetail === undefined ? "" : `: ${run.stateDetail}`),
    total > 0 && state !== "succeeded" ? h("progress", { max: total, value: done, "aria-label": "progress" }) : undefined,
    list([
      [harvesting ? "tokens harvested" : "steps", `${count(done)} of ${count(total)}`],
      ["tokens trained", count(run.metrics?.nTrainingTokens)],
      ["hook", config?.hookName ?? ""],
      ["shape", `${count(config?.dSae)} features, k ${config?.k ?? "?"}`],
      ["time", Object.entries(run.stageSeconds ?? {}).map(([stage, spent]) => `${stage} ${seconds(num(spent))}`).join(", ")],
      ["folder", run.saeUri ?? ""],
      ["warnings", (run.warnings ?? []).join("; ")],
    ]),
  );
}

function evaluationCard(evaluation: SaeEvaluationJson): HTMLElement {
  const sources = Object.entries(evaluation.bySource ?? {});
  return card(
    "Measured on held-back text",
    list([
      ["FVU", short(evaluation.fvu)],
      ["L0", short(evaluation.l0)],
      ["dead features", `${count(evaluation.nDead)} (${percent(evaluation.deadFraction)})`],
      ["CE recovered", evaluation.ceRecovered === undefined ? "" : percent(evaluation.ceRecovered)],
      ["cross-entropy", evaluation.ceClean === undefined ? "" : `${short(evaluation.ceClean)} as it is, ${short(evaluation.ceSae)} with the SAE, ${short(evaluation.ceZero)} zeroed`],
      ["tokens", count(evaluation.nTokens)],
    ]),
    sources.length === 0 ? undefined : table(["source", { number: "FVU" }, { number: "L0" }, { number: "tokens" }], sources.map(([name, part]) => [name, short(part.fvu), short(part.l0), count(part.nTokens)])),
  );
}

function list(entries: readonly (readonly [string, string])[]): HTMLElement {
  return h("dl", {}, entries.filter(([, value]) => value !== "").map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}
