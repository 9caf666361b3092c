import { readBytes, splitLines } from "@mistral-sae/corpus";
import { readActivation, readExplanation, readFeature } from "../neuronpedia/read-rows.ts";
import { splitFeatures } from "../saedashboard/feature-stream.ts";
import { BATCH_FIELDS, readDashboardFeature } from "../saedashboard/read-rows.ts";
import type { PlacedRow } from "./given-rows.ts";
import { parsePeerJson, PeerRow, type PeerPlace, wrong } from "./peer-row.ts";

/** A file of a dashboard: what its lines are, or a batch of SAEDashboard. */
export interface PeerFile {
  readonly path: string;
  readonly kind: "feature" | "activation" | "explanation" | "batch";
}

/** Stops a thread's reading, and tells how far it has come; in shared memory. */
export class ReadMeter {
  readonly shared: Float64Array;

  constructor(shared: Float64Array = new Float64Array(new SharedArrayBuffer(24))) {
    this.shared = shared;
  }

  get bytes(): number {
    return this.shared[0] as number;
  }

  get examples(): number {
    return this.shared[1] as number;
  }

  count(field: "bytes" | "examples", n: number): void {
    this.shared[field === "bytes" ? 0 : 1]! += n;
  }

  stop(): void {
    this.shared[2] = 1;
  }

  /** @throws the reason of the stop. */
  throwIfStopped(): void {
    if (this.shared[2] === 1) throw new Error("the import was stopped");
  }
}

/**
 * The rows of a file, one at a time, checked; `header` is told what a batch says of itself beside its features.
 * @throws InputError that names file, place and field.
 */
export async function* peerRows({ path, kind }: PeerFile, dSae: number, meter: ReadMeter, header: (json: string) => void = () => undefined): AsyncIterable<PlacedRow> {
  const bytes = metered(readBytes(path, path.endsWith(".gz") ? "gzip" : "none"), meter);
  if (kind === "batch") {
    yield* batchRows(path, bytes, dSae, header);
    return;
  }
  for await (const line of splitLines(bytes, path)) {
    if (line.bytes.length === 0) continue;
    const place = { file: path, at: `line ${line.number}` };
    const value = parsePeerJson(text(line.bytes, place), place);
    if (kind === "feature") yield { kind, ...readFeature(value, dSae, place), line: line.number };
    else if (kind === "activation") yield { kind, ...readActivation(value, dSae, place), line: line.number };
    else yield { kind, ...readExplanation(value, dSae, place), line: line.number };
  }
}

async function* batchRows(path: string, bytes: AsyncIterable<Uint8Array>, dSae: number, header: (json: string) => void): AsyncIterable<PlacedRow> {
  for await (const { text: json, at } of splitFeatures(bytes, path)) {
    if (at < 0) {
      header(JSON.stringify(batchOwner(json, path)));
      continue;
    }
    const place = { file: path, at: `features[${at}]` };
    const { given, examples } = readDashboardFeature(parsePeerJson(json, place), dSae, place);
    yield { kind: "feature", given, line: at, owner: "" };
    for (const example of examples) yield { kind: "activation", given: example, line: at, owner: "" };
  }
}

/** What a batch says of itself, beside its features. @throws InputError. */
function batchOwner(json: string, path: string): Readonly<Record<string, unknown>> {
  const place = { file: path, at: "the batch" };
  const value = parsePeerJson(json, place);
  const row = new PeerRow(value, BATCH_FIELDS, place);
  for (const name of ["model_id", "sae_set", "sae_id_suffix"]) row.textOr(name, "");
  const { features, ...rest } = value as Record<string, unknown>;
  if (!Array.isArray(features) || features.length > 0) throw row.error("features", "is no list of features", "a list of objects");
  return rest;
}

async function* metered(chunks: AsyncIterable<Uint8Array>, meter: ReadMeter): AsyncIterable<Uint8Array> {
  for await (const chunk of chunks) {
    meter.throwIfStopped();
    yield chunk;
    meter.count("bytes", chunk.length);
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function text(bytes: Uint8Array, place: PeerPlace): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw wrong(place, "", "is no UTF-8", "bytes that are no text", "UTF-8");
  }
}
