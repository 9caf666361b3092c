import { SavedQuerySchema, type SavedQuery } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { group, run } from "../command.ts";
import { formatFields, messageJson, missing } from "../output.ts";
import { allPages, resourceName } from "../resources.ts";
import { statementOf } from "./index-sql.ts";

/** `index queries …`. */
export function registerQueryVerbs(index: Command): void {
  const queries = group(index, "queries", "Queries under names, for `index sql --saved`.");
  queries
    .command("ls")
    .description("List saved queries, those that ship among them.")
    .action(
      run(async ({ output, signal, address }) => {
        output.table(
          await allQueries(address, signal),
          [
            { header: "name", cell: ({ name }) => name.slice(name.indexOf("/") + 1), align: "left" },
            { header: "parameters", cell: parametersOf, align: "left" },
            { header: "", cell: ({ builtIn }) => (builtIn ? "built in" : ""), align: "left" },
            { header: "description", cell: ({ description }) => description, align: "left", maxWidth: 90 },
          ],
          (row) => messageJson(SavedQuerySchema, row),
        );
      }),
    );
  queries
    .command("show")
    .description("Show a saved query.")
    .argument("<name>", "savedQueries/{query} or its id")
    .action(
      run(async ({ output, signal, address }, given: string) => {
        const name = resourceName("savedQueries", given);
        const query = (await allQueries(address, signal)).find((one) => one.name === name);
        if (query === undefined) throw missing(`${name} does not exist`, { hint: "`mistral-sae index queries ls` lists them" });
        output.message(SavedQuerySchema, query, () => `${formatFields([["name", query.name], ["tells", query.description], ["parameters", parametersOf(query)]])}\n\n${query.sql}`);
      }),
    );
  queries
    .command("put")
    .description("Save a query, in place of the one of the same name.")
    .argument("<name>", "id to give it")
    .argument("[statement]", "one SELECT statement; {name:Type} are its parameters; - reads standard input")
    .option("--file <path>", "read the statement from a file")
    .option("--description <text>", "what it tells")
    .action(
      run(async ({ output, signal, address }, given: string, statement: string | undefined, options: { readonly file?: string; readonly description?: string }) => {
        const name = resourceName("savedQueries", given);
        const savedQuery = { name, sql: statementOf(statement, options.file), description: options.description ?? "" };
        const { savedQuery: saved } = await connect(address).featureIndex.putSavedQuery({ savedQuery }, { signal });
        if (saved === undefined) throw missing(`${name} was not saved`);
        output.message(SavedQuerySchema, saved, () => `${name} is saved${saved.parameters.length === 0 ? "" : `, with parameters ${parametersOf(saved)}`}`);
      }),
    );
  queries
    .command("rm")
    .description("Delete a query that somebody saved.")
    .argument("<name>", "savedQueries/{query} or its id")
    .action(
      run(async ({ output, signal, address }, given: string) => {
        const name = resourceName("savedQueries", given);
        await connect(address).featureIndex.deleteSavedQuery({ name }, { signal });
        output.result({ name }, () => `${name} is deleted`);
      }),
    );
}

async function allQueries(address: string, signal: AbortSignal): Promise<SavedQuery[]> {
  const clients = connect(address);
  return await allPages(async (pageToken) => {
    const page = await clients.featureIndex.listSavedQueries({ pageSize: 1000, pageToken }, { signal });
    return { rows: page.savedQueries, nextPageToken: page.nextPageToken };
  });
}

function parametersOf({ parameters }: SavedQuery): string {
  return parameters.map(({ name, type }) => `${name}:${type}`).join(" ");
}
