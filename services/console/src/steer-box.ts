import type { FindFeaturesResponseJson, FoundFeatureJson, SteerResponseJson } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { call, stream } from "./api.ts";
import { failure, field, h, replace } from "./dom.ts";
import { num, short } from "./format.ts";
import { warmToken } from "./token-text.ts";

/** What the box starts with. */
export interface SteerBoxOptions {
  readonly sae: string;
  /** Feature to steer by; with none the box asks for words or an index. */
  readonly feature?: number | undefined;
  readonly signal: AbortSignal;
}

const BASELINE = "baseline";
const STEERED = "steered";
const WRITING = "writing…";
// Nats at which a token's colour is full.
const FULL_KL = 8;

/** Prompt, feature, strength and sampling; the unsteered and the steered text stream beside each other. */
export function steerBox({ sae, feature, signal }: SteerBoxOptions): HTMLElement {
  const prompt = h("textarea", { rows: 2, required: true, "data-key": "p" }, "Once upon a time") as HTMLTextAreaElement;
  const by = h("input", { type: "text", value: feature ?? "", placeholder: "index, or words such as: dragon castle", required: true }) as HTMLInputElement;
  const found = h("div.chips");
  const strength = number(0.4, -2, 2, 0.05);
  const temperature = number(0.8, 0, 2, 0.1);
  const maxTokens = number(80, 1, 1024, 1);
  const seed = number(1, 0, 2 ** 31, 1);
  const colour = h("input", { type: "checkbox" }) as HTMLInputElement;
  const start = h("button.primary", { type: "submit" }, "Steer") as HTMLButtonElement;
  const stop = h("button", { type: "button", disabled: true }, "Stop") as HTMLButtonElement;
  const baseline = h("div.text", { "aria-live": "off" });
  const steered = h("div.text", { "aria-live": "off" });
  const status = h("p.soft.small", { role: "status" });
  let running: AbortController | undefined;

  const write = async (): Promise<void> => {
    running?.abort();
    running = new AbortController();
    const either = AbortSignal.any([signal, running.signal]);
    start.disabled = true;
    stop.disabled = false;
    for (const panel of [baseline, steered]) replace(panel, h("span.prompt", {}, prompt.value));
    replace(status, WRITING);
    try {
      const request = requestOf({ sae, by: by.value, prompt: prompt.value, strength, temperature, maxTokens, seed, withKl: colour.checked });
      for await (const message of stream<SteerResponseJson>("steering", "Steer", request, either)) show(message, baseline, steered, status);
    } catch (error) {
      if (!either.aborted) replace(status, failure(error));
      else replace(status, "stopped");
    } finally {
      start.disabled = false;
      stop.disabled = true;
    }
  };
  stop.addEventListener("click", () => running?.abort());
  searchWhileTyping(by, found, sae, signal);
  const submit = (event: Event): void => {
    event.preventDefault();
    void write();
  };
  return h(
    "form",
    { onsubmit: submit },
    field("Prompt", prompt, true),
    h(
      "div.toolbar",
      {},
      field("Feature, by index or by words", by, true),
      field("Strength (of the residual's norm)", strength),
      field("Temperature", temperature),
      field("Tokens", maxTokens),
      field("Seed", seed),
      h("label.check", {}, colour, "colour by divergence"),
      start,
      stop,
    ),
    found,
    status,
    h("div.columns", {}, h("section.card", {}, h("h2", {}, BASELINE), baseline), h("section.card", {}, h("h2", {}, STEERED), steered)),
  );
}

interface Wanted {
  readonly sae: string;
  readonly by: string;
  readonly prompt: string;
  readonly strength: HTMLInputElement;
  readonly temperature: HTMLInputElement;
  readonly maxTokens: HTMLInputElement;
  readonly seed: HTMLInputElement;
  readonly withKl: boolean;
}

function requestOf({ sae, by, prompt, strength, temperature, maxTokens, seed, withKl }: Wanted): unknown {
  const edit = { method: "STEERING_METHOD_ADD", strength: strength.valueAsNumber, unit: "STRENGTH_UNIT_RESID_NORM_FRACTION" };
  const index = /^\d+$/.test(by.trim()) ? Number(by) : undefined;
  const variant =
    index === undefined
      ? { variantId: STEERED, queries: [{ sae, query: by.trim(), ...edit }] }
      : { variantId: STEERED, interventions: [{ id: `feature-${index}`, feature: { sae, featureIndex: index }, ...edit }] };
  return {
    prompt: { text: prompt },
    sampling: { temperature: temperature.valueAsNumber, maxTokens: maxTokens.valueAsNumber, seed: String(seed.valueAsNumber) },
    variants: [variant],
    withKl,
  };
}

function show({ event, resolvedQueries = [] }: SteerResponseJson, baseline: HTMLElement, steered: HTMLElement, status: HTMLElement): void {
  const [query] = resolvedQueries;
  if (query !== undefined) replace(status, `"${query.query ?? ""}" is feature ${query.feature?.featureIndex ?? 0}: ${query.description ?? ""}.`);
  if (event?.step !== undefined) {
    const { variantId, textDelta = "", klFromBaseline } = event.step;
    const panel = variantId === STEERED ? steered : baseline;
    panel.append(variantId === STEERED && klFromBaseline !== undefined ? warmToken({ text: textDelta, value: num(klFromBaseline) }, FULL_KL) : textDelta);
  }
  if (event?.finished?.variantId === STEERED) {
    const { steeringAppliedSteps, steeringExpectedSteps, proofs = [], warnings = [] } = event.finished;
    const edits = proofs.map(({ id, hookName, meanDeltaNorm }) => `${id ?? ""} at ${hookName ?? ""}, mean edit ${short(meanDeltaNorm)}`);
    if (status.textContent === WRITING) replace(status);
    status.append(h("span", {}, ` Steered ${num(steeringAppliedSteps)} of ${num(steeringExpectedSteps)} steps. ${[...edits, ...warnings].join("; ")}`));
  }
}

function searchWhileTyping(input: HTMLInputElement, found: HTMLElement, sae: string, signal: AbortSignal): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const search = async (): Promise<void> => {
    const query = input.value.trim();
    if (query === "" || /^\d+$/.test(query)) return replace(found);
    try {
      const { features = [] } = await call<FindFeaturesResponseJson>("steering", "FindFeatures", { sae, query, numResults: 6 }, signal);
      if (input.value.trim() === query) replace(found, features.map((one) => chip(one, input, found)));
    } catch (error) {
      if (!signal.aborted) replace(found, failure(error));
    }
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => void search(), 250);
  });
}

function chip({ feature, description }: FoundFeatureJson, input: HTMLInputElement, found: HTMLElement): HTMLElement {
  const index = feature?.featureIndex ?? 0;
  const choose = (): void => {
    input.value = String(index);
    replace(found, h("span.soft.small", {}, `feature ${index}: ${description ?? ""}`));
  };
  return h("button.chip", { type: "button", onclick: choose }, `${index} `, h("span.soft", {}, description ?? ""));
}

function number(value: number, min: number, max: number, step: number): HTMLInputElement {
  return h("input", { type: "number", value, min, max, step, required: true }) as HTMLInputElement;
}
