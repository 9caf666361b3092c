import { randomBytes } from "node:crypto";
import { notFound, parseName } from "@mistral-sae/rpc";

/** operations/{service}/{id}. */
export function operationName(service: string, id: string): string {
  return `operations/${service}/${id}`;
}

/** The id in an operation's name. Throws INVALID_ARGUMENT on another form, NOT_FOUND on another service's name. */
export function operationId(service: string, name: string): string {
  const { service: owner, id } = parseName("operations/{service}/{id}", name, "name");
  if (owner !== service) throw notFound(name, `belongs to the service "${owner}"; this is "${service}"`);
  return id;
}

/** An id that is readable and free. */
export function newId(kind: string): string {
  return `${kind}-${randomBytes(6).toString("hex")}`;
}
