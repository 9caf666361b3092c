import { HybridTrainer } from "@mistral-sae/sae";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { batchCount } from "./batches.ts";
import type { Architecture } from "./contender.ts";

// This project's trainer, asked as peers/training/serve.py is: one process, one step for each line on stdin.

const { values } = parseArgs({
  options: { batches: { type: "string" }, architecture: { type: "string" }, "d-in": { type: "string" }, "d-sae": { type: "string" }, k: { type: "string" }, batch: { type: "string" }, dead: { type: "string" }, threads: { type: "string" }, peers: { type: "string" } },
});
const [dIn, dSae, k, batch, threads, dead] = [values["d-in"], values["d-sae"], values.k, values.batch, values.threads, values.dead].map(Number) as [number, number, number, number, number, number];
const architecture = values.architecture as Architecture;
const rows = await readFile(values.batches!);
const batches = new Float32Array(rows.buffer, rows.byteOffset, rows.byteLength / 4);
const of: Readonly<Record<Architecture, object>> = { topk: { k }, batchtopk: { k }, matryoshka_batchtopk: { k, matryoshkaWidths: [dSae / 16, dSae / 4] }, jumprelu: { normalizeActivations: "none" } };
// Latents that are kept dead must not learn their way back.
const kept = dead > 0 ? { lr: 1e-9 } : {};
const trainer = await HybridTrainer.create({ architecture, dIn, dSae, trainBatchSizeTokens: batch, trainingTokens: 1e9, threads, batchSlots: batchCount, ...of[architecture], ...kept }, { sample: batches });
for (let slot = 0; slot < batchCount; slot++) {
  const target = trainer.slot(slot);
  for (let row = 0; row < batch; row++) {
    const from = (slot * batch + row) * dIn;
    target.set(batches.subarray(from, from + dIn), row * trainer.rowStride);
  }
}
const { memory: { buffer }, layout: { at, stride } } = trainer.shared;
const deadLatents = Math.floor(dSae * dead);
for (let f = 0; f < deadLatents; f++) {
  // Too small to be among the largest, and of either sign.
  const row = new Float32Array(buffer, at.wEnc + f * stride, dIn);
  for (let i = 0; i < dIn; i++) row[i]! *= 0.05;
  for (const since of [at.sinceA, at.sinceB]) new BigUint64Array(buffer, since, deadLatents)[f] = 10n ** 12n;
}
const answer = (message: object): void => console.log(JSON.stringify(message));
answer({ ready: [{ peer: "mistral-sae", version: "this project" }], missing: [] });
for await (const line of createInterface({ input: process.stdin })) {
  const { batch: slot } = JSON.parse(line) as { readonly batch: number };
  const cpu = process.cpuUsage();
  const wall = performance.now();
  const { loss } = await trainer.step(slot);
  const wallMs = performance.now() - wall;
  const { user, system } = process.cpuUsage(cpu);
  answer({ wall_ms: wallMs, cpu_ms: (user + system) / 1000, peak_rss: process.resourceUsage().maxRSS * 1024, loss });
}
await trainer.close();
