import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { demoModelDir } from "@mistral-sae/demo-model";
import type { Gauge } from "./gauges.ts";
import { type Precision, precisions } from "./work.ts";

const run = promisify(execFile);
const cli = fileURLToPath(new URL("../../../cli/bin/mistral-sae.mjs", import.meta.url));

interface Row {
  readonly precision: "f32" | "int8" | "int4";
  readonly tokens: number;
  readonly perplexity: number;
  readonly increase: number;
}

/** What a precision may cost, percent of the perplexity in f32. */
const atMost: Readonly<Record<Precision, number | undefined>> = { f32: undefined, q8: 0.1, q4: 3 };

/** `mistral-sae model perplexity` on the model and the held-back stories that ship. */
export function perplexityGauges(): Gauge[] {
  return precisions.map((precision) => ({
    id: `demo/perplexity/${precision}`,
    shape: "demo",
    precision,
    async read(models, threads) {
      const name = ({ f32: "f32", q8: "int8", q4: "int4" } as const)[precision];
      const args = ["--json", "model", "perplexity", demoModelDir, "--threads", String(threads), "--precision", precision === "f32" ? name : `f32,${name}`];
      const { stdout } = await run(process.execPath, [cli, ...args], { env: { ...process.env, MISTRAL_SAE_CACHE: models.root }, maxBuffer: 1 << 24 });
      const row = (JSON.parse(stdout) as readonly Row[]).find((one) => one.precision === name);
      if (row === undefined) throw new Error(`model perplexity gave no row of ${name}`);
      const limit = atMost[precision];
      return [
        { name: "perplexity", value: row.perplexity, unit: "" },
        ...(limit === undefined ? [{ name: "tokens", value: row.tokens, unit: "" }] : [{ name: "increase over f32", value: row.increase * 100, unit: "%", atMost: limit }]),
      ];
    },
  }));
}
