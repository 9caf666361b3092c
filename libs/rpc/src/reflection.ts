import { type DescEnum, type DescFile, type DescMessage, type DescMethod, type DescService, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { type ServerReflectionRequest, ServerReflection } from "@mistral-sae/contracts/grpc/reflection/v1/reflection";
import { ServerReflection as ServerReflectionAlpha } from "@mistral-sae/contracts/grpc/reflection/v1alpha/reflection";
import { file_google_rpc_error_details } from "@mistral-sae/contracts/google/rpc/error_details";
import { Code } from "./errors.ts";
import { implement, type ServiceImplementation } from "./handlers.ts";

/** What the services' descriptors say, indexed for `grpc.reflection`. */
class DescriptorIndex {
  readonly serviceNames: readonly string[];
  readonly #files = new Map<string, DescFile>();
  readonly #symbols = new Map<string, DescFile>();

  constructor(services: readonly DescService[]) {
    this.serviceNames = services.map((service) => service.typeName);
    for (const service of services) this.#addFile(service.file);
    // No service names these, but every failure carries them.
    this.#addFile(file_google_rpc_error_details);
  }

  byName(name: string): DescFile | undefined {
    return this.#files.get(name);
  }

  bySymbol(symbol: string): DescFile | undefined {
    return this.#symbols.get(symbol);
  }

  #addFile(file: DescFile): void {
    const name = file.proto.name;
    if (this.#files.has(name)) return;
    this.#files.set(name, file);
    for (const dependency of file.dependencies) this.#addFile(dependency);
    for (const message of file.messages) this.#addMessage(message);
    for (const enumeration of file.enums) this.#addEnum(enumeration);
    for (const extension of file.extensions) this.#symbols.set(extension.typeName, file);
    for (const service of file.services) {
      this.#symbols.set(service.typeName, file);
      for (const method of service.methods) this.#symbols.set(symbolOf(method), file);
    }
  }

  #addMessage(message: DescMessage): void {
    this.#symbols.set(message.typeName, message.file);
    for (const field of message.fields) this.#symbols.set(`${message.typeName}.${field.name}`, message.file);
    for (const nested of message.nestedMessages) this.#addMessage(nested);
    for (const nested of message.nestedEnums) this.#addEnum(nested);
  }

  #addEnum(enumeration: DescEnum): void {
    this.#symbols.set(enumeration.typeName, enumeration.file);
  }
}

const symbolOf = (method: DescMethod): string => `${method.parent.typeName}.${method.name}`;

/** A file and everything it imports, each once, serialised. */
function closure(root: DescFile): Uint8Array[] {
  const seen = new Map<string, Uint8Array>();
  const visit = (file: DescFile): void => {
    if (seen.has(file.proto.name)) return;
    seen.set(file.proto.name, toBinary(FileDescriptorProtoSchema, file.proto));
    for (const dependency of file.dependencies) visit(dependency);
  };
  visit(root);
  return [...seen.values()];
}

/** `grpc.reflection` v1 and v1alpha over the services' own descriptors. */
export function reflectionServices(services: readonly DescService[]): readonly ServiceImplementation[] {
  const index = new DescriptorIndex([...services, ServerReflection, ServerReflectionAlpha]);
  const files = (file: DescFile | undefined, what: string) =>
    file === undefined
      ? { case: "errorResponse" as const, value: { errorCode: Code.NotFound as number, errorMessage: `${what} is not known here` } }
      : { case: "fileDescriptorResponse" as const, value: { fileDescriptorProto: closure(file) } };
  const answer = ({ messageRequest }: Pick<ServerReflectionRequest, "messageRequest">) => {
    switch (messageRequest.case) {
      case "listServices":
        return { case: "listServicesResponse" as const, value: { service: index.serviceNames.map((name) => ({ name })) } };
      case "fileByFilename":
        return files(index.byName(messageRequest.value), `file ${messageRequest.value}`);
      case "fileContainingSymbol":
        return files(index.bySymbol(messageRequest.value), `symbol ${messageRequest.value}`);
      case "allExtensionNumbersOfType":
        return { case: "allExtensionNumbersResponse" as const, value: { baseTypeName: messageRequest.value, extensionNumber: [] } };
      default:
        return files(undefined, "what was asked for");
    }
  };
  return [
    implement(ServerReflection, {
      async *serverReflectionInfo(requests) {
        for await (const originalRequest of requests) {
          yield { validHost: originalRequest.host, originalRequest, messageResponse: answer(originalRequest) };
        }
      },
    }),
    implement(ServerReflectionAlpha, {
      async *serverReflectionInfo(requests) {
        for await (const originalRequest of requests) {
          const { host, messageRequest } = originalRequest;
          const ask = messageRequest.case === "fileContainingExtension" ? { case: undefined } : messageRequest;
          yield { validHost: host, originalRequest, messageResponse: answer({ messageRequest: ask }) };
        }
      },
    }),
  ];
}
