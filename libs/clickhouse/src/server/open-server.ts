import { urlInCluster } from "../cluster/cluster.ts";
import { type ClickHouseServer, type EmbeddedServerOptions, startEmbeddedServer } from "./embedded-server.ts";
import type { Login } from "./server-files.ts";

/** Where ClickHouse is, or how to start one. */
export interface ServerOptions extends EmbeddedServerOptions {
  /** URL of a server that runs already; empty or absent starts an embedded one. */
  readonly url?: string | undefined;
  /** Name of the cluster that this server stands for; empty or absent where it is alone. */
  readonly cluster?: string | undefined;
  /** User of that server who may do everything. */
  readonly owner?: Login | undefined;
  /** User of that server who may only read the views. */
  readonly analyst?: Login | undefined;
}

/** The server at `url` where one is given, else an embedded one over `folder`. */
export async function openClickHouse(options: ServerOptions): Promise<ClickHouseServer> {
  const { url, owner, analyst, cluster = "" } = options;
  if (url === undefined || url === "") {
    if (cluster !== "") throw new Error(`the cluster ${cluster} wants the URL of one of its servers; an embedded server is none`);
    return await startEmbeddedServer(options);
  }
  const anonymous: Login = { username: "default", password: "" };
  return {
    url: cluster === "" ? url : urlInCluster(url, cluster),
    owner: owner ?? anonymous,
    analyst: analyst ?? { ...anonymous, username: "analyst" },
    pid: undefined,
    died: new Promise(() => undefined),
    stop: () => Promise.resolve(),
  };
}
