import { OperationService, type Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { createClient, implement, matchName, notFound, type CallContext, type Client, type ServiceImplementation } from "@mistral-sae/rpc";
import { backendNames } from "./backends.ts";
import type { BackendName } from "./config.ts";
import { callOptions, explainAway } from "./forward.ts";
import { mergePages } from "./merge-pages.ts";

/** OperationService over all backends: an operation's name says whose it is, and lists are merged, newest first. */
export function operationService(backends: Readonly<Record<BackendName, string>>): ServiceImplementation {
  const clients = new Map(backendNames.map((name) => [name, createClient(OperationService, backends[name])] as const));
  const of = async <T>(name: string, context: CallContext, call: (client: Client<typeof OperationService>, options: ReturnType<typeof callOptions>) => Promise<T>): Promise<T> => {
    const { backend, client } = owner(clients, name);
    try {
      return await call(client, callOptions(context));
    } catch (error) {
      throw explainAway(error, backend, backends[backend]);
    }
  };
  return implement(OperationService, {
    getOperation: (request, context) => of(request.name, context, (client, options) => client.getOperation(request, options)),
    cancelOperation: (request, context) => of(request.name, context, (client, options) => client.cancelOperation(request, options)),
    resumeOperation: (request, context) => of(request.name, context, (client, options) => client.resumeOperation(request, options)),
    deleteOperation: (request, context) => of(request.name, context, (client, options) => client.deleteOperation(request, options)),
    waitOperation: (request, context) => of(request.name, context, (client, options) => client.waitOperation(request, options)),
    async *watchOperation(request, context) {
      const { backend, client } = owner(clients, request.name);
      try {
        yield* client.watchOperation(request, callOptions(context));
      } catch (error) {
        throw explainAway(error, backend, backends[backend]);
      }
    },
    listOperations: async ({ pageSize, pageToken, kinds, states }, context) => {
      const merged = await mergePages<Operation>({
        sources: backendNames,
        pageSize,
        pageToken,
        scope: { kinds, states },
        positionOf: ({ createTime, name }) => ({ time: (createTime?.seconds ?? 0n) * 1_000_000_000n + BigInt(createTime?.nanos ?? 0), name }),
        fetchPage: async (source, page) => {
          const client = clients.get(source as BackendName);
          const answer = await client?.listOperations({ kinds, states, ...page }, callOptions(context));
          return { rows: answer?.operations ?? [], nextPageToken: answer?.nextPageToken ?? "" };
        },
      });
      return { operations: [...merged.rows], nextPageToken: merged.nextPageToken, unreachable: [...merged.unreachable] };
    },
  });
}

function owner(clients: ReadonlyMap<BackendName, Client<typeof OperationService>>, name: string): { backend: BackendName; client: Client<typeof OperationService> } {
  const backend = matchName("operations/{service}/{id}", name)?.service;
  const client = clients.get(backend as BackendName);
  if (client === undefined) throw notFound(name, `is not an operation; wanted operations/{service}/{id} of ${[...clients.keys()].join(", ")}`);
  return { backend: backend as BackendName, client };
}
