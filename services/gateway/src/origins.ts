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

/**
 * CORS headers for an origin that was allowed by configuration; none for pages of this host. A preflight gets the
 * headers that it asks for: clients of the OpenAI API send many of their own.
 */
export function corsHeaders(headers: IncomingHttpHeaders, allowed: readonly string[]): OutgoingHttpHeaders {
  const { origin } = headers;
  if (origin === undefined || !allowed.includes(origin)) return {};
  return {
    "access-control-allow-origin": origin,
    "access-control-allow-methods": cors.allowedMethods.join(", "),
    "access-control-allow-headers": headers["access-control-request-headers"] ?? [...cors.allowedHeaders, "authorization", "x-request-id"].join(", "),
    "access-control-expose-headers": [...cors.exposedHeaders, "x-request-id", "retry-after", "retry-after-ms"].join(", "),
    "access-control-max-age": "7200",
    vary: "origin",
  };
}
