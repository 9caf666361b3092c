import { type FeatureIndexService, QueryFormat } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import type { Parts } from "../parts.ts";

export function queryHandlers({ queries }: Parts): Pick<Handlers<typeof FeatureIndexService>, "query"> {
  return {
    async *query({ sql, savedQuery, parameters, format, maxRows }, { signal }) {
      const query = { sql, savedQuery, parameters, maxRows: Number(maxRows) };
      switch (format) {
        case QueryFormat.UNSPECIFIED:
        case QueryFormat.JSON_ROWS:
          for await (const { data, nRows, columns } of queries.json(query, signal)) {
            yield { data: data as Uint8Array<ArrayBuffer>, nRows: BigInt(nRows), columnNames: columns.map(({ name }) => name), columnTypes: columns.map(({ type }) => type) };
          }
          return;
        case QueryFormat.ARROW_STREAM:
          for await (const data of queries.arrow(query, signal)) yield { data: data as Uint8Array<ArrayBuffer> };
          return;
        default:
          throw invalidArgument("format", `got ${String(format)}, wanted JSON_ROWS or ARROW_STREAM`);
      }
    },
  };
}
