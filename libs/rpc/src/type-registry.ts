import { createRegistry, type DescFile, type DescService, type Registry } from "@bufbuild/protobuf";
import { file_google_protobuf_struct, file_google_protobuf_wrappers } from "@bufbuild/protobuf/wkt";
import { file_google_rpc_error_details } from "@mistral-sae/contracts/google/rpc/error_details";

/**
 * Every message type that the services' files know, imports included, with google.rpc's error details: what
 * protobuf's JSON needs to write a `google.protobuf.Any`.
 */
export function typeRegistry(services: readonly DescService[]): Registry {
  const files = new Map<string, DescFile>();
  const visit = (file: DescFile): void => {
    if (files.has(file.name)) return;
    files.set(file.name, file);
    for (const dependency of file.dependencies) visit(dependency);
  };
  for (const { file } of services) visit(file);
  for (const file of [file_google_rpc_error_details, file_google_protobuf_struct, file_google_protobuf_wrappers]) visit(file);
  return createRegistry(...files.values());
}
