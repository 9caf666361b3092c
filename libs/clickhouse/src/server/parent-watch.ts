import { Socket } from "node:net";
import { parentPort, workerData } from "node:worker_threads";

// Runs in a worker, because the engine's call holds the main thread for as long as the server lives.
const { fd, graceMs } = workerData as { readonly fd: number; readonly graceMs: number };

const pipe = new Socket({ fd, readable: true, writable: false });
const end = () => {
  process.kill(process.pid, "SIGTERM");
  setTimeout(() => process.kill(process.pid, "SIGKILL"), graceMs);
};
pipe.once("end", end);
pipe.once("error", end);
pipe.resume();
parentPort?.postMessage("watching");
