import type { Engine, EngineInfo } from "@mistral-sae/model";
import { hookNameOf, hookNameOutOf, isTranscoder, NORMALIZATIONS, type Normalization, outputWidth, RowEncoder, type SaeConfig, type SaeWeights } from "@mistral-sae/sae";
import { badInput } from "../output.ts";
import { FitMeter, type Fit } from "./fit-meter.ts";

/** A place where an SAE is tried. */
export interface Place {
  readonly hookName: string;
  /** Transcoders: the hook whose rows it is to write. */
  readonly hookNameOut?: string | undefined;
  readonly normalizeActivations: Normalization;
}

/** How it does there. */
export interface PlaceFit extends Place {
  readonly fvu: number;
  readonly l0: number;
}

export interface Verification {
  readonly rows: number;
  /** At the configured place. */
  readonly own: PlaceFit;
  /** Elsewhere, best first. */
  readonly others: readonly PlaceFit[];
  readonly accepted: boolean;
  readonly verdict: string;
}

/** Sites of a layer, in the order of the model's computation. */
const SITES = ["hook_resid_pre", "attn.hook_z", "hook_attn_out", "hook_resid_mid", "mlp.hook_post", "hook_mlp_out", "hook_resid_post"] as const;

/**
 * Tries an SAE at the hook that it names, at every other site of that layer and of its neighbours whose rows are as wide, and at its own
 * hook with each other input normalisation. It belongs where its FVU, Σ‖y - ŷ‖² / Σ‖y - ȳ‖² over all rows, is below 1 and no other place
 * has a lower one. Sequences' first tokens are left out: the rows of BOS are far longer than all others.
 *
 * @param hookName wins over the file's
 */
export async function verifySae(engine: Engine, sae: SaeWeights, sequences: readonly Uint32Array[], options: { readonly hookName?: string | undefined; readonly signal: AbortSignal; readonly threads: number }): Promise<Verification> {
  const { config } = sae;
  const hookName = options.hookName ?? hookNameOf(config);
  if (hookName === undefined) throw badInput("the SAE does not say at which hook it reads", { field: "--hook-name", wanted: "e.g. blocks.2.hook_resid_pre" });
  const hookNameOut = isTranscoder(config) ? hookNameOutOf(config) : undefined;
  if (isTranscoder(config) && hookNameOut === undefined) throw badInput("the transcoder does not say whose rows it writes", { field: "hook_name_out", wanted: "metadata.hook_name_out in its cfg.json" });
  const own = { hookName, hookNameOut, normalizeActivations: config.normalizeActivations };
  const places = [own, ...otherPlaces(own, config, engine.info)];
  requireWidths(own, config, engine.info);
  const hooks = [...new Set(places.flatMap((place) => [place.hookName, place.hookNameOut ?? place.hookName]))];
  const encoders = new Map<Normalization, RowEncoder>();
  try {
    const meters = places.map(() => new FitMeter(outputWidth(config), config.dSae));
    for (const { normalizeActivations } of places) {
      if (!encoders.has(normalizeActivations)) encoders.set(normalizeActivations, await RowEncoder.open({ ...sae, config: { ...config, normalizeActivations } }, options.threads));
    }
    const rows = sequences.map(({ length }) => Uint8Array.from({ length }, (_, i) => (i === 0 ? 0 : 1)));
    for await (const batch of engine.forward(sequences.map((tokens) => ({ tokens })), { taps: hooks.map((hook) => ({ hook })), rows, signal: options.signal })) {
      for (const [i, place] of places.entries()) {
        options.signal.throwIfAborted();
        const encoder = encoders.get(place.normalizeActivations)!;
        const x = batch.residuals[hooks.indexOf(place.hookName)]!;
        const codes = await encoder.encode(x);
        meters[i]!.add(place.hookNameOut === undefined ? x : batch.residuals[hooks.indexOf(place.hookNameOut)]!, encoder.codec.decodeRows(codes, codes.stats), codes);
      }
    }
    return judge(places, meters.map((meter) => meter.result()));
  } finally {
    for (const encoder of encoders.values()) await encoder.close();
  }
}

function requireWidths({ hookName, hookNameOut = hookName }: Place, config: SaeConfig, info: EngineInfo): void {
  for (const [field, hook, wanted] of [["hook_name", hookName, config.dIn], ["hook_name_out", hookNameOut, outputWidth(config)]] as const) {
    const found = info.hooks.find((candidate) => candidate.hookName === hook);
    if (found?.readable !== true) throw badInput("the model has no such hook to read", { field, got: hook, wanted: `a hook of the model's ${info.nLayers} layers, as blocks.L.hook_resid_pre`, hint: "--hook-name names another" });
    if (found.width !== wanted) throw badInput("the SAE does not fit the hook", { field, got: `${hook}, ${found.width} wide`, wanted: `rows of ${wanted}`, hint: "--hook-name names another" });
  }
}

/** The other places worth trying; hooks that are two names of one point count once. */
function otherPlaces(own: Place, config: SaeConfig, info: EngineInfo): Place[] {
  const near = (hook: string, width: number): string[] => {
    const layer = Number(/^blocks\.(\d+)\./.exec(hook)?.[1] ?? Number.NaN);
    const seen = new Set([pointOf(hook)]);
    const found: string[] = [];
    for (const l of [layer - 1, layer, layer + 1]) {
      for (const site of SITES) {
        const candidate = info.hooks.find(({ hookName }) => hookName === `blocks.${l}.${site}`);
        if (candidate === undefined || !candidate.readable || candidate.width !== width || seen.has(pointOf(candidate.hookName))) continue;
        seen.add(pointOf(candidate.hookName));
        found.push(candidate.hookName);
      }
    }
    return found;
  };
  const read = near(own.hookName, config.dIn).map((hookName) => ({ ...own, hookName }));
  const written = own.hookNameOut === undefined ? [] : near(own.hookNameOut, outputWidth(config)).map((hookNameOut) => ({ ...own, hookNameOut }));
  const normalized = NORMALIZATIONS.filter((kind) => kind !== own.normalizeActivations).map((normalizeActivations) => ({ ...own, normalizeActivations }));
  return [...read, ...written, ...normalized];
}

/** The end of a layer is the start of the next. */
function pointOf(hook: string): string {
  const [, layer] = /^blocks\.(\d+)\.hook_resid_post$/.exec(hook) ?? [];
  return layer === undefined ? hook : `blocks.${Number(layer) + 1}.hook_resid_pre`;
}

function judge(places: readonly Place[], fits: readonly Fit[]): Verification {
  const measured = places.map((place, i) => ({ ...place, fvu: fits[i]!.fvu, l0: fits[i]!.l0 }));
  const [own, ...others] = measured as [PlaceFit, ...PlaceFit[]];
  others.sort((a, b) => a.fvu - b.fvu);
  const best = others[0];
  const better = best !== undefined && best.fvu < own.fvu;
  const verdict = better
    ? `the SAE fits better ${placeText(best, own)}: FVU ${best.fvu.toPrecision(4)} there, ${own.fvu.toPrecision(4)} at ${own.hookName}`
    : own.fvu < 1
      ? `the SAE fits ${own.hookName} best: FVU ${own.fvu.toPrecision(4)}${best === undefined ? "" : `, the next ${best.fvu.toPrecision(4)} ${placeText(best, own)}`}`
      : `the SAE explains nothing at ${own.hookName}: FVU ${own.fvu.toPrecision(4)}`;
  return { rows: fits[0]!.rows, own, others, accepted: own.fvu < 1 && !better, verdict };
}

/** What sets a place apart from the configured one. */
export function placeText(place: Place, own: Place): string {
  if (place.normalizeActivations !== own.normalizeActivations) return `with normalize_activations ${place.normalizeActivations}`;
  return place.hookNameOut === own.hookNameOut ? `at ${place.hookName}` : `writing ${place.hookNameOut}`;
}
