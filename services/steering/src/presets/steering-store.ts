import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type SteeringPreset, SteeringPresetSchema, type SteeringSuggestion, SteeringSuggestionSchema } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { aborted, alreadyExists, notFound } from "@mistral-sae/rpc";

const schema = `
create table if not exists presets (
  id text primary key,
  message blob not null,
  etag text not null,
  create_ms integer not null,
  update_ms integer not null
) strict, without rowid;
create table if not exists suggestions (
  sae text not null,
  feature integer not null,
  message blob not null,
  update_ms integer not null,
  primary key (sae, feature)
) strict, without rowid;
`;

/** What a preset holds. */
export type PresetContent = Pick<SteeringPreset, "displayName" | "interventions">;

/** Presets, and the strengths that were suggested for features, in one SQLite file. */
export class SteeringStore {
  readonly #db: DatabaseSync;

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true });
    this.#db = new DatabaseSync(path);
    this.#db.exec("pragma journal_mode = wal; pragma synchronous = full; pragma busy_timeout = 5000;");
    this.#db.exec(schema);
  }

  close(): void {
    this.#db.close();
  }

  /** Throws ALREADY_EXISTS. */
  create(id: string, content: PresetContent): SteeringPreset {
    if (this.find(id) !== undefined) throw alreadyExists(presetName(id));
    const message = bytesOf(content);
    const now = Date.now();
    this.#db
      .prepare("insert into presets (id, message, etag, create_ms, update_ms) values (?, ?, ?, ?, ?)")
      .run(id, message, newEtag(message, ""), now, now);
    return this.get(id);
  }

  /** Throws NOT_FOUND. */
  get(id: string): SteeringPreset {
    const preset = this.find(id);
    if (preset === undefined) throw notFound(presetName(id));
    return preset;
  }

  find(id: string): SteeringPreset | undefined {
    const row = this.#db.prepare("select * from presets where id = ?").get(id);
    if (row === undefined) return undefined;
    const { message, etag, create_ms: createMs, update_ms: updateMs } = row;
    const preset = fromBinary(SteeringPresetSchema, message instanceof Uint8Array ? message : new Uint8Array());
    preset.name = presetName(id);
    preset.etag = String(etag);
    preset.createTime = timestampFromMs(Number(createMs));
    preset.updateTime = timestampFromMs(Number(updateMs));
    return preset;
  }

  /** By id, after one. */
  page(after: string | undefined, limit: number): SteeringPreset[] {
    const rows = this.#db.prepare("select id from presets where id > ? order by id limit ?").all(after ?? "", limit);
    return rows.map(({ id }) => this.get(String(id)));
  }

  /** Throws NOT_FOUND, or ABORTED ETAG_MISMATCH when `etag` is given and stale. */
  update(id: string, content: PresetContent, etag: string): SteeringPreset {
    const before = this.#guarded(id, etag);
    const message = bytesOf(content);
    // One statement decides a race between two writers: the etag read is the etag replaced.
    const { changes } = this.#db
      .prepare("update presets set message = ?, etag = ?, update_ms = ? where id = ? and etag = ?")
      .run(message, newEtag(message, before.etag), Date.now(), id, before.etag);
    if (changes === 0) throw stale(id, before.etag, "another");
    return this.get(id);
  }

  /** Throws as update does. */
  delete(id: string, etag: string): void {
    this.#guarded(id, etag);
    this.#db.prepare("delete from presets where id = ?").run(id);
  }

  /** Keeps what was measured of features, for queries that leave the strength open. */
  keepSuggestions(suggestions: readonly SteeringSuggestion[]): void {
    const put = this.#db.prepare("insert or replace into suggestions (sae, feature, message, update_ms) values (?, ?, ?, ?)");
    for (const suggestion of suggestions) {
      const { sae, featureIndex } = suggestion.feature ?? { sae: "", featureIndex: 0 };
      put.run(sae, featureIndex, toBinary(SteeringSuggestionSchema, suggestion), Date.now());
    }
  }

  suggestion(sae: string, featureIndex: number): SteeringSuggestion | undefined {
    const row = this.#db.prepare("select message from suggestions where sae = ? and feature = ?").get(sae, featureIndex);
    return row?.["message"] instanceof Uint8Array ? fromBinary(SteeringSuggestionSchema, row["message"]) : undefined;
  }

  #guarded(id: string, etag: string): SteeringPreset {
    const preset = this.get(id);
    if (etag !== "" && etag !== preset.etag) throw stale(id, etag, preset.etag);
    return preset;
  }
}

/** steeringPresets/{preset}. */
export function presetName(id: string): string {
  return `steeringPresets/${id}`;
}

function bytesOf({ displayName, interventions }: PresetContent): Uint8Array {
  return toBinary(SteeringPresetSchema, create(SteeringPresetSchema, { displayName, interventions }));
}

/** Differs from every earlier one of the preset, even when the content returns. */
function newEtag(message: Uint8Array, before: string): string {
  return createHash("sha256").update(before).update(message).digest("base64url").slice(0, 22);
}

function stale(id: string, got: string, wanted: string) {
  return aborted("ETAG_MISMATCH", `${presetName(id)} has changed: got etag "${got}", wanted "${wanted}"; read it again`);
}
