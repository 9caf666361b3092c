import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Vocabularies } from "../corpus/vocabulary.ts";
import { readExplanations } from "../serving/explanations.ts";
import type { FeaturePages } from "../serving/feature-pages.ts";
import { readWindows } from "../serving/windows.ts";
import { ACTS_F64 } from "../store/activations-sql.ts";
import { T } from "../store/tables.ts";
import { defaultContext } from "../wire/example-message.ts";
import { explanationName } from "./import/import-dashboard.ts";
import { inForm, type ValueForm } from "./import/value-form.ts";
import { activationRow, explanationRow, featureRow, type RowFacts } from "./neuronpedia/rows.ts";
import { fromDashboardActivation, fromDashboardFeature } from "./saedashboard/rename.ts";
import { sourceNames } from "./neuronpedia/source-names.ts";

/** What reading dashboards works with. */
export interface DashboardParts {
  readonly clickhouse: ClickHouse;
  readonly vocabularies: Vocabularies;
  readonly pages: FeaturePages;
}

export type JsonRow = Readonly<Record<string, unknown>>;

/** A feature as an export writes it: in Neuronpedia's names, or as it was imported where `format` says so. */
export interface DashboardFeature {
  readonly feature: JsonRow;
  readonly activations: readonly JsonRow[];
  readonly explanations: readonly JsonRow[];
}

/** Features of one file of an export. */
export interface FeatureRun {
  readonly batch: number;
  readonly features: readonly number[];
}

const EXAMPLES_A_BATCH = 20_000;

/** The features of an index in runs of at most `size`, each with a bounded number of examples. */
export async function featureRuns(clickhouse: ClickHouse, { indexId }: IndexRecord, size: number): Promise<FeatureRun[]> {
  const rows = await clickhouse.rows<{ feature: number; n: number }>(
    `SELECT feature_index AS feature, e.n AS n FROM ${T.features} AS f
     LEFT JOIN (SELECT feature_index, count() AS n FROM ${T.featureExamples} WHERE index_id = {indexId:UInt32} GROUP BY feature_index) AS e USING feature_index
     WHERE index_id = {indexId:UInt32} ORDER BY feature`,
    { indexId },
  );
  const runs: { batch: number; features: number[] }[] = [];
  let examples = 0;
  for (const { feature, n } of rows) {
    const last = runs.at(-1);
    if (last === undefined || last.features.length === size || examples + n > EXAMPLES_A_BATCH) {
      runs.push({ batch: runs.length, features: [feature] });
      examples = n;
    } else {
      last.features.push(feature);
      examples += n;
    }
  }
  return runs;
}

/** What all rows of an index have in common. */
export function factsOf(index: IndexRecord): RowFacts {
  return { ...sourceNames(index), hookName: index.sae.hookName, seed: `${index.sae.digest}/${index.corpus.digest}/${index.id}`, createdAt: new Date(index.createdMs).toISOString() };
}

/** Features as Neuronpedia has them; those that were imported with every field as it came. */
export async function readDashboards(parts: DashboardParts, index: IndexRecord, features: readonly number[], facts: RowFacts, signal: AbortSignal): Promise<DashboardFeature[]> {
  if (index.importedFrom === "neuronpedia" || index.importedFrom === "saedashboard") return await readImported(parts, index, features, facts, signal);
  const pages = await parts.pages.full(index, features, defaultContext, signal);
  const corpus = `corpora/${index.corpus.id}`;
  return pages.map((page) => {
    const { featureIndex = 0, examples = [], explanations = [] } = page;
    return {
      feature: featureRow(facts, page),
      activations: examples.map((example, ordinal) => activationRow(facts, featureIndex, ordinal, example, corpus)),
      explanations: explanations.map((explanation) => explanationRow(facts, featureIndex, explanation)),
    };
  });
}

interface ImportedRow {
  readonly kind: "feature" | "activation" | "explanation";
  readonly feature: number;
  readonly ordinal: number;
  readonly row: string;
  readonly form: ValueForm;
  readonly vals: readonly number[];
}

/** The rows that an import kept, in the names of the format that they came in. */
export async function readGiven({ clickhouse, vocabularies }: Pick<DashboardParts, "clickhouse" | "vocabularies">, { indexId, corpus }: IndexRecord, features: readonly number[], signal: AbortSignal): Promise<ReadonlyMap<number, DashboardFeature>> {
  const rows = await clickhouse.rows<ImportedRow>(
    `SELECT kind, feature_index AS feature, ordinal, row, values_form AS form, vals FROM ${T.importedRows}
     WHERE index_id = {indexId:UInt32} AND kind != 'metadata' AND feature_index IN {features:Array(UInt32)} ORDER BY kind, feature, ordinal`,
    { indexId, features },
    { signal },
  );
  const examples = rows.filter(({ kind }) => kind === "activation");
  const [windows, firings, texts] = await Promise.all([readWindows(clickhouse, corpus, examples.map(({ ordinal }) => ordinal)), readFirings(clickhouse, indexId, features, signal), vocabularies.texts(corpus.vocabularyId)]);
  const activation = ({ ordinal, row, form, vals }: ImportedRow): JsonRow => {
    const tokens = (windows.get(ordinal)?.tokens ?? []).map((id) => texts[id] ?? "");
    const values = form === 2 ? vals : tokens.map(() => 0);
    const fired = firings.get(ordinal);
    if (form !== 2) for (const [i, at] of (fired?.pos ?? []).entries()) (values as number[])[at] = inForm(fired?.acts[i] ?? 0, form);
    return { ...(JSON.parse(row) as JsonRow), tokens, values };
  };
  const byFeature = Map.groupBy(rows, ({ feature }) => feature);
  return new Map(
    [...byFeature].map(([feature, own]) => {
      const of = (kind: ImportedRow["kind"]) => own.filter((row) => row.kind === kind);
      const parse = ({ row }: ImportedRow) => JSON.parse(row) as JsonRow;
      return [feature, { feature: of("feature").map(parse)[0] ?? {}, activations: of("activation").map(activation), explanations: of("explanation").map(parse) }];
    }),
  );
}

async function readFirings(clickhouse: ClickHouse, indexId: number, features: readonly number[], signal: AbortSignal): Promise<ReadonlyMap<number, { readonly pos: readonly number[]; readonly acts: readonly number[] }>> {
  const rows = await clickhouse.rows<{ sequence: number; pos: number[]; acts: number[] }>(
    `SELECT sequence_id AS sequence, pos, ${ACTS_F64} AS acts FROM ${T.featureExamples} WHERE index_id = {indexId:UInt32} AND feature_index IN {features:Array(UInt32)}`,
    { indexId, features },
    { signal },
  );
  return new Map(rows.map((row) => [row.sequence, row]));
}

async function readImported(parts: DashboardParts, index: IndexRecord, features: readonly number[], facts: RowFacts, signal: AbortSignal): Promise<DashboardFeature[]> {
  const given = await readGiven(parts, index, features, signal);
  const explanations = await readExplanations(parts.clickhouse, index.sae.saeId, features);
  return features.map((number) => {
    const { feature = {}, activations = [], explanations: own = [] } = given.get(number) ?? {};
    const known = new Map(own.map((row) => [explanationName(index.sae.name, number, String(row["id"])), row]));
    const later = (explanations.get(number) ?? []).filter(({ name }) => !known.has(name));
    const rows = {
      // What was imported and deleted since is not written again.
      explanations: [...known].filter(([name]) => explanations.get(number)?.some((one) => one.name === name) === true).map(([, row]) => row).concat(later.map((explanation) => explanationRow(facts, number, explanation))),
    };
    if (index.importedFrom === "neuronpedia") return { ...rows, feature, activations };
    const renamed = activations.map((activation, ordinal) => fromDashboardActivation(facts, number, ordinal, activation));
    return { ...rows, feature: fromDashboardFeature(facts, feature, renamed), activations: renamed };
  });
}

/** A row that an import found beside the batches. */
export interface MetadataRow {
  readonly file: string;
  readonly row: JsonRow;
}

export async function readMetadata(clickhouse: ClickHouse, { indexId }: IndexRecord): Promise<MetadataRow[]> {
  const rows = await clickhouse.rows<{ file: string; row: string }>(`SELECT file, row FROM ${T.importedRows} WHERE index_id = {indexId:UInt32} AND kind = 'metadata' ORDER BY ordinal`, { indexId });
  return rows.map(({ file, row }) => ({ file, row: JSON.parse(row) as JsonRow }));
}
