import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { readModelSource } from "@mistral-sae/model";
import { type CellShape, cellShapes } from "./cells.ts";
import { cacheMib, runLoad } from "./load.ts";
import type { BenchModels } from "./models.ts";
import { perplexityGauges } from "./perplexity.ts";
import { type Precision, precisions } from "./work.ts";

/** One figure that stands for itself. */
export interface Reading {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** The most that it may be. */
  readonly atMost?: number;
}

export interface GaugeReport {
  readonly id: string;
  readonly readings: readonly Reading[];
  readonly missing: readonly string[];
}

/** A cell without a rival. */
export interface Gauge {
  readonly id: string;
  readonly shape: CellShape;
  readonly precision: Precision;
  read(models: BenchModels, threads: number): Promise<readonly Reading[]>;
}

const mib = 2 ** 20;

export function allGauges(): Gauge[] {
  return [...cellShapes.flatMap((shape) => precisions.map((precision) => serviceLoad(shape, precision))), ...perplexityGauges()];
}

/** The service under full load: lag of its event loop, and its memory against weights × 1.15 + keys and values + 300 MB. */
function serviceLoad(shape: CellShape, precision: Precision): Gauge {
  return {
    id: `${shape}/load/${precision}`,
    shape,
    precision,
    async read(models, threads) {
      const folder = await models.folder(shape, precision);
      const { idle, loaded, generatedPerSecond, capturedRowsPerSecond } = await runLoad(folder, { threads, seconds: 10, generations: 24, captures: 2 });
      const bound = (await weightBytes(folder)) * 1.15 + cacheMib * mib + 300e6;
      return [
        { name: "event loop lag p50", value: loaded.lagP50, unit: "ms" },
        { name: "event loop lag p99", value: loaded.lagP99, unit: "ms", atMost: 20 },
        { name: "event loop lag max", value: loaded.lagMax, unit: "ms" },
        { name: "RSS after load", value: idle.rss / mib, unit: "MiB", atMost: bound / mib },
        { name: "RSS at work", value: loaded.rss / mib, unit: "MiB", atMost: bound / mib },
        { name: "peak RSS", value: loaded.peakRss / mib, unit: "MiB", atMost: bound / mib },
        { name: "generated", value: generatedPerSecond, unit: "tok/s" },
        { name: "captured", value: capturedRowsPerSecond, unit: "rows/s" },
      ];
    },
  };
}

/** Bytes of the weights in the type that they are computed with: f32, or as the quantised file has them. */
async function weightBytes(folder: string): Promise<number> {
  const { weights } = await readModelSource(folder);
  if (!weights.storedDtypes.some((dtype) => dtype.startsWith("INT"))) return weights.parameters * 4;
  const files = (await readdir(folder)).filter((name) => name.endsWith(".safetensors"));
  const sizes = await Promise.all(files.map(async (name) => (await stat(join(folder, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
