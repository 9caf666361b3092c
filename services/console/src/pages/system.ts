import type { ListIndexesResponseJson } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { ListModelsResponseJson } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { ListOperationsResponseJson, OperationJson } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { call } from "../api.ts";
import { type Child, card, failure, h, replace, table } from "../dom.ts";
import { count, idOf, num, percent, seconds, short, word } from "../format.ts";
import { pause } from "../pause.ts";
import { listSaes } from "../saes.ts";

interface HealthReport {
  readonly status: string;
  readonly grpc: string;
  readonly services: Readonly<Record<string, { readonly address: string; readonly state: string; readonly detail?: string }>>;
}

const REFRESH_MS = 2000;

/** What runs, what is loaded, what is being worked on; refreshed every two seconds. */
export async function systemPage(root: HTMLElement, _path: readonly string[], _parameters: URLSearchParams, signal: AbortSignal): Promise<void> {
  const sections = [services, operations, models, saes, indexes].map((draw) => ({ draw, holder: h("div") }));
  const [top, work, ...rest] = sections.map(({ holder }) => holder);
  replace(root, h("h1", {}, "System"), h("div.grid", {}, top, work), h("p"), rest);
  while (!signal.aborted) {
    await Promise.all(
      sections.map(async ({ draw, holder }) => {
        const content = await draw(signal).catch((error: unknown) => failure(error));
        // What a person is about to press must not be replaced under the hand.
        if (!signal.aborted && !holder.contains(document.activeElement)) replace(holder, content);
      }),
    );
    await pause(REFRESH_MS, signal);
  }
}

async function services(signal: AbortSignal): Promise<HTMLElement> {
  const response = await fetch("/healthz", { signal });
  const report = (await response.json()) as HealthReport;
  const rows = Object.entries(report.services).map(([name, { address, state, detail }]) => [
    h("span", { title: detail }, dot(state), name),
    h("code", {}, address),
    word(state, "").replace("_", " "),
  ]);
  return card("Services", table(["service", "address", "state"], rows), h("p.soft.small", {}, "gRPC, with reflection, at ", h("code", {}, report.grpc)));
}

async function operations(signal: AbortSignal): Promise<HTMLElement> {
  const { operations: all = [], unreachable = [] } = await call<ListOperationsResponseJson>("operations", "ListOperations", { pageSize: 12 }, signal);
  const missing = unreachable.length === 0 ? undefined : h("p.soft.small", {}, `Not asked: ${unreachable.join(", ")}.`);
  if (all.length === 0) return card("Work", h("p.empty", {}, "Nothing was asked for yet."), missing);
  return card("Work", table(["job", "state", "progress", ""], all.map(operationRow)), missing);
}

function operationRow(operation: OperationJson): readonly Child[] {
  const { name = "", kind, state, progress, done, error } = operation;
  const word_ = word(state, "OPERATION_STATE_");
  const total = num(progress?.totalUnits);
  const bar = done === true || total === 0 ? undefined : h("progress", { max: total, value: num(progress?.doneUnits), "aria-label": `${kind ?? name} progress` });
  const spent = Object.values(progress?.stageSeconds ?? {}).reduce<number>((sum, one) => sum + num(one), 0);
  const standing = `${progress?.stage ?? ""} ${count(progress?.doneUnits)}${total > 0 ? ` of ${count(total)}` : ""} ${progress?.unit ?? ""}`;
  const detail = error?.message ?? (done === true ? `took ${seconds(spent)}` : standing);
  return [
    h("span", { title: name }, kind ?? idOf(name), h("div.soft.small", {}, name.split("/")[1])),
    h("span", {}, dot(word_), word_),
    h("div.small", {}, bar, h("span.soft", {}, progress === undefined && error === undefined ? "" : detail)),
    actionOf(name, word_),
  ];
}

function actionOf(name: string, state: string): HTMLElement | undefined {
  const verb = { running: "Cancel", queued: "Cancel", paused: "Resume", failed: "Resume", cancelled: "Resume" }[state];
  if (verb === undefined) return undefined;
  const button = h("button", { onclick: () => void act() }, verb);
  const act = async (): Promise<void> => {
    button.setAttribute("disabled", "");
    try {
      await call("operations", `${verb}Operation`, { name });
      button.blur();
    } catch (error) {
      button.replaceWith(failure(error));
    }
  };
  return button;
}

async function models(signal: AbortSignal): Promise<HTMLElement> {
  const { models: all = [] } = await call<ListModelsResponseJson>("inference", "ListModels", {}, signal);
  if (all.length === 0) return card("Models", h("p.empty", {}, "None is loaded: mistral-sae model load DIR"));
  const rows = all.map((model) => [
    h("span", {}, dot(word(model.state, "MODEL_STATE_")), model.name),
    word(model.state, "MODEL_STATE_"),
    model.architecture,
    num(model.nLayers),
    count(model.dModel),
    count(model.dVocab),
    count(model.nCtx),
  ]);
  const headings = ["model", "state", "architecture", { number: "layers" }, { number: "d_model" }, { number: "vocabulary" }, { number: "context" }];
  return card("Models", table(headings, rows));
}

async function saes(signal: AbortSignal): Promise<HTMLElement> {
  const all = await listSaes(signal);
  if (all.length === 0) return card("Sparse autoencoders", h("p.empty", {}, "None is registered yet."));
  const rows = all.map((sae) => [
    h("a", { href: `#/features?sae=${encodeURIComponent(sae.name ?? "")}` }, dot(word(sae.state, "SAE_STATE_")), sae.name),
    h("code", {}, sae.hookName ?? ""),
    sae.architecture,
    count(sae.dIn),
    count(sae.dSae),
    sae.k ?? "",
    sae.validation === undefined ? "" : short(sae.validation.fvu),
  ]);
  const headings = ["SAE", "hook", "architecture", { number: "d_in" }, { number: "d_sae" }, { number: "k" }, { number: "FVU" }];
  return card("Sparse autoencoders", table(headings, rows));
}

async function indexes(signal: AbortSignal): Promise<HTMLElement> {
  const { indexes: all = [] } = await call<ListIndexesResponseJson>("featureIndex", "ListIndexes", {}, signal);
  if (all.length === 0) return card("Indexes", h("p.empty", {}, "None is built yet."));
  const rows = all.map((index) => [
    h("span", {}, dot(word(index.state, "INDEX_STATE_")), index.name),
    idOf(index.sae),
    index.corpus,
    count(index.nTokens),
    count(index.nActivations),
    `${count(index.nFeaturesAlive)} (${percent(num(index.nFeaturesAlive) / Math.max(1, num(index.dSae)))})`,
  ]);
  return card("Indexes", table(["index", "SAE", "corpus", { number: "tokens" }, { number: "activations" }, { number: "features alive" }], rows));
}

function dot(state: string): HTMLElement {
  return h(`span.dot.${state}`, { "aria-hidden": "true" });
}
