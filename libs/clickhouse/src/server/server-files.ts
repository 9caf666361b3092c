import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Engine } from "./engine.ts";

/** A name and its password. */
export interface Login {
  readonly username: string;
  readonly password: string;
}

/** What read-only SQL may cost. */
export interface AnalystLimits {
  readonly maxExecutionSeconds: number;
  readonly maxResultRows: number;
  readonly maxResultBytes: number;
  readonly maxMemoryBytes: number;
}

export const analystDefaults: AnalystLimits = {
  maxExecutionSeconds: 30,
  maxResultRows: 1_000_000,
  maxResultBytes: 256 << 20,
  maxMemoryBytes: 1 << 30,
};

/** What the two files say. */
export interface ServerFilesOptions {
  /** Folder of the server: config.xml and users.xml go here, data below it. */
  readonly folder: string;
  readonly engine: Engine["kind"];
  readonly port: number;
  readonly threads: number;
  readonly maxMemoryBytes: number;
  readonly owner: Login;
  readonly analyst: Login;
  readonly analystLimits: AnalystLimits;
  /** The one database that the analyst may read. */
  readonly viewsDatabase: string;
}

/** Writes config.xml and users.xml, readable by this user alone; passwords appear as SHA-256. Returns config.xml's path. */
export function writeServerFiles(options: ServerFilesOptions): string {
  mkdirSync(join(options.folder, "data"), { recursive: true, mode: 0o700 });
  writePrivate(join(options.folder, "users.xml"), usersXml(options));
  const config = join(options.folder, "config.xml");
  writePrivate(config, configXml(options));
  return config;
}

/** Where a server whose files lie in `folder` may write backups. */
export function backupsFolder(folder: string): string {
  return join(folder, "backups");
}

function writePrivate(path: string, text: string): void {
  writeFileSync(path, text, { mode: 0o600 });
  chmodSync(path, 0o600);
}

function configXml({ folder, engine, port, threads, maxMemoryBytes }: ServerFilesOptions): string {
  const data = join(folder, "data");
  return xml("clickhouse", {
    path: `${data}/`,
    tmp_path: `${data}/tmp/`,
    user_files_path: `${data}/user_files/`,
    format_schema_path: `${data}/format_schemas/`,
    backups: { allowed_path: `${backupsFolder(folder)}/`, remove_backup_files_after_failure: true },
    http_port: port,
    listen_host: "127.0.0.1",
    // The library reads log-level, the server logger.
    "log-level": "warning",
    logger: { level: "warning", console: 1 },
    user_directories: { users_xml: { path: join(folder, "users.xml") } },
    ...(engine === "binary" ? { default_profile: "owner", default_database: "default" } : {}),
    max_server_memory_usage: maxMemoryBytes,
    mark_cache_size: 128 << 20,
    uncompressed_cache_size: 128 << 20,
    background_pool_size: Math.max(2, threads),
    background_schedule_pool_size: 4,
    access_control_improvements: { select_from_system_db_requires_grant: true, select_from_information_schema_requires_grant: true, settings_constraints_replace_previous: true },
    default_session_timeout: 60,
    keep_alive_timeout: 30,
  });
}

function usersXml({ engine, owner, analyst, analystLimits, threads, viewsDatabase }: ServerFilesOptions): string {
  const loopback = { ip: ["127.0.0.1", "::1"] };
  const user = ({ username, password }: Login, profile: string, rest: XmlTree) => ({
    [username]: { password_sha256_hex: createHash("sha256").update(password).digest("hex"), networks: loopback, profile, quota: "default", ...rest },
  });
  return xml("clickhouse", {
    profiles: {
      // Applies to every session, so it says nothing.
      default: "",
      owner: { max_threads: threads, max_insert_threads: 1, log_queries: 0 },
      analyst: {
        readonly: 1,
        max_threads: threads,
        max_execution_time: analystLimits.maxExecutionSeconds,
        max_result_rows: analystLimits.maxResultRows,
        max_result_bytes: analystLimits.maxResultBytes,
        result_overflow_mode: "throw",
        max_memory_usage: analystLimits.maxMemoryBytes,
        // A query is stopped between blocks, not within one: these keep the work on one small.
        function_range_max_elements_in_block: 1_000_000,
        max_ast_elements: 10_000,
        max_expanded_ast_elements: 20_000,
        // Every reader of Arrow reads it so; a NaN in JSON would be null otherwise.
        output_format_arrow_compression_method: "none",
        output_format_json_quote_denormals: 1,
        log_queries: 0,
        // Clients in Go, Grafana's among them, send one with every query: it may be shorter.
        constraints: { max_execution_time: { changeable_in_readonly: "", min: 1, max: analystLimits.maxExecutionSeconds } },
      },
      // The library's own session logs in as "default" without a password and stays; nobody else gets a second one.
      ...(engine === "library" ? { session: { max_sessions_for_user: 1, constraints: { max_sessions_for_user: { readonly: "" } } } } : {}),
    },
    quotas: { default: "" },
    users: {
      ...user(owner, "owner", { access_management: 1, named_collection_control: 1 }),
      ...user(analyst, "analyst", { default_database: viewsDatabase, grants: { query: `GRANT SELECT ON ${viewsDatabase}.*` } }),
      ...(engine === "library"
        ? { default: { no_password: "", networks: loopback, profile: "session", quota: "default", grants: { query: ["GRANT SYSTEM LISTEN ON *.*", "GRANT SELECT ON system.numbers"] } } }
        : {}),
    },
  });
}

type XmlTree = { readonly [tag: string]: string | number | boolean | readonly string[] | XmlTree };

function xml(tag: string, content: string | number | boolean | XmlTree): string {
  if (typeof content !== "object") return `<${tag}>${escape(String(content))}</${tag}>\n`;
  const inner = Object.entries(content).map(([name, value]) => (Array.isArray(value) ? value.map((item: string) => xml(name, item)).join("") : xml(name, value as XmlTree)));
  return `<${tag}>\n${inner.join("")}</${tag}>\n`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
