import { toJson, type DescMessage, type MessageShape, type Registry } from "@bufbuild/protobuf";
import { typeRegistry } from "@mistral-sae/rpc";
import { services } from "./services.ts";

let registry: Registry | undefined;

/** A protobuf message as JSON with the proto's own snake_case names and every field present. */
export function messageJson<Desc extends DescMessage>(schema: Desc, value: MessageShape<Desc>): unknown {
  registry ??= typeRegistry(services);
  return toJson(schema, value, { registry, useProtoFieldName: true, alwaysEmitImplicit: true });
}
