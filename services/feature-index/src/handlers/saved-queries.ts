import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Handlers, invalidArgument, pageOf, parseName } from "@mistral-sae/rpc";
import type { Parts } from "../parts.ts";
import { parametersOf } from "../query/parameters.ts";
import type { SavedQuery } from "../query/saved-queries.ts";

type Names = "putSavedQuery" | "listSavedQueries" | "deleteSavedQuery";

export function savedQueryHandlers({ savedQueries }: Pick<Parts, "savedQueries">): Pick<Handlers<typeof FeatureIndexService>, Names> {
  return {
    putSavedQuery: async ({ savedQuery }) => {
      if (savedQuery === undefined) throw invalidArgument("saved_query", "is not set, wanted a query with its name");
      const { query: id } = parseName("savedQueries/{query}", savedQuery.name, "saved_query.name");
      return { savedQuery: message(await savedQueries.put({ id, sql: savedQuery.sql, description: savedQuery.description })) };
    },
    listSavedQueries: async (request) => {
      const page = pageOf(savedQueries.list(), request, ({ id }) => id);
      return await Promise.resolve({ savedQueries: page.rows.map(message), nextPageToken: page.nextPageToken });
    },
    deleteSavedQuery: async ({ name }) => {
      savedQueries.delete(parseName("savedQueries/{query}", name, "name").query);
      return await Promise.resolve({});
    },
  };
}

function message({ id, sql, description, builtIn }: SavedQuery) {
  return { name: `savedQueries/${id}`, sql, description, builtIn, parameters: parametersOf(sql).map(({ name, type }) => ({ name, type })) };
}
