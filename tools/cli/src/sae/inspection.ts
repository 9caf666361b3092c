import { hookNameOf, type FiringRates, type SaeWeights, type Spread, type WeightSummary } from "@mistral-sae/sae";
import { formatCount, formatFields, formatNumber, formatTable } from "../output.ts";
import type { StoredTensor } from "./stored-tensors.ts";

/** What `sae inspect` found. */
export interface Inspection {
  readonly format: string;
  readonly path: string;
  readonly digest: string;
  readonly tensors: readonly StoredTensor[];
  readonly weights: WeightSummary;
  readonly firing_rates: FiringRates | undefined;
}

/** An inspection as people read it. */
export function inspectionText({ config }: SaeWeights, { format, path, digest, tensors, weights, firing_rates: rates }: Inspection): string {
  const said = (key: string): string => (config.metadata[key] === undefined || config.metadata[key] === null ? "" : JSON.stringify(config.metadata[key]).replaceAll('"', ""));
  const facts = formatFields([
    ["folder", path],
    ["format", format],
    ["architecture", config.k === undefined ? config.architecture : `${config.architecture}, k ${config.k}`],
    ["d_in", formatCount(config.dIn)],
    ["d_sae", formatCount(config.dSae)],
    ["dtype", config.dtype],
    ["hook", hookNameOf(config) ?? "not said"],
    ["model", said("model_name")],
    ["context", said("context_size")],
    ["dataset", said("dataset_path")],
    ["normalize_activations", config.normalizeActivations],
    ["apply_b_dec_to_input", String(config.applyBDecToInput)],
    ["rescale_acts_by_decoder_norm", String(config.rescaleActsByDecoderNorm)],
    ["decoder row norms", spread(weights.decoderNorm)],
    ["encoder row norms", spread(weights.encoderNorm)],
    ["encoder·decoder cosine", spread(weights.encoderDecoderCosine)],
    ["b_enc", spread(weights.bEnc)],
    ["b_dec norm", formatNumber(weights.bDecNorm)],
    ["features of zeros", formatCount(weights.zeroFeatures)],
    ["dead features", rates === undefined ? deadSaid(config.metadata) : `${formatCount(rates.dead)} below 1 in 100,000 tokens`],
    ["dense features", rates === undefined ? "" : `${formatCount(rates.dense)} above 1 in 10 tokens`],
    ["L0 in training", rates === undefined ? said("l0") : formatNumber(rates.l0)],
    ["digest", digest],
  ]);
  if (tensors.length === 0) return facts;
  const table = formatTable(tensors, [
    { header: "tensor", cell: ({ name }) => name },
    { header: "dtype", cell: ({ dtype }) => dtype },
    { header: "shape", cell: ({ shape }) => `[${shape.join(", ")}]` },
    { header: "file", cell: ({ file }) => file },
  ]);
  return `${facts}\n\n${table}`;
}

function spread({ min, mean, max }: Spread): string {
  return `${formatNumber(min)} to ${formatNumber(max)}, mean ${formatNumber(mean)}`;
}

function deadSaid(metadata: Readonly<Record<string, unknown>>): string {
  const dead = metadata["num_dead_features"];
  return typeof dead === "number" ? `${formatCount(dead)} by its own account` : "unknown without data: run `sae encode` on activations";
}
