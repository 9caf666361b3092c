import { corpusDir } from "@mistral-sae/demo-model";
import { openEngine, readModelSource, type EnginePrecision } from "@mistral-sae/model";
import { hookNameOf, loadSae } from "@mistral-sae/sae";
import { Option, type Command } from "commander";
import { group, integer, repeated, run, wordList, type CommandContext } from "../command.ts";
import { badInput, formatNumber, formatTable } from "../output.ts";
import { userPath } from "../paths.ts";
import { measurePerplexity, type Perplexity } from "../perplexity/measure.ts";
import { SaeComparison, type SaeAgreement } from "../perplexity/sae-agreement.ts";
import { readSequences } from "../perplexity/text.ts";

interface PerplexityOptions {
  readonly precision?: readonly string[];
  readonly corpus?: readonly string[];
  readonly all?: boolean;
  readonly context: number;
  readonly maxTokens: number;
  readonly sae?: string;
  readonly hook?: string;
  readonly saeTokens: number;
  readonly threads?: number;
}

interface Row extends Perplexity {
  readonly folder: string;
  readonly precision: EnginePrecision;
  /** perplexity / perplexity of the first row - 1 */
  readonly increase: number;
  readonly sae?: SaeAgreement;
}

const precisions: readonly EnginePrecision[] = ["f32", "int8", "int4"];

/** `model perplexity`. */
export function registerPerplexityCommand(program: Command): void {
  group(program, "model", "Models: what is loaded, loading, what a folder holds.")
    .command("perplexity")
    .description("Measure how well models predict held-back text, at each precision; the first is what the others are compared with.")
    .argument("<folders...>", "model folders; floats are measured at each precision, quantised ones at their own")
    .option("--precision <precisions>", `precisions joined by commas: ${precisions.join(", ")} (default: all)`, wordList)
    .option("--corpus <path>", "text: file, folder or glob; may be given again (default: the corpus that ships)", repeated)
    .option("--all", "take all documents, not only those that training holds back")
    .addOption(new Option("--context <n>", "tokens of a sequence").argParser(integer({ min: 2 })).default(128))
    .addOption(new Option("--max-tokens <n>", "tokens at most").argParser(integer({ min: 2 })).default(65_536))
    .option("--sae <folder>", "also compare what this SAE sees: FVU, and features that fire in both")
    .option("--hook <hook>", "hook of the SAE; the one that its file names otherwise")
    .addOption(new Option("--sae-tokens <n>", "tokens that the SAE is compared on").argParser(integer({ min: 2 })).default(8192))
    .option("--threads <n>", "threads (default: every core)", integer({ min: 1 }))
    .action(run(perplexity));
}

async function perplexity({ output, signal }: CommandContext, folders: readonly string[], options: PerplexityOptions): Promise<void> {
  const wanted = options.precision?.map(precisionOf);
  const runs: { readonly folder: string; readonly precision: EnginePrecision }[] = [];
  for (const folder of folders.map(userPath)) {
    const own = (await readModelSource(folder, 1)).weights.precision;
    for (const precision of wanted ?? (own === undefined ? precisions : [own])) runs.push({ folder, precision });
  }
  const text = { corpus: options.corpus ?? [corpusDir], all: options.all === true, context: options.context, maxTokens: options.maxTokens, signal };
  const first = runs[0]?.folder ?? "";
  const sequences = await readSequences(first, text);
  const total = sequences.reduce((sum, sequence) => sum + sequence.length - 1, 0);
  const comparison = options.sae === undefined ? undefined : await saeComparison(options.sae, options.hook, take(sequences, options.saeTokens));
  const rows: Row[] = [];
  for (const { folder, precision } of runs) {
    const progress = output.progress(`${precision}${folders.length > 1 ? ` ${folder}` : ""}`);
    const engine = await openEngine({
      modelDir: folder,
      precision,
      signal,
      onQuantise: (done, bytes) => progress.update({ done, total: bytes, unit: "bytes quantised" }),
      ...(options.threads === undefined ? {} : { threads: options.threads }),
    });
    try {
      const measured = await measurePerplexity(engine, sequences, signal, (done) => progress.update({ done, total, unit: "tokens" }));
      const sae = await comparison?.measure(engine, signal);
      rows.push({ folder, precision, ...measured, increase: measured.perplexity / (rows[0]?.perplexity ?? measured.perplexity) - 1, ...(sae === undefined ? {} : { sae }) });
    } finally {
      await engine.close();
      progress.finish();
    }
  }
  output.result(rows.map(jsonOf), () => tableOf(rows));
}

function precisionOf(word: string): EnginePrecision {
  const precision = precisions.find((known) => known === word);
  if (precision === undefined) throw badInput("unknown precision", { field: "--precision", got: word, wanted: precisions.join(", ") });
  return precision;
}

async function saeComparison(folder: string, hook: string | undefined, sequences: readonly Uint32Array[]): Promise<SaeComparison> {
  const { sae } = await loadSae(userPath(folder));
  const at = hook ?? hookNameOf(sae.config);
  if (at === undefined) throw badInput("the SAE does not say at which hook it reads", { field: "--hook", wanted: "e.g. blocks.2.hook_resid_pre" });
  return new SaeComparison(sae, at, sequences);
}

function take(sequences: readonly Uint32Array[], tokens: number): Uint32Array[] {
  const taken: Uint32Array[] = [];
  let left = tokens;
  for (const sequence of sequences) {
    if (left <= 0) break;
    taken.push(sequence);
    left -= sequence.length;
  }
  return taken;
}

function jsonOf({ folder, precision, tokens, meanNll, perplexity: value, increase, sae }: Row): Record<string, unknown> {
  return {
    folder,
    precision,
    tokens,
    mean_nll: meanNll,
    perplexity: value,
    increase,
    ...(sae === undefined ? {} : { sae: { rows: sae.rows, fvu: sae.fvu, l0: sae.l0, feature_overlap: sae.featureOverlap, residual_error: sae.residualError } }),
  };
}

function tableOf(rows: readonly Row[]): string {
  const percent = (share: number): string => `${(share * 100).toFixed(3)}%`;
  const several = new Set(rows.map(({ folder }) => folder)).size > 1;
  return formatTable(rows, [
    ...(several ? [{ header: "folder", cell: ({ folder }: Row) => folder }] : []),
    { header: "precision", cell: ({ precision }) => precision },
    { header: "tokens", cell: ({ tokens }) => tokens },
    { header: "perplexity", cell: ({ perplexity: value }) => value.toFixed(4) },
    { header: "increase", cell: ({ increase }) => percent(increase) },
    ...(rows[0]?.sae === undefined
      ? []
      : [
          { header: "SAE FVU", cell: ({ sae }: Row) => formatNumber(sae?.fvu ?? Number.NaN) },
          { header: "features shared", cell: ({ sae }: Row) => percent(sae?.featureOverlap ?? Number.NaN) },
          { header: "residual error", cell: ({ sae }: Row) => percent(sae?.residualError ?? Number.NaN) },
        ]),
  ]);
}
