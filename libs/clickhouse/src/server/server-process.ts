import { spawn } from "node:child_process";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { DataType, load, open } from "ffi-rs";
import type { Engine } from "./engine.ts";
import { writePidFile } from "./leftover.ts";

/** What the process is told, as JSON in its first argument. */
export interface ServerProcessOptions {
  readonly engine: Engine;
  /** Path of config.xml. */
  readonly config: string;
  /** Where the processes of the server are noted. */
  readonly pidFile: string;
  /** The process that the server belongs to. */
  readonly ownerPid: number;
  /** Descriptor of the pipe whose end means that the parent has gone. */
  readonly pipeFd: number;
}

// Opens the HTTP port, then keeps the session that holds it open busy without cost.
const LISTEN =
  "SYSTEM START LISTEN HTTP; SELECT sleepEachRow(3) FROM system.numbers FORMAT Null " +
  "SETTINGS function_sleep_max_microseconds_per_block=0, max_block_size=1, max_threads=1";

/** Serves until SIGTERM or the end of the parent; does not return while the server runs. */
function serveByLibrary(path: string, config: string): never {
  open({ library: "chdb", path });
  const args = ["clickhouse", `--config-file=${config}`, `--query=${LISTEN}`];
  load({
    library: "chdb",
    funcName: "query_stable_v2",
    retType: DataType.External,
    paramsType: [DataType.I32, DataType.StringArray],
    paramsValue: [args.length, args],
  });
  process.exit(1);
}

function serveByBinary(path: string, config: string): void {
  const server = spawn(path, ["server", `--config-file=${config}`], { stdio: ["ignore", "inherit", "inherit"] });
  process.on("SIGTERM", () => server.kill("SIGTERM"));
  server.on("error", (error) => {
    process.stderr.write(`${path}: ${error.message}\n`);
    process.exit(1);
  });
  server.on("exit", (code) => process.exit(code ?? 1));
  if (server.pid !== undefined) writePidFile(pidFile, ownerPid, [process.pid, server.pid]);
}

const { engine, config, pidFile, ownerPid, pipeFd } = JSON.parse(process.argv[2] ?? "{}") as ServerProcessOptions;
const watch = new Worker(new URL("./parent-watch.ts", import.meta.url), { workerData: { fd: pipeFd, graceMs: 10_000 } });
await once(watch, "message");
writePidFile(pidFile, ownerPid, [process.pid]);
if (engine.kind === "library") serveByLibrary(engine.path, config);
else serveByBinary(engine.path, config);
