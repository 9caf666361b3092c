import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { InputError } from "@mistral-sae/tensor";

/** How the model hub is reached, and where its files are kept. */
export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  /** Sent as a bearer token, never to another host than the endpoint's. */
  readonly token: string | undefined;
  /** Folder of `models--{owner}--{name}` folders, in the layout of Python's huggingface_hub, which may share it. */
  readonly cacheDir: string;
  /** Nothing is sent; only what is in the cache can be used. */
  readonly offline: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

const trueValues: ReadonlySet<string> = new Set(["1", "ON", "YES", "TRUE"]);

/**
 * Reads HF_ENDPOINT, HF_TOKEN (or the file at HF_TOKEN_PATH), HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME and HF_HUB_OFFLINE with
 * the meaning and the defaults that huggingface_hub gives them. Throws InputError for an endpoint that is no http URL.
 */
export async function readHubSettings(env: Environment = process.env): Promise<HubSettings> {
  const given = (name: string): string | undefined => (env[name] === undefined || env[name] === "" ? undefined : env[name]);
  const isTrue = (name: string): boolean => trueValues.has((env[name] ?? "").toUpperCase());
  const home = expanded(given("HF_HOME") ?? join(given("XDG_CACHE_HOME") ?? join("~", ".cache"), "huggingface"), env);
  const endpoint = (given("HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, "");
  if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint)) throw new InputError("the hub's endpoint is not a URL", { field: "HF_ENDPOINT", got: endpoint, wanted: "http(s)://host" });
  const implicit = isTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN") ? undefined : await readToken(expanded(given("HF_TOKEN_PATH") ?? join(home, "token"), env));
  return {
    endpoint,
    token: (given("HF_TOKEN") ?? given("HUGGING_FACE_HUB_TOKEN"))?.trim() ?? implicit,
    cacheDir: expanded(given("HF_HUB_CACHE") ?? given("HUGGINGFACE_HUB_CACHE") ?? join(home, "hub"), env),
    offline: isTrue("HF_HUB_OFFLINE") || isTrue("TRANSFORMERS_OFFLINE"),
  };
}

/** `~` at the start and `$NAME` within a path. */
function expanded(path: string, env: Environment): string {
  const absolute = path === "~" || path.startsWith("~/") ? homedir() + path.slice(1) : path;
  return absolute.replace(/\$(\w+|\{\w+\})/g, (text, name: string) => env[name.replace(/[{}]/g, "")] ?? text);
}

async function readToken(path: string): Promise<string | undefined> {
  const text = await readFile(path, "utf8").catch(() => "");
  return text.trim() === "" ? undefined : text.trim();
}
