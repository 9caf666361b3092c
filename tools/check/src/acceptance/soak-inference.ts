/**
 * Random requests to a busy inference service, each held against what the same request gives alone:
 *
 *     node tools/check/src/acceptance/soak-inference.ts [requests] [seed]
 *
 * Lengths, seeds, sampling, stops, cancels at random tokens, deadlines, interventions by direction and by SAE, variants,
 * traces, captures and tenants are random. Ends with 1 when a text differs where the tokens were not as good as equally
 * likely, a slot is not given back, or memory grows.
 */
import { soak } from "../soak/soak.ts";

const [requests = 10_000, seed = 1] = process.argv.slice(2).map(Number);
const report = await soak({ requests, seed, concurrency: 96, cacheMib: 16, progress: (line) => console.log(line) });
const { load, rssMib, faults } = report;
const leaked = load === undefined || load.rows !== 0 || load.queuedRequests !== 0 || load.kvBytesReserved !== 0n || load.slots !== load.prefixes || load.kvBytesHeld > load.kvBytesBudget;
const grown = rssMib[2] > rssMib[1] * 1.03 + 4;
for (const fault of faults.slice(0, 50)) console.log(fault);
console.log(JSON.stringify({ ...report, faults: faults.length, leaked, grown }, (_, value: unknown) => (typeof value === "bigint" ? Number(value) : value), 2));
process.exitCode = faults.length > 0 || leaked || grown ? 1 : 0;
