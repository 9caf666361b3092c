import { startTelemetry } from "@mistral-sae/telemetry";
import { type RunningServer, type ServerOptions, startServer } from "./server.ts";

/** A service process. */
export interface ServiceProcess extends ServerOptions {
  /** Its short name: inference, training, ... */
  readonly name: string;
  /** Frees what the service holds; called once, after the last call has ended. */
  readonly close?: () => Promise<void>;
  /** How long calls may go on after SIGTERM, in milliseconds. */
  readonly graceMs?: number;
  /** Called when the server listens, before the ready line; the service is NOT_SERVING until it resolves. */
  readonly ready?: (server: RunningServer) => Promise<void>;
}

/**
 * Runs a service until SIGTERM, SIGINT or, with MISTRAL_SAE_PARENT_PIPE=1, the end of its standard input, so that
 * it never outlives the process that started it. Prints `{"ready":name,"address":host:port}` when it serves.
 */
export async function runService(service: ServiceProcess): Promise<RunningServer> {
  let stopWith: ((graceMs: number) => void) | undefined;
  // Watched from the start: making ready may take minutes. Nothing is served yet then, and what is durable is on disk.
  whenParentEnds(() => (stopWith === undefined ? process.exit(1) : stopWith(500)));
  const telemetry = await startTelemetry({ serviceName: `mistral-sae-${service.name}` });
  const server = await startServer({ ...service, startNotServing: true });
  await service.ready?.(server);
  server.setServing("", true);
  process.stdout.write(`${JSON.stringify({ ready: service.name, address: server.address })}\n`);

  let stopping = false;
  const stop = (graceMs: number) => {
    if (stopping) return;
    stopping = true;
    const end = async () => {
      await server.close(graceMs);
      await service.close?.();
      await telemetry.shutdown();
    };
    // A stuck close must not keep the process: what is durable is already on disk.
    setTimeout(() => process.exit(1), graceMs + 10_000).unref();
    end().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`${service.name}: ${String(error)}\n`);
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", () => stop(service.graceMs ?? 5_000));
  process.on("SIGINT", () => stop(service.graceMs ?? 5_000));
  stopWith = stop;
  return server;
}

/** Calls back when the process that holds the other end of standard input ends; needs MISTRAL_SAE_PARENT_PIPE=1. */
export function whenParentEnds(callback: () => void): void {
  if (process.env["MISTRAL_SAE_PARENT_PIPE"] !== "1") return;
  process.stdin.on("end", callback);
  process.stdin.on("close", callback);
  process.stdin.on("error", callback);
  process.stdin.resume();
  process.stdin.unref?.();
}
