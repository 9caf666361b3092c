import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";
import { cors } from "@connectrpc/connect";

/** Whether the page that sends a request may: pages of this host, of the allowed origins, and callers that are no pages. */
export function originAllowed(headers: IncomingHttpHeaders, allowed: readonly string[]): boolean {
  const { origin } = headers;
  if (origin === undefined) return true;
  if (allowed.includes(origin)) return true;
  const host = headers[":authority"] ?? headers.host;
  return URL.canParse(origin) && new URL(origin).host === host;
}

/** CORS headers for an origin that was allowed by configuration; none for pages of this host. */
export function corsHeaders(origin: string | undefined, allowed: readonly string[]): OutgoingHttpHeaders {
  if (origin === undefined || !allowed.includes(origin)) return {};
  return {
    "access-control-allow-origin": origin,
    "access-control-allow-methods": cors.allowedMethods.join(", "),
    "access-control-allow-headers": [...cors.allowedHeaders, "authorization", "x-request-id"].join(", "),
    "access-control-expose-headers": cors.exposedHeaders.join(", "),
    "access-control-max-age": "7200",
    vary: "origin",
  };
}
