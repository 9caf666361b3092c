import { clusterStatements, type ClusterLayout } from "../cluster/cluster-statements.ts";
import { onCluster } from "../cluster/cluster.ts";
import type { Migration } from "./read-migrations.ts";
import { splitStatements } from "./split-statements.ts";

/** A migration's statements as the server takes them. */
export interface PlannedMigration {
  readonly migration: Migration;
  readonly statements: readonly string[];
}

/**
 * Puts values in the place of `{{name}}`. Three are given here: `{{tables}}`, the database of the tables; `{{on_cluster}}` and
 * `{{replicated}}`, which are empty without a cluster. @throws Error for a name without a value.
 */
export function planStatements(migrations: readonly Migration[], database: string, variables: Readonly<Record<string, string>>, layout: ClusterLayout | undefined): PlannedMigration[] {
  const given = { ...variables, on_cluster: onCluster(layout?.cluster).trim(), replicated: layout === undefined ? "" : "Replicated" };
  return migrations.map((migration) => {
    const substitute = (statement: string, tables: string) => substituteIn(migration, statement, { ...given, tables });
    const statements = splitStatements(migration.sql).flatMap((statement) => (layout === undefined ? [substitute(statement, database)] : clusterStatements(statement, layout, substitute)));
    return { migration, statements };
  });
}

function substituteIn({ name }: Migration, sql: string, variables: Readonly<Record<string, string>>): string {
  return sql.replaceAll(/\{\{(\w+)\}\}/g, (_, variable: string) => {
    const value = variables[variable];
    if (value === undefined) throw new Error(`migration ${name} names {{${variable}}}, wanted one of ${Object.keys(variables).join(", ")}`);
    return value;
  });
}
