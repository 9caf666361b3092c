import * as grpc from "@grpc/grpc-js";
import { serverCalls } from "@mistral-sae/telemetry";
import { grpcDefinition, grpcHandlers } from "./grpc-adapter.ts";
import type { ServiceImplementation } from "./handlers.ts";
import { HealthState, healthService } from "./health.ts";
import type { CallObserver } from "./observer.ts";
import { reflectionServices } from "./reflection.ts";

/** How a server listens. */
export interface ServerOptions {
  /** host:port; port 0 takes a free one. */
  readonly listen: string;
  readonly services: readonly ServiceImplementation[];
  /** Serve grpc.reflection. */
  readonly reflection?: boolean;
  /** Largest message taken, in bytes. */
  readonly maxReceiveBytes?: number;
  /** Streams that one connection may hold open. */
  readonly maxConcurrentStreams?: number;
  /** Start as NOT_SERVING; the owner calls {@link RunningServer.setServing} when ready. */
  readonly startNotServing?: boolean;
  readonly observer?: CallObserver;
}

export const serverDefaults = {
  reflection: true,
  maxReceiveBytes: 64 << 20,
  maxConcurrentStreams: 4096,
  startNotServing: false,
  observer: serverCalls,
} as const;

/** A server that takes calls. */
export interface RunningServer {
  /** host:port it listens on. */
  readonly address: string;
  readonly port: number;
  /** Sets the health of one service by its full name, or of all for "". */
  setServing(service: string, serving: boolean): void;
  /** NOT_SERVING, then no new calls; what still runs after `graceMs` is aborted. */
  close(graceMs?: number): Promise<void>;
}

/** Serves implementations over grpc-js with health and reflection. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { listen, services, reflection, maxReceiveBytes, maxConcurrentStreams, startNotServing, observer } = {
    ...serverDefaults,
    ...options,
  };
  const health = new HealthState();
  for (const { service } of services) health.set(service.typeName, !startNotServing);
  health.set("", !startNotServing);

  const server = new grpc.Server({
    "grpc.max_receive_message_length": maxReceiveBytes,
    "grpc.max_send_message_length": -1,
    "grpc.max_concurrent_streams": maxConcurrentStreams,
    "grpc.keepalive_time_ms": 30_000,
  });
  const healthImplementation = healthService(health);
  const own = [...services, healthImplementation];
  const all = reflection ? [...own, ...reflectionServices(own.map(({ service }) => service))] : own;
  for (const implementation of all) server.addService(grpcDefinition(implementation), grpcHandlers(implementation, observer));

  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(listen, grpc.ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  const host = listen.slice(0, listen.lastIndexOf(":"));
  return {
    address: `${host}:${port}`,
    port,
    setServing: (service, serving) => (service === "" ? health.setAll(serving) : health.set(service, serving)),
    close: async (graceMs = 5_000) => {
      health.setAll(false);
      const drained = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      const timer = setTimeout(() => server.forceShutdown(), graceMs);
      await drained;
      clearTimeout(timer);
    },
  };
}
