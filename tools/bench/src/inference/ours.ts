/**
 * Runs one model through the engine port and measures what is asked for on stdin, one line a turn (see work.ts).
 *
 * node ours.ts MODEL_FOLDER THREADS
 */
import { createInterface } from "node:readline";
import { greedy, openEngine, type Edit, type Sequence } from "@mistral-sae/model";
import { Random } from "@mistral-sae/sae";
import type { DecodeHook, Work } from "./work.ts";

const [modelDir = "", threads = "2"] = process.argv.slice(2);
const random = new Random(0);

const engine = await openEngine({ modelDir, threads: Number(threads) });
const { nLayers, dModel, dVocab } = engine.info;
const middle = `blocks.${nLayers >> 1}.hook_resid_post`;
const direction = Float32Array.from({ length: dModel }, () => random.uniform(-0.1, 0.1));

console.log(JSON.stringify({ version: engine.info.backend }));
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const { wallMs, cpuMs } = await turn(JSON.parse(line) as Work);
    console.log(JSON.stringify({ wall_ms: wallMs, cpu_ms: cpuMs, peak_rss: process.resourceUsage().maxRSS * 1024 }));
  } catch (error) {
    console.log(JSON.stringify({ error: error instanceof Error ? error.message : String(error) }));
  }
}
await engine.close();

async function turn(work: Work): Promise<{ wallMs: number; cpuMs: number }> {
  if (work.work === "decode") {
    const prompts = Array.from({ length: work.batch }, () => tokens(work.past));
    const rows = prompts.map((prompt, i) => ({ tokens: work.hooked === "variant" ? prompts[0]! : prompt, sampling: greedy, edits: editsOf(work.hooked, i === work.batch - 1) }));
    const { slots } = await engine.prefill(rows);
    const step = slots.map((slot) => ({ slot }));
    // As the service does: each step is asked for before the one before it has been looked at.
    const figures = await timed(async () => {
      let next = engine.decode(step);
      for (let i = 1; i < work.steps; i++) {
        const current = next;
        next = engine.decode(step, { skipEnded: true });
        await current;
      }
      await next;
    });
    await engine.free(slots);
    return figures;
  }
  if (work.work === "prefill") {
    const rows = Array.from({ length: work.batch }, () => ({ tokens: tokens(work.tokens), sampling: greedy }));
    return await timed(async () => {
      for (let i = 0; i < work.times; i++) await engine.free((await engine.prefill(rows)).slots);
    });
  }
  const sequences = Array.from({ length: work.batch }, (): Sequence => ({ tokens: tokens(work.tokens) }));
  return await timed(async () => {
    for (let i = 0; i < work.times; i++) for await (const { residuals } of engine.forward(sequences, { taps: [{ hook: `blocks.${work.layer}.hook_resid_post` }] })) void residuals;
  });
}

function editsOf(hooked: DecodeHook | undefined, last: boolean): Edit[] {
  const add: Edit = { id: "add", hook: middle, method: "add", direction, strength: 1 };
  if (hooked === "add") return [add];
  if (hooked === "unused") return [{ ...add, generated: { include: {} } }];
  return hooked === "variant" && last ? [add] : [];
}

function tokens(length: number): Uint32Array {
  return Uint32Array.from({ length }, () => 5 + (random.nextUint32() % (dVocab - 5)));
}

async function timed(run: () => Promise<void>): Promise<{ wallMs: number; cpuMs: number }> {
  const cpu = process.cpuUsage();
  const wall = performance.now();
  await run();
  const wallMs = performance.now() - wall;
  const { user, system } = process.cpuUsage(cpu);
  return { wallMs, cpuMs: (user + system) / 1000 };
}
