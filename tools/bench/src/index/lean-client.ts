import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { SparseCodeSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { FeatureIndexService, IngestActivationsRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";

/** A chunk without its code, and the code. */
export interface LeanChunk {
  readonly head: MessageInitShape<typeof IngestActivationsRequestSchema>;
  readonly code: MessageInitShape<typeof SparseCodeSchema>;
  readonly featureIndices: Uint8Array;
  readonly activations: Uint8Array;
}

const method = FeatureIndexService.method.ingestActivations;

/**
 * IngestActivations over plain HTTP/2: what a chunk's codes are is written to the socket where it lies, so that on a machine
 * that serves as well, the service is measured and not its client.
 */
export class LeanClient implements AsyncDisposable {
  readonly #session: ClientHttp2Session;

  constructor(address: string) {
    this.#session = connect(`http://${address}`);
  }

  /** Sends a stream. @throws Error when it is refused. */
  async ingest(chunks: AsyncIterable<LeanChunk>): Promise<void> {
    const stream = this.#session.request({ ":method": "POST", ":path": `/${FeatureIndexService.typeName}/${method.name}`, "content-type": "application/grpc", te: "trailers" });
    let refused: string | undefined = "the stream ended without a status";
    stream.on("trailers", ({ "grpc-status": status, "grpc-message": message }) => (refused = Number(status) === 0 ? undefined : `${String(status)} ${String(message)}`));
    const ended = once(stream, "end");
    stream.resume();
    for await (const chunk of chunks) for (const part of framed(chunk)) await written(stream, part);
    stream.end();
    await ended;
    if (refused !== undefined) throw new Error(`IngestActivations was refused: ${refused}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#session.close();
    await once(this.#session, "close");
  }
}

async function written(stream: ClientHttp2Stream, part: Uint8Array): Promise<void> {
  if (!stream.write(part)) await once(stream, "drain");
}

/** A message of gRPC as parts. Fields of a message may come in any order, and its last ones are the long ones. */
function framed({ head, code, featureIndices, activations }: LeanChunk): Uint8Array[] {
  const { featureIndices: indicesField, activations: activationsField } = SparseCodeSchema.field;
  const opened = (field: { readonly number: number }, length: number) => new BinaryWriter().tag(field.number, WireType.LengthDelimited).uint32(length).finish();
  const inner = [
    toBinary(SparseCodeSchema, create(SparseCodeSchema, code)),
    opened(indicesField, featureIndices.length),
    featureIndices,
    opened(activationsField, activations.length),
    activations,
  ];
  const outer = toBinary(IngestActivationsRequestSchema, create(IngestActivationsRequestSchema, head));
  const parts = [outer, opened(IngestActivationsRequestSchema.field.code, sizeOf(inner)), ...inner];
  const header = new Uint8Array(5);
  new DataView(header.buffer).setUint32(1, sizeOf(parts));
  return [header, ...parts];
}

function sizeOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}
