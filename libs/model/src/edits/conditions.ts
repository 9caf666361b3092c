import { residualPoint } from "../hooks/hook-name.ts";
import type { SaeRuntime } from "../sae/sae-runtime.ts";
import { contradiction } from "./contradiction.ts";
import type { Edit, EditCondition } from "./edit.ts";
import { fault } from "./fault.ts";

/** A feature that conditions read: once a row, however many ask for it. */
export interface Probe {
  readonly sae: SaeRuntime;
  /** Residual point. */
  readonly point: number;
  readonly feature: number;
  /** Every threshold that it is compared with. */
  readonly thresholds: number[];
  /** Indices of the edits that look at it. */
  readonly edits: number[];
}

/** A condition, its feature the one of a probe. */
export interface Test {
  readonly probe: number;
  readonly lookback: number;
  readonly comparison: EditCondition["comparison"];
  readonly threshold: number;
}

/** What the conditions of one edit decide. */
export interface Gate {
  /** All hold where the edit applies. */
  readonly apply: readonly Test[];
  /** All hold where the sequence ends; none: nowhere. */
  readonly abort: readonly Test[];
  /** Point at which the last of `abort` is known. */
  readonly abortPoint: number;
  /** Tokens looked back at most, the row's own included. */
  readonly lookback: number;
}

/** What compiling conditions refers to. */
export interface ConditionContext {
  readonly nLayers: number;
  /** Throws InputError for a name that is not loaded. */
  sae(name: string): SaeRuntime;
}

const comparisons: readonly string[] = ["greater", "greater_equal", "less", "less_equal"] satisfies EditCondition["comparison"][];

/** Compiles the conditions of edit `index` at `point`, sharing `probes`. Undefined without any. Throws InputError. */
export function compileGate(edit: Edit, index: number, point: number, context: ConditionContext, probes: Probe[]): Gate | undefined {
  const conditions = edit.conditions ?? [];
  if (conditions.length === 0) return undefined;
  const clash = contradiction(conditions);
  if (clash !== undefined) throw fault(edit, `conditions[${clash[1]}]`, "no activation, which is 0 or more, meets this condition", describe(conditions[clash[1]]!), clash[0] === clash[1] ? "one that can hold" : `one that can hold with conditions[${clash[0]}]`);
  const apply: Test[] = [];
  const abort: Test[] = [];
  let abortPoint = 0;
  let lookback = 1;
  for (const [i, condition] of conditions.entries()) {
    const field = `conditions[${i}]`;
    const test = compileTest(edit, condition, field, context, probes);
    const { point: at, edits } = probes[test.probe]!;
    if (!edits.includes(index)) edits.push(index);
    lookback = Math.max(lookback, test.lookback);
    if (condition.action === "abort") {
      abort.push(test);
      abortPoint = Math.max(abortPoint, at);
      continue;
    }
    if (at > point) throw fault(edit, `${field}.hook`, "a condition is known only after the edit that waits for it", condition.hook, `a hook at or before ${edit.hook}`);
    apply.push(test);
  }
  return { apply, abort, abortPoint, lookback };
}

function compileTest(edit: Edit, condition: EditCondition, field: string, context: ConditionContext, probes: Probe[]): Test {
  const { comparison, threshold, lookback = 1, feature } = condition;
  if (!comparisons.includes(comparison)) throw fault(edit, `${field}.comparison`, "unknown comparison", comparison, comparisons.join(", "));
  if (!Number.isFinite(threshold)) throw fault(edit, `${field}.threshold`, "a condition compares with a finite activation", threshold, "a finite number");
  if (!Number.isSafeInteger(lookback) || lookback < 1) throw fault(edit, `${field}.lookback`, "a condition looks at whole tokens", lookback, "an integer from 1");
  const sae = context.sae(condition.sae);
  sae.decoderRow(feature, `edit ${edit.id}: ${field}.feature`);
  const point = residualPoint(condition.hook, context.nLayers, `edit ${edit.id}: ${field}.hook`);
  let probe = probes.findIndex((known) => known.sae === sae && known.point === point && known.feature === feature);
  if (probe < 0) probe = probes.push({ sae, point, feature, thresholds: [], edits: [] }) - 1;
  probes[probe]!.thresholds.push(threshold);
  return { probe, lookback, comparison, threshold };
}

function describe({ comparison, threshold }: EditCondition): string {
  return `${comparison} ${threshold}`;
}

/** Whether an activation meets a test. */
export function meets({ comparison, threshold }: Pick<Test, "comparison" | "threshold">, activation: number): boolean {
  switch (comparison) {
    case "greater":
      return activation > threshold;
    case "greater_equal":
      return activation >= threshold;
    case "less":
      return activation < threshold;
    default:
      return activation <= threshold;
  }
}
