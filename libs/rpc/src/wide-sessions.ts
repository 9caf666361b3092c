import type { ClientHttp2Session, ClientHttp2Stream, ClientSessionRequestOptions, OutgoingHttpHeaders } from "node:http2";
import { Http2SessionManager } from "@connectrpc/connect-node";

/**
 * Connections that take `windowBytes` of each stream, and of all together, before the far side waits for leave to send
 * on. HTTP/2's own 64 KiB would stop a stream of tensors several times a message.
 */
export class WideSessions extends Http2SessionManager {
  readonly #windowBytes: number;
  readonly #widened = new WeakSet<ClientHttp2Session>();

  constructor(baseUrl: string, windowBytes: number) {
    super(baseUrl, undefined, { settings: { initialWindowSize: windowBytes } });
    this.#windowBytes = windowBytes;
  }

  override async request(method: string, path: string, headers: OutgoingHttpHeaders, options: Omit<ClientSessionRequestOptions, "signal">): Promise<ClientHttp2Stream> {
    const stream = await super.request(method, path, headers, options);
    const { session } = stream;
    if (session !== undefined && !this.#widened.has(session as ClientHttp2Session)) {
      this.#widened.add(session as ClientHttp2Session);
      session.setLocalWindowSize(this.#windowBytes);
    }
    return stream;
  }
}
