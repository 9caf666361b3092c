import * as grpc from "@grpc/grpc-js";

/** A collector that keeps the raw bytes of what it receives, by signal. */
export interface OtlpReceiver {
  readonly url: string;
  readonly traces: Buffer[];
  readonly metrics: Buffer[];
  readonly logs: Buffer[];
  close(): void;
}

/** Serves the three OTLP export methods on a free port. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const got = { traces: [] as Buffer[], metrics: [] as Buffer[], logs: [] as Buffer[] };
  const server = new grpc.Server();
  const same = (bytes: Buffer): Buffer => bytes;
  for (const [signal, service] of [["traces", "trace.v1.TraceService"], ["metrics", "metrics.v1.MetricsService"], ["logs", "logs.v1.LogsService"]] as const) {
    const definition = {
      Export: {
        path: `/opentelemetry.proto.collector.${service}/Export`,
        requestStream: false,
        responseStream: false,
        requestSerialize: same,
        requestDeserialize: same,
        responseSerialize: same,
        responseDeserialize: same,
      },
    };
    server.addService(definition, {
      Export: (call: { request: Buffer }, done: grpc.sendUnaryData<Buffer>) => {
        got[signal].push(call.request);
        done(null, Buffer.alloc(0));
      },
    });
  }
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return { url: `http://127.0.0.1:${port}`, ...got, close: () => server.forceShutdown() };
}
