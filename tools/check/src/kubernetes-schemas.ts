/**
 * JSON schemas for kubeconform out of Kubernetes' own OpenAPI file (`api/openapi-spec/swagger.json` of the release),
 * strict: a key that no schema names is an error.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
type JsonObject = { [key: string]: Json };

const REF_PREFIX = "#/definitions/";
// The file says "string" where the API server takes numbers too.
const LOOSER: Readonly<Record<string, JsonObject>> = {
  "io.k8s.apimachinery.pkg.util.intstr.IntOrString": { oneOf: [{ type: "string" }, { type: "integer" }] },
  "io.k8s.apimachinery.pkg.api.resource.Quantity": { oneOf: [{ type: "string" }, { type: "number" }] },
};

/** Writes one self-contained schema a kind into `folder`, named as kubeconform looks for it; returns how many. */
export async function writeKubernetesSchemas(swaggerPath: string, folder: string): Promise<number> {
  const swagger = JSON.parse(await readFile(swaggerPath, "utf8")) as { readonly definitions: Readonly<Record<string, JsonObject>> };
  const definitions: Record<string, JsonObject> = {};
  for (const [name, definition] of Object.entries(swagger.definitions)) definitions[name] = LOOSER[name] ?? (strict(definition) as JsonObject);
  await mkdir(folder, { recursive: true });
  let written = 0;
  for (const [name, definition] of Object.entries(definitions)) {
    const kinds = swagger.definitions[name]?.["x-kubernetes-group-version-kind"] as readonly Record<string, string>[] | undefined;
    const [kind] = kinds ?? [];
    if (kinds?.length !== 1 || kind === undefined) continue;
    const group = kind["group"]?.split(".")[0] ?? "";
    const file = `${kind["kind"] ?? ""}${group === "" ? "" : `-${group}`}-${kind["version"] ?? ""}.json`.toLowerCase();
    const used = new Set<string>();
    collectRefs(definition, definitions, used);
    const schema = { ...definition, definitions: Object.fromEntries([...used].map((ref) => [ref, definitions[ref] ?? {}])) };
    await writeFile(join(folder, file), JSON.stringify(schema));
    written += 1;
  }
  return written;
}

function strict(node: Json): Json {
  if (Array.isArray(node)) return node.map(strict);
  if (node === null || typeof node !== "object") return node;
  if (typeof node["$ref"] === "string") return { $ref: node["$ref"] };
  const copy: JsonObject = {};
  for (const [key, value] of Object.entries(node)) if (key !== "description" || typeof value !== "string") copy[key] = strict(value);
  const open = copy["additionalProperties"] !== undefined || copy["x-kubernetes-preserve-unknown-fields"] === true;
  if (copy["type"] === "object" && copy["properties"] !== undefined && !open) copy["additionalProperties"] = false;
  return copy;
}

function collectRefs(node: Json, definitions: Readonly<Record<string, JsonObject>>, used: Set<string>): void {
  if (node === null || typeof node !== "object") return;
  if (!Array.isArray(node) && typeof node["$ref"] === "string") {
    const name = node["$ref"].slice(REF_PREFIX.length);
    if (used.has(name)) return;
    used.add(name);
    collectRefs(definitions[name] ?? {}, definitions, used);
    return;
  }
  for (const child of Object.values(node)) collectRefs(child, definitions, used);
}
