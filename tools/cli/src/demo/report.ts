import { atomicWriteFile } from "@mistral-sae/tensor";

/** One steered feature in the report. */
export interface SteeringReport {
  readonly feature: number;
  readonly explanation: string;
  readonly concept_words: readonly string[];
  /** In units of the residual's norm along the feature's unit direction. */
  readonly strength: number;
  readonly prompt: string;
  readonly baseline: string;
  readonly steered: string;
  readonly applied_steps: number;
  readonly expected_steps: number;
  /** How much more often the concept's words come: ((n + 1) / (N + 100)) steered over baseline. */
  readonly lift: number;
  /** Mean negative log-likelihood under the unsteered model, nats a token. */
  readonly baseline_nll: number;
  readonly steered_nll: number;
}

/** What one set of held-back text says of the SAE. */
export interface QualityReport {
  readonly fvu: number;
  readonly l0: number;
  readonly dead_fraction: number;
  readonly ce_recovered: number | null;
  readonly n_tokens: number;
}

/** The main job in numbers; keys are stable, other programs read them. */
export interface DemoReport {
  readonly model: string;
  readonly corpus: string;
  readonly hook_name: string;
  readonly sae: string;
  readonly sae_uri: string;
  readonly weights_sha256: string;
  readonly fvu: number;
  readonly l0: number;
  readonly ce_clean: number | null;
  readonly ce_sae: number | null;
  readonly ce_zero: number | null;
  readonly ce_recovered: number | null;
  readonly kl_recovered: number | null;
  readonly dead_fraction: number;
  readonly dead_rule: string;
  readonly by_source: Readonly<Record<string, QualityReport>>;
  readonly tokens_harvested: number;
  readonly tokens_trained: number;
  readonly train_tokens_per_second: number;
  readonly tokens_indexed: number;
  readonly activations_indexed: number;
  readonly features_alive: number;
  readonly features_explained: number;
  readonly table_checksums: Readonly<Record<string, string>>;
  readonly steering: readonly SteeringReport[];
  /** Seconds of each stage when it was done, and of this start. */
  readonly seconds: Readonly<Record<string, number>>;
}

/** Writes the report as JSON, whole or not at all. */
export async function writeReport(path: string, report: DemoReport): Promise<void> {
  await atomicWriteFile(path, new TextEncoder().encode(`${JSON.stringify(report, null, 2)}\n`));
}

/** The report as people read it. */
export function reportText(report: DemoReport): string {
  const percent = (share: number | null) => (share === null ? "unknown" : `${(share * 100).toFixed(1)}%`);
  const count = (n: number) => n.toLocaleString("en-US");
  const rows: (readonly [string, string])[] = [
    ["SAE", `${report.sae} at ${report.hook_name}`],
    ["", report.sae_uri],
    ["held-back FVU", report.fvu.toFixed(4)],
    ...Object.entries(report.by_source).map(
      ([source, q]) => [`  ${source}`, `FVU ${q.fvu.toFixed(4)}, CE recovered ${percent(q.ce_recovered)}`] as const,
    ),
    ["L0", report.l0.toFixed(2)],
    ["CE recovered", percent(report.ce_recovered)],
    ["dead features", `${percent(report.dead_fraction)} (${report.dead_rule})`],
    ["trained", `${count(report.tokens_trained)} tokens, ${count(Math.round(report.train_tokens_per_second))} a second`],
    ["indexed", `${count(report.tokens_indexed)} tokens, ${count(report.activations_indexed)} activations`],
    ["features", `${count(report.features_alive)} alive, ${count(report.features_explained)} explained`],
    ["seconds", Object.entries(report.seconds).map(([stage, s]) => `${stage} ${s.toFixed(1)}`).join(", ")],
  ];
  const table = rows.map(([name, value]) => `  ${name.padEnd(16)}${value}`).join("\n");
  const steering = report.steering.map((s) =>
    [
      `  feature ${s.feature}: ${s.explanation}`,
      `    strength ${s.strength} of the residual's norm, concept words ${s.lift.toFixed(1)}x, applied at ${s.applied_steps} of ${s.expected_steps} steps`,
      `    unsteered: ${oneLine(s.prompt)}|${oneLine(s.baseline)}`,
      `    steered:   ${oneLine(s.prompt)}|${oneLine(s.steered)}`,
    ].join("\n"),
  );
  return [table, "", "Steering", ...steering].join("\n");
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ").slice(0, 200);
}
