import { SqlError } from "@mistral-sae/clickhouse";
import { Code, invalidArgument, RpcError } from "@mistral-sae/rpc";
import { whenAway } from "../clickhouse-away.ts";

const LESS = "aggregate, filter or add LIMIT; ExportParquet writes whole tables";

/** What ClickHouse says of a user's query → the code that its caller understands, with what to do about a limit. */
export function queryError(error: unknown, field = "sql"): unknown {
  if (!(error instanceof SqlError)) return error;
  const { message, type: reason } = error;
  // No retryDelayMs for limits: the same query will not fit later either.
  switch (error.failure) {
    case "statement":
      return invalidArgument(field, message, reason || "INVALID_SQL");
    case "permission":
      return new RpcError(Code.PermissionDenied, message, { reason: reason || "ACCESS_DENIED", cause: error });
    case "time":
      return new RpcError(Code.DeadlineExceeded, `${message} This is the longest that a query may take: read less, e.g. one feature of one index, or ask features, which holds sums`, { reason, cause: error });
    case "size":
      return new RpcError(Code.ResourceExhausted, `${message} This is the most that a query may return: ${LESS}`, { reason, cause: error });
    case "memory":
      return new RpcError(Code.ResourceExhausted, `${message} This is the most memory that a query may take: group by fewer values, use uniq or quantileTDigest for uniqExact or quantileExact, or filter`, { reason, cause: error });
    case "cancelled":
      return new RpcError(Code.Canceled, message, { reason: "CANCELLED", cause: error });
    case "connection":
      return whenAway(error);
    default:
      return new RpcError(Code.InvalidArgument, message, { reason: reason || "QUERY_FAILED", cause: error });
  }
}
